"""The winner's student beside its control."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from headgate.distillation import Advice
from headgate.errors import Refused
from headgate.objects import Bound, Build, canonical, jsonable
from headgate.optimize import gain as module
from headgate.optimize.gain import gain_of_teacher
from headgate.optimize.job import Job
from headgate.optimize.quality import QualitySamples
from headgate.optimize.recorder import Recorder
from headgate.optimize.stages import Certificate
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
    looked_at: bool = True,
) -> object:
    """By a job that has certified ``winner`` on ``split``, and counted that if ``looked_at``."""
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
            task="embed", endpoint="docs", path="headgate.yaml", holdout_error_budget=0.05
        ),
        source=SimpleNamespace(build=build("fp32")),
        inputs=None,
        profile=None,
        behaviour=None,
        contracts=(contract("recall@10", Bound.NOT_BELOW_CURRENT_BY, margin),),
        looked_at={f"sha256:{split}"} if looked_at else set(),
    )
    rule = Rule("docs", split, f"sha256:{split}", (), {}, {}, seed=0)
    current = SimpleNamespace(build=build("fp32"))
    certificate = SimpleNamespace(version="sha256:winner", current=current)
    return gain_of_teacher(cast(Job, job), rule, winner, cast(Certificate, certificate))


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


def test_its_answers_to_a_holdout_belong_to_the_certificate_s_use(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    """Where that was only read again they are a use, counted once, and end as all uses do."""

    def uses() -> int:
        return len(list(recorder.store.entries("holdout_use")))

    gained(recorder, monkeypatch, "student3", 0.02)
    gained(recorder, monkeypatch, "student3", 0.02, split="evaluate", looked_at=False)
    assert uses() == 0
    gained(recorder, monkeypatch, "student3", 0.02, looked_at=False)
    assert uses() == 1
    with pytest.raises(Refused, match="was looked at 1 times"):
        gained(recorder, monkeypatch, "student3", 0.02, looked_at=False)


def test_a_winner_without_a_student_owes_no_teacher(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    """No control is trained for it."""
    assert gained(recorder, monkeypatch, "int8_static", 0.02) is None
    assert made == []
