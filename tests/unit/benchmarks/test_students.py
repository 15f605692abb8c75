"""What the benchmark of students keeps, and what it holds against its targets."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from benchmarks.compression import kept_students
from benchmarks.compression import students as benchmark
from benchmarks.compression.alternating import Ratio
from benchmarks.compression.kept_students import OutOfTime, Workshop
from benchmarks.compression.students import _best, _Made, _targets
from benchmarks.compression.subjects import Subject
from headgate.distillation import Recipe, control
from headgate.objects import Build

RECIPE = Recipe(layers_kept=1, steps=3, batch_texts=2, max_texts=6, bridge_texts=4)


@dataclass
class _Clock:
    """Stands for the monotonic clock; an hour passes at each look."""

    now_s: float = 0.0

    def __call__(self) -> float:
        self.now_s += 3600
        return self.now_s


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A tiny encoder in place of MiniLM, with answers that nobody has to compute."""
    pytest.importorskip("torch")
    from tests.encoders import tiny_bert

    monkeypatch.setattr(kept_students, "KEEP", tmp_path / "kept")
    monkeypatch.setattr(
        Workshop,
        "teacher_answers",
        lambda self, texts: np.eye(16, dtype=np.float32)[[len(t) % 16 for t in texts]],
    )
    texts = [chr(97 + i % 26) * (1 + i % 9) + f" {chr(97 + i // 26)}" for i in range(520)]
    subject = SimpleNamespace(encoder=tiny_bert(tmp_path / "encoder"), train=texts)
    return Workshop(cast(Subject, subject))


def test_a_training_is_kept_and_is_another_one_by_another_recipe(shop: Workshop) -> None:
    first = shop.trained("student", RECIPE)
    assert shop.trained("student", RECIPE) == first
    assert first.steps == 3
    for other in (replace(RECIPE, steps=2), control(RECIPE)):
        assert shop.trained("student", other).directory != first.directory


