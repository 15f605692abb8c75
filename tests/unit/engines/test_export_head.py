"""Small students as ONNX: the same numbers, whatever the batch pads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from headgate.distillation.heads import Head, ValueHead
from headgate.distillation.values import Doubt, Standard, squared_too
from headgate.engines.check import check_onnx
from headgate.engines.export_head import export_head, export_value_head, token_table
from headgate.engines.onnxruntime_engine import OnnxRuntimeEngine
from headgate.quantization.facts import TensorSpec
from tests.models import TINY_VOCAB, tiny_classifier, tiny_embedder

RNG = np.random.default_rng(0)


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


LAYERS = ((floats(8, 5), floats(5)), (floats(5, 3), floats(3)))
TOKENS = [TensorSpec(n, "int64", (None, None)) for n in ("input_ids", "attention_mask")]
SEGMENTS = TensorSpec("token_type_ids", "int64", (None, None))


def through(x: NDArray[np.floating]) -> NDArray[np.floating]:
    (w1, b1), (w2, b2) = LAYERS
    return np.maximum(x @ w1 + b1, 0) @ w2 + b2


def softmax(x: NDArray[np.floating]) -> NDArray[np.floating]:
    odds = np.exp(x - x.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def run(path: Path, **tensors: NDArray[np.generic]) -> NDArray[np.generic]:
    return OnnxRuntimeEngine(path, threads=1).run(tensors)


@pytest.mark.parametrize("probabilities", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_a_student_of_numbers_takes_what_its_teacher_takes(
    tmp_path: Path, dtype: str, probabilities: bool
) -> None:
    """Of any shape and type, and answers on its scale."""
    head = Head(LAYERS, floats(8), np.abs(floats(8)) + 1, None, ())
    out = tmp_path / "m"
    export_head(head, [TensorSpec("pixels", dtype, (None, 2, 4))], out, probabilities=probabilities)
    x = (RNG.normal(size=(6, 2, 4)) * 5).astype(dtype)
    assert head.mean is not None
    logits = through((x.reshape(6, 8) - head.mean) / head.scale)
    expected = softmax(logits) if probabilities else logits
    assert np.allclose(run(out, pixels=x), expected, atol=1e-5)
    assert check_onnx(out).outputs[0].shape == (None, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("doubts", [False, True])
def test_a_student_of_values_answers_as_its_teacher_and_says_its_doubt_beside(
    tmp_path: Path, dtype: str, doubts: bool
) -> None:
    """In the teacher's type; the doubt is of the numbers on their scale, and infinite where one of
    them is beyond what was seen, or no number."""
    head = Head(LAYERS, floats(8), np.abs(floats(8)) + 1, None, ())
    assert head.mean is not None
    assert head.scale is not None
    x, weight, bias = floats(9, 8), floats(16, 1), floats(1)
    x[6, 0], x[7, 7], x[8, 3] = 1e3, -1e3, np.nan
    features = (x - head.mean) / head.scale
    far_off = (squared_too(features) @ weight + bias)[:6]
    least = np.median(far_off, keepdims=True)[0].astype(np.float32)  # half of them are nearer
    low, high = features[:6].min(axis=0), features[:6].max(axis=0)
    doubt = Doubt(weight, bias, least, low, high)
    standard = Standard(np.array([1e9, 0.0, -3.0]), np.array([10.0, 1.0, 0.5]))
    made = ValueHead(head, standard, doubt)
    out = tmp_path / "m"
    export_value_head(
        made, [TensorSpec("x", "float32", (None, 8))], out, dtype=dtype, doubts=doubts
    )
    expected = through(features) * standard.deviation + standard.mean
    if doubts:
        said = doubt.of(features)
        assert said[:6] == pytest.approx(np.maximum(far_off, least)[:, 0])
        assert np.isinf(said[6:]).all()
        expected = np.concatenate([expected, said[:, None]], axis=1)
    got = run(out, x=x)
    assert got.dtype == dtype
    close = {"rtol": 1e-7 if dtype == "float32" else 0, "atol": 1e-3}
    assert np.allclose(got[:6], expected[:6], **close)
    assert np.array_equal(got[6:, 3:], expected[6:, 3:])
    assert check_onnx(out).outputs[0].shape == (None, 3 + doubts)


def test_a_student_of_texts_takes_the_mean_of_what_is_no_padding(tmp_path: Path) -> None:
    """It has no use for segments, and does not ask for them."""
    head = Head(LAYERS, None, None, floats(TINY_VOCAB, 8), ())
    out = tmp_path / "m"
    export_head(head, [*TOKENS, SEGMENTS], out, probabilities=True)
    ids = RNG.integers(0, TINY_VOCAB, (2, 5))
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    assert head.table is not None
    means = np.stack([head.table[ids[0, :3]].mean(axis=0), head.table[ids[1]].mean(axis=0)])
    scores = run(out, input_ids=ids, attention_mask=mask)
    assert np.allclose(scores, softmax(through(means)), atol=1e-5)
    assert [i.name for i in check_onnx(out).inputs] == ["input_ids", "attention_mask"]


def test_a_teacher_without_a_mask_has_a_student_without(tmp_path: Path) -> None:
    head = Head(LAYERS, None, None, floats(TINY_VOCAB, 8), ())
    export_head(head, TOKENS[:1], tmp_path / "m", probabilities=False)
    ids = RNG.integers(0, TINY_VOCAB, (2, 5))
    assert head.table is not None
    expected = through(head.table[ids].mean(axis=1))
    assert np.allclose(run(tmp_path / "m", input_ids=ids), expected, atol=1e-5)


def test_a_students_rows_are_named_as_they_always_were(tmp_path: Path) -> None:
    """So that one on record is made again to the byte."""
    head = Head(LAYERS, None, None, floats(TINY_VOCAB, 8), ())
    export_head(head, TOKENS, tmp_path / "m", probabilities=True)
    graph = onnx.load_model(tmp_path / "m").graph
    assert graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "d0"


def test_the_same_student_is_the_same_file(tmp_path: Path) -> None:
    head = Head(LAYERS, None, None, floats(TINY_VOCAB, 8), ())
    for name in "ab":
        export_head(head, TOKENS, tmp_path / name, probabilities=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_teachers_token_vectors_are_found_in_its_graph(tmp_path: Path) -> None:
    """Where it has some."""
    table = token_table(tiny_embedder(tmp_path / "m", hidden=16))
    assert table is not None
    assert table.shape == (TINY_VOCAB, 16)
    assert token_table(tiny_classifier(tmp_path / "n")) is None
