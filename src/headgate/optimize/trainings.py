"""The trainings of a job: which student each was of, and what it took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from headgate.distillation import STUDENTS, Recipe, control
from headgate.objects import digest
from headgate.optimize.job import Job
from headgate.optimize.recorder import Recorded

__all__ = ["training_took", "trainings"]


def trainings(job: Job) -> Iterator[tuple[str, Recorded]]:
    """(student, run) of each training of this job; controls have a name of their own."""
    for run in {run.entry: run for run in job.recorder.runs}.values():  # asked for more than once
        if run.name == "distill.student":
            yield _name_of(Recipe.from_json(job.store.get(run.entry).body["c"]["recipe"])), run


def training_took(job: Job, student: str) -> tuple[float, str] | None:
    """Device seconds of the training of ``student``, and the run that it was.

    What its teacher answered for it is counted, whoever else learnt from that. None where it was
    not trained.
    """
    run = next((run for name, run in trainings(job) if name == student), None)
    if run is None:
        return None
    learnt_from = set(job.store.get(run.entry).body["u"].values())
    answers = {
        each.entry: each.seconds
        for each in job.recorder.runs
        if each.name == "distill.teacher_outputs"
        and not learnt_from.isdisjoint(each.outputs.values())
    }
    return run.seconds + sum(answers.values()), run.entry


def _name_of(trained: Recipe) -> str:
    for name, recipe in STUDENTS.items():
        here = replace(recipe, threads=trained.threads, bf16=trained.bf16)
        if digest(here) == digest(trained):  # what was written has fewer digits
            return name
        if digest(control(here)) == digest(trained):
            return f"{name}, no teacher"
    return "student"
