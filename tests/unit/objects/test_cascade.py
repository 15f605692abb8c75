"""A cascade as a build: two builds in one, and back again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headgate.errors import ConfigError
from headgate.objects import Build, Parts, cascade_of, parse, parts_of

TEACHER = Build(
    "int8", "classify", "openvino", "int8", {"model.xml": "sha256:x", "model.bin": "sha256:b"},
    "sha256:tok", 64, 2, pad_to_multiple=4, options={"HINT": "1"},
)  # fmt: skip
STUDENT = replace(
    TEACHER, name="linear", engine="onnxruntime", precision="fp32",
    files={"model.onnx": "sha256:s"}, pad_to_multiple=1, options={},
)  # fmt: skip
CASCADE = cascade_of("linear_cascade", Parts(STUDENT, TEACHER, 0.1 + 0.2))


def test_a_cascade_gives_back_what_it_was_made_of() -> None:
    """All of both but names; padding and threads are the cascade's. The threshold to the bit."""
    parts = parts_of(CASCADE)
    assert parts.threshold == 0.1 + 0.2
    assert replace(parts.teacher, name="int8") == TEACHER
    assert replace(parts.student, name="linear") == replace(STUDENT, pad_to_multiple=4)
    assert parts_of(replace(CASCADE, threads=7)).student.threads == 7


def test_a_cascade_is_plain_json_like_any_build() -> None:
    """What a ledger keeps of it makes the same build, of the same version."""
    again = Build(name=CASCADE.name, **parse(CASCADE.content))
    assert again.version == CASCADE.version
    assert parts_of(again) == parts_of(CASCADE)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 0.25},
        {"student": replace(STUDENT, files={"model.onnx": "sha256:other"})},
        {"teacher": replace(TEACHER, precision="fp32")},
        {"teacher": replace(TEACHER, options={"HINT": "2"})},
    ],
    ids=["threshold", "student", "precision", "option"],
)
def test_whatever_changes_an_answer_changes_the_version(change: dict[str, object]) -> None:
    """So cache keys and certificates are another's then."""
    parts = replace(Parts(STUDENT, TEACHER, 0.1 + 0.2), **change)  # type: ignore[arg-type]  # one of its fields
    assert cascade_of("linear_cascade", parts).version != CASCADE.version


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokenizer": "sha256:another"}, "tokenizer: sha256:another and sha256:tok"),
        ({"task": "predict"}, "task"),
        ({"max_tokens": 32}, "max_tokens"),
        ({"preprocess": "sha256:own"}, "preprocess"),
    ],
)
def test_parts_that_take_other_items_are_refused(change: dict[str, object], said: str) -> None:
    student = replace(STUDENT, **change)  # type: ignore[arg-type]  # one of its fields
    with pytest.raises(ConfigError, match=said):
        cascade_of("linear_cascade", Parts(student, TEACHER, 0.5))


def test_a_cascade_has_no_cascade_in_it() -> None:
    with pytest.raises(ConfigError, match="itself one"):
        cascade_of("deep", Parts(CASCADE, TEACHER, 0.5))


def test_a_plain_build_has_no_parts() -> None:
    with pytest.raises(ConfigError, match="no cascade"):
        parts_of(TEACHER)
