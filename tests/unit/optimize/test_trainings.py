"""Which trainings a job had, and what each took."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.distillation import STUDENTS, control
from headgate.ledger import Store
from headgate.objects import jsonable
from headgate.optimize.job import Job
from headgate.optimize.recorder import Recorded
from headgate.optimize.trainings import training_took


def training(store: Store, recipe: object, seconds: float, **learnt_from: str) -> Recorded:
    entry = store.append("run", {"c": {"recipe": jsonable(recipe)}, "u": learnt_from})
    return Recorded("distill.student", entry.id, {}, False, seconds, "")


def answers(entry: str, seconds: float) -> Recorded:
    return Recorded("distill.teacher_outputs", entry, {"outputs.npy": entry}, True, seconds, "")


def job_of(store: Store, *runs: Recorded) -> Job:
    return cast("Job", SimpleNamespace(store=store, recorder=SimpleNamespace(runs=list(runs))))


def test_a_training_took_its_steps_and_what_its_teacher_answered_for_it(store: Store) -> None:
    """Once, however often the job asked for either; another student's answers are not its own."""
    first, second, third = (answers(part, 10.0 * n) for n, part in enumerate("abc", start=1))
    own = training(store, STUDENTS["student3"], 100.0, **{"outputs.0": "a", "outputs.1": "b"})
    other = training(store, STUDENTS["student2"], 70.0, **{"outputs.0": "c"})
    job = job_of(store, first, second, own, third, other, first, own)
    assert training_took(job, "student3") == (pytest.approx(130.0), own.entry)
    assert training_took(job, "student2") == (pytest.approx(100.0), other.entry)


def test_a_control_is_not_its_student(store: Store) -> None:
    """It learnt from texts alone, and no forecast was about it."""
    recipe = replace(STUDENTS["student3"], threads=7)
    job = job_of(store, training(store, control(recipe), 100.0))
    assert training_took(job, "student3") is None
    assert training_took(job, "") is None