def test_what_runs_out_of_time_is_gone_on_with(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a training too; what was trained before is no less kept."""
    whole = shop.trained("whole", RECIPE)
    monkeypatch.setattr(time, "monotonic", _Clock())
    hurried = replace(shop, until_s=2 * 3600)  # ends at the third look, in the third step
    with pytest.raises(OutOfTime):
        hurried.trained("killed", RECIPE)
    assert hurried.trained("whole", RECIPE) == whole
    assert shop.trained("killed", RECIPE).curve == whole.curve


@pytest.mark.parametrize(
    ("seconds", "ends"), [("0", "nothing is trained"), ("3600", "untimed"), (None, "timed")]
)
def test_a_call_that_makes_in_pieces_times_nothing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, seconds: str | None, ends: str
) -> None:
    """It ends with what the students lose, and the call that times them makes nothing anew."""
    monkeypatch.delenv("HEADGATE_BENCHMARK_SECONDS", raising=False)
    if seconds is not None:
        monkeypatch.setenv("HEADGATE_BENCHMARK_SECONDS", seconds)
    monkeypatch.setattr(benchmark, "minilm", lambda: shop.subject)
    monkeypatch.setattr(benchmark, "_QUICK", {"static": RECIPE})
    monkeypatch.setattr(_Made, "teachers", lambda *_: made())
    monkeypatch.setattr(Workshop, "exported", lambda self, name, training: name)
    monkeypatch.setattr(Workshop, "int8", lambda self, name, source: name)
    monkeypatch.setattr(Workshop, "recall", lambda self, build, split: [0.5] * 500 + [1.0] * 500)
    monkeypatch.setattr(Workshop, "answering_s", 0.01)
    fast = ratios(static=31.0, static_int8_static=6.0)
    monkeypatch.setattr(benchmark, "_speeds", lambda *_, **__: fast)
    monkeypatch.setattr(benchmark, "_speeds_from_texts", lambda *_, **__: {})
    targets, details = benchmark.students(quick=True)
    timed = "static, times as fast at 32x16, lower bound" in targets
    lost = details["recall@10 that is lost"]
    assert (timed, "static" in lost["evaluate"]) == {  # type: ignore[index]  # JSON
        "nothing is trained": (False, False),
        "untimed": (False, True),
        "timed": (True, True),
    }[ends]
    missed = {name for name, target in targets.items() if not target.ok}
    assert bool(missed) == (ends == "nothing is trained")


def ratios(**faster: float) -> Mapping[str, Mapping[str, Ratio]]:
    of = {name: Ratio(value, value, value) for name, value in faster.items()}
    return {"32x16": of, "32x128": of}


def made(**lost: float) -> _Made:
    """Students that lose so many of a thousand answers that their teacher has."""
    rows = {name: [0.0] * round(n) + [1.0] * (1000 - round(n)) for name, n in lost.items()}
    builds = cast(dict[str, Build], dict.fromkeys([*lost, "fp32"]))
    recall: dict[str, dict[str, Sequence[float]]] = {"evaluate": {**rows, "fp32": [1.0] * 1000}}
    return _Made(cast(Subject, None), {}, builds, recall)


def test_the_best_student_is_the_one_that_loses_least_of_those_that_are_fast_enough() -> None:
    """However good a slower one is. In int8 another may be the best."""
    there = made(near=1, small=10, tiny=50, small_int8_static=30, tiny_int8_static=20, static=90)
    faster = ratios(
        near=1.9, small=2.1, tiny=4.0, small_int8_static=6.0, tiny_int8_static=9.0, static=31.0
    )
    found = _targets(there, _best(there, faster), faster)
    key = "best student (small), recall@10 lost on evaluate"
    assert found[key].value == pytest.approx(0.01)
    assert found[key].ok
    assert found["best student in int8 (tiny_int8_static), recall@10 lost on evaluate"].ok
    assert not found[
        "best student in int8 (tiny_int8_static), recall@10 lost on evaluate, upper bound"
    ].ok
    assert math.isclose(found["static, times as fast at 32x16, lower bound"].value, 31)


def test_where_no_student_is_fast_enough_the_fastest_misses() -> None:
    there, faster = made(near=1, small=30, static=9), ratios(near=1.2, small=1.9, static=29.0)
    found = _targets(there, _best(there, faster), faster)
    missed = {name for name, target in found.items() if not target.ok}
    assert missed == {
        "best student (small), times as fast as its teacher at 32x16, lower bound",
        "best student (small), times as fast as its teacher at 32x128, lower bound",
        "best student (small), recall@10 lost on evaluate",
        "best student (small), recall@10 lost on evaluate, upper bound",
        "static, times as fast at 32x16, lower bound",
        "static, times as fast at 32x128, lower bound",
    }


def test_who_was_chosen_by_one_timing_is_held_to_another() -> None:
    """The fastest of a lucky moment stays the best, and misses."""
    there = made(lucky=10, steady=15, static=9)
    best = _best(there, ratios(lucky=2.1, steady=2.05, static=31.0))
    found = _targets(there, best, ratios(lucky=1.9, steady=2.05, static=31.0))
    key = "best student (lucky), times as fast as its teacher at 32x16, lower bound"
    assert (found[key].value, found[key].ok) == (1.9, False)


def test_a_static_student_without_a_loss_is_a_target_missed() -> None:
    """Its speed says nothing alone."""
    there = made(static=90)
    stated = "static, its loss on evaluate is stated, with bounds"
    assert _targets(there, {}, ratios(static=31.0))[stated].ok
    del there.recall["evaluate"]["static"]
    assert not _targets(there, {}, ratios(static=31.0))[stated].ok


def test_losses_are_those_of_each_query_with_bounds() -> None:
    """Of students that are judged so far: 3 of 1,000 lost, and between them what t allows."""
    lost = made(near=3).lost("evaluate")["near"]
    assert lost["lost"] == pytest.approx(0.003)
    assert 0 < lost["low"] < lost["lost"] < lost["high"] < 0.01
