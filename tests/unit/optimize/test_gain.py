"""The winner's student beside its control."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.distillation import Advice
from headgate.objects import Bound, Build, canonical, jsonable
from headgate.optimize import gain as module
from headgate.optimize.gain import gain_of_teacher
from headgate.optimize.job import Job
from headgate.optimize.quality import QualitySamples
from headgate.optimize.recorder import Recorder
from headgate.release import Rule

from .fakes import RUN, build, contract, quality

N = 1300
TEACHER = quality({"recall@10": (1.0,) * N}, N)
STUDENT = quality({"recall@10": (1.0,) * 1200 + (0.0,) * 100}, N)
CHOSEN = quality({"recall@10": (1.0,) * N}, N)
"""What the student answers to the split that chose it: it was lucky there."""
CONTROL = quality({"recall@10": (1.0,) * 1000 + (0.0,) * 300}, N)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was made, in order."""
    names: list[str] = []

    def maker_of(name: str) -> object:
        def make(maker: object, student: str) -> Build:
            names.append(f"{name} of {student}")
            return build(name)

        return make

    monkeypatch.setattr(module, "trained_student", maker_of("student"))
    monkeypatch.setattr(module, "untaught_student", maker_of("control"))
    return names


def gained(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    winner: str,
    margin: float,
    *,
    split: str = "holdout",
    task: str = "embed",
    labelled: Sequence[str] = (),
) -> object:
    """By a job that has certified ``winner`` on ``split``."""
    answers = {"fp32": TEACHER, "student": STUDENT, "control": CONTROL}
    if split == "evaluate":
        answers["student"] = CHOSEN

    def measured(
        recorder: Recorder, build: Build, *_: object, dataset: str, split: str
    ) -> tuple[QualitySamples, object]:
        assert dataset == f"sha256:{split}"
        recorder.on_start("quality", build.name)
        samples = answers[build.name]
        version = recorder.store.put_bytes(canonical(jsonable(samples)))
        return samples, SimpleNamespace(**{"outputs": {"samples": version}, "entry": RUN.entry})

    monkeypatch.setattr(module, "measure_quality", measured)
    job = SimpleNamespace(
        recorder=recorder,
        store=recorder.store,
        config=SimpleNamespace(
            task=task, endpoint="docs", path="headgate.yaml", holdout_error_budget=0.05
        ),
        source=SimpleNamespace(build=build("fp32")),
        inputs=SimpleNamespace(labels=dict.fromkeys(labelled, (0.0, 1.0))),
        profile=None,
        behaviour=SimpleNamespace(metrics={}),
        contracts=(contract("recall@10", Bound.NOT_BELOW_CURRENT_BY, margin),),
    )
    rule = Rule("docs", split, f"sha256:{split}", (), {}, {}, seed=0)
    return gain_of_teacher(cast(Job, job), rule, winner)


def test_a_student_is_held_against_one_without_a_teacher(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    """Two hundred of 1,300 items more: worth it where two points count, and not where thirty may
    be lost. The comparison is on record."""
    for winner in ("student3", "student3_int8_static"):
        found = gained(recorder, monkeypatch, winner, 0.02)
        assert isinstance(found, module.Gain)
        assert found.value == pytest.approx(200 / N)
        assert found.advice is Advice.TRAIN
    assert made == ["student of student3", "control of student3"] * 2
    assert [run.name for run in recorder.runs] == ["distill.gain"] * 2
    allowed = gained(recorder, monkeypatch, "student3", 0.3)
    assert isinstance(allowed, module.Gain)
    assert allowed.advice is Advice.DO_NOT_TRAIN


def test_it_is_judged_where_the_winner_was_certified(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    """The split that chose a student flatters it; where there is no other, that one has to do."""
    certified = gained(recorder, monkeypatch, "student3", 0.02)
    chosen = gained(recorder, monkeypatch, "student3", 0.02, split="evaluate")
    assert isinstance(certified, module.Gain)
    assert isinstance(chosen, module.Gain)
    assert (certified.value, chosen.value) == pytest.approx((200 / N, 300 / N))


def test_its_answers_to_a_holdout_are_no_use_of_their_own(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    """They decide nothing: the certificate was the use, in whichever run that was counted."""
    gained(recorder, monkeypatch, "student3", 0.02)
    assert not list(recorder.store.entries("holdout_use"))


def test_a_winner_without_a_student_owes_no_teacher(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    """No control is trained for it."""
    assert gained(recorder, monkeypatch, "int8_static", 0.02) is None
    assert gained(recorder, monkeypatch, "fp32", 0.02) is None
    assert made == []


@pytest.mark.parametrize(("task", "labelled"), [("classify", ()), ("predict", ("train",))])
def test_a_small_student_whose_labels_nobody_can_learn_from_has_no_control(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, task: str, labelled: Sequence[str]
) -> None:
    """A classifier's where there are none; a predictor's, which only its own metric understands."""
    for winner in ("linear", "mlp_cascade"):
        assert gained(recorder, monkeypatch, winner, 0.02, task=task, labelled=labelled) is None
