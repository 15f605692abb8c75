"""The trainings of a job: which student each made, and what it took."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from headgate.distillation import STUDENTS, Recipe, control
from headgate.optimize.job import Job
from headgate.optimize.recorder import Recorded

__all__ = ["training_device_s", "trainings"]


def trainings(job: Job) -> Iterator[tuple[str, Recorded]]:
    """(student, run) of each training of this job; controls have a name of their own."""
    for run in {run.entry: run for run in job.recorder.runs}.values():  # asked for more than once
        if run.name == "distill.student":
            yield _name_of(Recipe.from_json(job.store.get(run.entry).body["c"]["recipe"])), run


def training_device_s(job: Job, run: Recorded) -> float:
    """Seconds of the machine for the training ``run`` and its teacher's answers.

    Of a training that was killed and went on, those since it went on.
    """
    answers = {v for name, v in job.store.get(run.entry).body["u"].items() if "outputs" in name}
    paid = {
        asked.entry: asked.seconds
        for asked in job.recorder.runs
        if asked.name == "distill.teacher_outputs" and answers & set(asked.outputs.values())
    }
    return run.seconds + math.fsum(paid.values())


def _name_of(trained: Recipe) -> str:
    for name, recipe in STUDENTS.items():
        here = replace(recipe, threads=trained.threads, bf16=trained.bf16)
        if here == trained:
            return name
        if control(here) == trained:
            return f"{name}, no teacher"
    return "student"
