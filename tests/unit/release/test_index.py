"""Which build makes the index that a release needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headgate.objects import Build
from headgate.release import INDEX, index_for

FP32 = Build("fp32", "embed", "onnxruntime", "fp32", {"model.onnx": "m"}, "t", 256, 2)
INT8 = replace(FP32, name="int8", precision="int8", files={"model.onnx": "q"})


def test_the_first_encoder_makes_its_own() -> None:
    """And what makes no vectors needs none."""
    assert index_for(FP32) == {INDEX: FP32.version}
    assert index_for(replace(FP32, task="classify")) == {}


def test_another_encoder_makes_another() -> None:
    """Whatever index the one before needs."""
    assert index_for(INT8, before=FP32, kept=FP32.version) == {INDEX: INT8.version}


@pytest.mark.parametrize("change", [{"threads": 1}, {"name": "renamed"}, {}])
def test_the_same_encoder_goes_on_with_the_index_that_is_there(change: dict[str, object]) -> None:
    """Its threads are nothing to a vector; so the index may be older than the build."""
    again = replace(INT8, **change)  # type: ignore[arg-type]  # a test's own keywords
    assert index_for(again, before=INT8, kept="sha256:older") == {INDEX: "sha256:older"}
    assert index_for(again, before=INT8) == {INDEX: INT8.version}


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer": "other"},
        {"preprocess": "sha256:other"},
        {"engine": "openvino"},
        {"precision": "bf16"},
        {"files": {"model.onnx": "other"}},
        {"max_tokens": 128},
    ],
)
def test_whatever_moves_a_vector_makes_another_encoder(change: dict[str, object]) -> None:
    """The model, what is done before it, and what computes it."""
    other = replace(INT8, **change)  # type: ignore[arg-type]  # a test's own keywords
    assert index_for(other, before=INT8, kept=INT8.version) == {INDEX: other.version}
