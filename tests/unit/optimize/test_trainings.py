"""What a student's training took, held against what was forecast of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from headgate.distillation import STUDENTS
from headgate.ledger import Store
from headgate.objects import jsonable
from headgate.optimize.job import Job
from headgate.optimize.recorder import Recorded
from headgate.optimize.scoring import measured_of
from headgate.optimize.stages import Baseline, Tried
from headgate.optimize.trainings import training_device_s, trainings

from .fakes import build, forecast


def answered(version: str, seconds: float) -> Recorded:
    outputs = {"outputs.npy": version}
    return Recorded("distill.teacher_outputs", version, outputs, False, seconds, "")


def job_of(store: Store) -> Job:
    """A student was trained for 70 s on two parts, asked for twice; pilots had a part of theirs."""
    u = {"texts.0": "sha256:t", "outputs.0": "sha256:a", "outputs.1": "sha256:b"}
    recipe = jsonable(STUDENTS["student3"])
    entry = store.append("run", {"u": u, "c": {"recipe": recipe}})
    trained = Recorded("distill.student", entry.id, {}, False, 70.0, "")
    answers = [answered(v, s) for v, s in (("sha256:a", 2.0), ("sha256:b", 8.0), ("sha256:c", 1.0))]
    runs = [*answers, trained, answers[0], trained]
    return cast(
        "Job", SimpleNamespace(store=store, recorder=SimpleNamespace(runs=runs), contracts=())
    )


def test_a_training_takes_its_own_seconds_and_those_of_its_teacher_s_answers(store: Store) -> None:
    """Each once, however often they were asked for; what pilots learnt from is theirs."""
    job = job_of(store)
    ((name, run),) = trainings(job)
    assert name == "student3"
    assert training_device_s(job, run) == 80.0


def test_it_is_the_truth_of_every_candidate_that_has_the_student(store: Store) -> None:
    """In whatever precision, and before its quality is known; of no other."""
    job = job_of(store)

    def found(name: str) -> dict[str, float]:
        tried = Tried(name, forecast(name), build=build(name))
        return {m: v for m, v, _ in measured_of(job, cast("Baseline", None), tried)}

    assert found("student3") == found("student3_int8_static") == {"training_device_s": 80.0}
    assert found("student4") == found("int8_static") == {}
