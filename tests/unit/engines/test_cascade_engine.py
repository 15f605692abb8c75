"""Two engines that answer as one, by the pure policy alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from headgate import engines
from headgate.distillation import escalates
from headgate.engines.cascade_engine import CascadeEngine, CascadePart
from headgate.engines.invariance import EPSILON, batch_invariance
from headgate.engines.outputs import batch_scaled
from headgate.errors import ConfigError, EngineError
from headgate.objects import BatchInvariance, Build, Parts, cascade_of
from headgate.quantization import INT8_DYNAMIC
from headgate.quantization.produce import quantize
from headgate.workload import Engine, Tensors
from tests.models import tiny_classifier

PathOf = Callable[[str], Path]
ROWS = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
THRESHOLD = 0.5


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """Two classifiers that disagree."""
    for seed in (1, 2):
        tiny_classifier(tmp_path / f"m{seed}", seed=seed)
    student, teacher = (
        Build(name, "classify", "onnxruntime", "fp32", {"model.onnx": file}, None, 1, 1)
        for name, file in (("student", "m1"), ("teacher", "m2"))
    )
    return Parts(student, teacher, THRESHOLD)


def answers(build: Build, path_of: PathOf, rows: NDArray[np.float32] = ROWS) -> NDArray[np.generic]:
    return engines.load(build, path_of).run({"x": rows})


def test_every_row_is_answered_by_whom_the_policy_says(parts: Parts, path_of: PathOf) -> None:
    """Bit by bit the student's row or the teacher's, and some of each."""
    merged = answers(cascade_of("both", parts), path_of)
    student, teacher = answers(parts.student, path_of), answers(parts.teacher, path_of)
    asked = escalates(student, THRESHOLD, "classify")
    assert 0 < asked.sum() < len(ROWS)
    assert np.array_equal(merged[~asked], student[~asked])
    assert np.allclose(merged[asked], teacher[asked], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("threshold", "whose"), [(0.0, "student"), (1.5, "teacher")])
def test_a_threshold_at_either_end_is_one_of_the_two(
    parts: Parts, path_of: PathOf, threshold: float, whose: str
) -> None:
    both = cascade_of("both", replace(parts, threshold=threshold))
    alone = answers(getattr(parts, whose), path_of)
    assert np.array_equal(answers(both, path_of), alone)


def test_an_answer_does_not_depend_on_its_company(parts: Parts, path_of: PathOf) -> None:
    """Of two parts that look at each row alone, the cascade does too."""
    both = cascade_of("both", parts)
    report = batch_invariance(
        engines.load(both, path_of),
        engines.codec_for(both, path_of),
        list(ROWS),
        rng=np.random.default_rng(0),
        epsilon=EPSILON,
    )
    assert report.invariance in (BatchInvariance.EXACT, BatchInvariance.EPSILON)


def test_a_part_that_scales_by_its_batch_makes_the_cascade_dependent(
    parts: Parts, path_of: PathOf, tmp_path: Path
) -> None:
    made = quantize(INT8_DYNAMIC, tmp_path / "m2", tmp_path / "int8")
    made["model.onnx"].rename(tmp_path / "m3")
    low = replace(parts.teacher, precision="int8", files={"model.onnx": "m3"})
    assert batch_scaled(cascade_of("both", replace(parts, teacher=low)), path_of)
    assert batch_scaled(cascade_of("both", replace(parts, student=low)), path_of)
    assert not batch_scaled(cascade_of("both", parts), path_of)


def test_the_teacher_sees_those_rows_alone_that_escalate(parts: Parts, path_of: PathOf) -> None:
    """And is not called at all where nobody does."""
    seen: list[int] = []

    class Counting:
        def run(self, tensors: Tensors) -> NDArray[np.generic]:
            seen.append(len(tensors["x"]))
            return np.zeros((len(tensors["x"]), 3), np.float32)

        def close(self) -> None:
            seen.append(0)

    student = engines.load(parts.student, path_of)
    asked = escalates(student.run({"x": ROWS}), THRESHOLD, "classify")
    names = frozenset({"x"})
    cascade = CascadeEngine(
        CascadePart(student, names),
        CascadePart(Counting(), names),
        threshold=THRESHOLD,
        task="classify",
    )
    cascade.run({"x": ROWS})
    cascade.run({"x": ROWS[~asked]})
    assert seen == [asked.sum()]
    assert cascade.escalated_items == asked.sum()
    cascade.close()
    assert seen[1:] == [0]


@pytest.mark.parametrize("types", [("float32", "float64"), ("float64", "float32")])
def test_scores_have_one_type_in_any_company(types: tuple[str, str]) -> None:
    """Only its own, both's, only its teacher's: a caller's answer has the same bytes."""

    class Of:
        def __init__(self, dtype: str, margin: float) -> None:
            self.dtype, self.margin = dtype, margin

        def run(self, tensors: Tensors) -> NDArray[np.generic]:
            sure = tensors["x"][:, :1] * self.margin
            return np.concatenate([sure, 0 * sure], axis=1).astype(self.dtype)

        def close(self) -> None: ...

    names = frozenset({"x"})
    student, teacher = (
        CascadePart(Of(dtype, margin), names)
        for dtype, margin in zip(types, (1.0, 0.1), strict=True)
    )
    engine = CascadeEngine(student, teacher, threshold=0.5, task="classify")
    rows = np.array([[0.9], [0.3]])
    together = engine.run({"x": rows})
    assert together.dtype == np.float32
    for k, row in enumerate(rows):
        alone = engine.run({"x": row[None]})
        assert alone.dtype == np.float32
        assert np.array_equal(alone[0], together[k])


