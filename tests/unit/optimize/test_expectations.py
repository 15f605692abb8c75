"""What the report shows of forecasts and of trainings."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.distillation import STUDENTS, control
from headgate.ledger import Store
from headgate.objects import Bound, canonical, jsonable
from headgate.optimize import expectations as module
from headgate.optimize.expectations import learning
from headgate.optimize.forecasts import Figure, Forecast, keep_forecast
from headgate.optimize.job import Job
from headgate.optimize.recorder import Recorded
from headgate.optimize.stages import Baseline, Tried
from headgate.report import Expectation
from headgate.theory.intervals import Range

from .fakes import contract

FIGURES = {
    "speedup": Figure("speed", "times", Range(2.0, 1.8, 2.2)),
    "loss of recall@10": Figure("quality", "points", Range(0.02, 0.01, 0.03)),
}


def tried(store: Store, name: str, skip: str = "") -> Tried:
    made = Forecast(name, skip, "", (), "", preview="distillation", figures=FIGURES)
    entry = keep_forecast(store, made, of={"endpoint": "docs"}, detail={})
    return Tried(name, replace(made, entry=entry), skipped=skip)


def job_of(store: Store, *runs: Recorded) -> Job:
    limits = (contract("recall@10", Bound.NOT_BELOW_CURRENT_BY, 0.05),)
    recorder = SimpleNamespace(runs=list(runs))
    return cast("Job", SimpleNamespace(store=store, contracts=limits, recorder=recorder))


def shown(
    store: Store, made: Tried, monkeypatch: pytest.MonkeyPatch, **truths: float
) -> list[Expectation]:
    """What is shown where ``truths`` were measured by one run."""
    measured = [(name, value, "sha256:run") for name, value in truths.items()]
    monkeypatch.setattr(module, "measured_of", lambda *given: measured)
    return module.expectations(job_of(store), cast("Baseline", None), [made])


def test_forecasts_stand_beside_what_was_measured_of_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quality first, with its contract; each with its entry."""
    made = tried(store, "student3")
    quality, speed = shown(store, made, monkeypatch, speedup=2.1)
    assert (quality.quantity, quality.limit, quality.measured) == ("loss of recall@10", 0.05, None)
    assert (speed.quantity, speed.limit, speed.held) == ("speed-up", None, True)
    assert speed.measured is not None
    assert (speed.measured.value, speed.measured.entry) == (2.1, "sha256:run")
    assert {quality.forecast.entry, speed.forecast.entry} == {made.forecast.entry}


def test_of_a_skipped_candidate_the_forecast_alone_is_shown(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is why it was skipped."""
    rows = shown(store, tried(store, "student2", "no chance"), monkeypatch)
    assert [r.measured for r in rows] == [None, None]


def trained(store: Store, recipe: object) -> Recorded:
    record = {"losses": [0.5, 0.3], "curve": [[2, 0.4]]}
    entry = store.append("run", {"c": {"recipe": jsonable(recipe)}})
    version = store.put_bytes(canonical(record))
    return Recorded("distill.student", entry.id, {"training": version}, False, 1.0, "")


def test_a_training_is_named_after_its_student_and_its_control_is_left_out(store: Store) -> None:
    """Threads and precision are this machine's; a control's loss is another one's."""
    recipe = replace(STUDENTS["student3"], threads=7)
    rows = learning(job_of(store, trained(store, recipe), trained(store, control(recipe))))
    assert [(r.name, r.losses, r.held_back) for r in rows] == [
        ("student3", (0.5, 0.3), ((2, 0.4),))
    ]