def test_a_student_gets_only_the_tensors_that_it_takes(path_of: PathOf) -> None:
    """A teacher of three inputs, a student of one."""
    taken: list[set[str]] = []

    class Noting:
        def run(self, tensors: Tensors) -> NDArray[np.generic]:
            taken.append(set(tensors))
            return np.full((len(tensors["input_ids"]), 2), np.nan, np.float32)

        def close(self) -> None: ...

    few, all_three = frozenset({"input_ids"}), frozenset({"input_ids", "attention_mask", "extra"})
    engine: Engine = CascadeEngine(
        CascadePart(Noting(), few), CascadePart(Noting(), all_three), threshold=0.0, task="classify"
    )
    engine.run(dict.fromkeys(all_three, np.zeros((3, 5), np.int64)))
    assert taken == [few, all_three]


def test_answers_of_unlike_shapes_are_an_error(
    parts: Parts, path_of: PathOf, tmp_path: Path
) -> None:
    tiny_classifier(tmp_path / "m4", classes=5)
    other = replace(parts.teacher, files={"model.onnx": "m4"})
    with pytest.raises(EngineError, match=r"rows of \(5,\), its student of \(3,\)"):
        answers(cascade_of("both", replace(parts, teacher=other)), path_of)


def test_a_student_without_scores_is_an_error(
    parts: Parts, path_of: PathOf, tmp_path: Path
) -> None:
    """One number an item has no margin."""
    tiny_classifier(tmp_path / "m5", classes=1)
    other = replace(parts.student, files={"model.onnx": "m5"})
    with pytest.raises(EngineError, match="two classes or more"):
        answers(cascade_of("both", replace(parts, student=other)), path_of)


def test_a_student_that_takes_what_its_teacher_does_not_is_refused(
    parts: Parts, path_of: PathOf, tmp_path: Path
) -> None:
    model = onnx.load(tmp_path / "m1")
    model.graph.input[0].name = model.graph.node[0].input[0] = "y"
    onnx.save(model, tmp_path / "m6")
    other = replace(parts.student, files={"model.onnx": "m6"})
    with pytest.raises(ConfigError, match="takes y, which its teacher does not"):
        engines.load(cascade_of("both", replace(parts, student=other)), path_of)


class Values:
    """Answers ``scale * x`` and, as a student, the logarithm of how far off: ``x[1]`` as given."""

    def __init__(self, scale: float, *, dtype: str = "float32", doubts: bool = False) -> None:
        self.scale, self.dtype, self.doubts = scale, dtype, doubts

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        x = tensors["x"]
        columns = [self.scale * x[:, :1], *([x[:, 1:2]] if self.doubts else [])]
        return np.concatenate(columns, axis=1).astype(self.dtype)

    def close(self) -> None: ...


def of_values(student: Engine, teacher: Engine, threshold: float = 1.0) -> CascadeEngine:
    names = frozenset({"x"})
    return CascadeEngine(
        CascadePart(student, names),
        CascadePart(teacher, names),
        threshold=threshold,
        task="predict",
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_the_teachers_where_the_student_doubts(dtype: str) -> None:
    """Of its shape and type, alone as in company, and the doubt is nobody's answer."""
    rows = np.array([[1e8 + 1, -2.0], [3.0, 2.0], [5.0, np.nan], [7.0, 0.0], [np.nan, -2.0]])
    student = Values(1.0, dtype=dtype, doubts=True)
    engine = of_values(student, Values(10.0, dtype=dtype))
    merged = engine.run({"x": rows})
    assert merged.dtype == dtype
    expected = np.array([[1e8 + 1], [30.0], [50.0], [7.0], [np.nan]]).astype(dtype)
    assert np.array_equal(merged, expected, equal_nan=True)
    assert engine.escalated_items == 3
    alone = np.concatenate([engine.run({"x": row[None]}) for row in rows])
    assert alone.tobytes() == merged.tobytes()


@pytest.mark.parametrize(
    ("doubts", "said"), [(False, "two columns or more"), (True, r"rows of \(2,\), its student of")]
)
def test_values_of_another_width_are_an_error(doubts: bool, said: str) -> None:
    """Of a student that says no doubt, or of a teacher that answers two."""
    student = Values(1.0, doubts=doubts)
    with pytest.raises(EngineError, match=said):
        of_values(student, Values(1.0, doubts=True), 9.0).run({"x": ROWS})


def test_whole_numbers_are_no_values_of_a_student() -> None:
    with pytest.raises(EngineError, match="int64, no floats"):
        of_values(Values(1.0, dtype="int64", doubts=True), Values(1.0)).run({"x": ROWS})
