"""A student's pilots and its training, each recorded once: what a preview is held against.

A record stands in a file of its own, whole or not at all, and says of what it was made: recipe,
seed and world, and of pilots their plan too. Where one of these has changed it is made anew; where
the training itself has changed, its recipe the same, the folder is to be deleted. What a training
leaves is the student's vectors of the evaluation split, so that scores follow the code of today.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.sources import source_digest
from benchmarks.compression.student_worlds import TEACHER_LAYERS, World, write_whole
from headgate.distillation import METRICS, PilotPlan, Recipe, plan_pilots
from headgate.distillation.pilots import SHARE
from headgate.distillation.train import train_student
from headgate.objects import digest, jsonable
from headgate.optimize.making.pilots import as_encoder, run_pilots, sampled_part, student_answerer

__all__ = ["Pilots", "Student", "Trained", "alone", "piloted", "trained"]

_PILOTS = ("headgate.distillation.sampled", "headgate.theory.ranking")
"""Modules that say what pilots lose. What is piloted stands in their plan."""
_AMPLE = 0.13
"""Of the training, what ample pilots may cost before they answer the whole split."""


@dataclass(frozen=True, slots=True)
class Student:
    """One that is piloted and trained."""

    recipe: Recipe
    seed: int

    @classmethod
    def of(cls, layers: int, steps: int, texts: int, start_texts: int, seed: int) -> Student:
        recipe = Recipe(
            layers_kept=layers, steps=steps, max_texts=texts, bridge_texts=start_texts, threads=1
        )
        return cls(recipe, seed)

    @property
    def name(self) -> str:
        r = self.recipe
        return f"{r.layers_kept}x{r.steps}-{r.max_texts}-{r.bridge_texts}-s{self.seed}"


@dataclass(frozen=True, slots=True)
class Pilots:
    """What the pilots of a student found."""

    of: str
    """Digest of what they were made of."""
    plan: PilotPlan
    found: Mapping[str, Any]
    """As ``optimize.making.pilots`` records it."""
    items: int
    """Queries of the evaluation split."""
    cpu_s: float
    """Processor seconds of all of it, the teacher's answers and the products on the way among them:
    on a machine that others use too, they say more than those of the clock."""
    training_s: float
    """Forecast of the training's."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to."""

    lost: Mapping[str, float]
    """Metric -> the teacher's mean less the student's, on the whole split."""
    lost_by_item: Mapping[str, NDArray[np.float64]]
    loss: float
    """Mean squared distance to the teacher, of passages and queries alike."""
    cpu_s: float
    """Processor seconds, the teacher's answers among them."""


@contextlib.contextmanager
def alone(folder: Path, name: str) -> Iterator[bool]:
    """Whether no other process works on ``name``; none begins while this lasts."""
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def piloted(
    world: World, student: Student, folder: Path, *, make: bool = True, ample: bool = False
) -> Pilots | None:
    """The record of its pilots; made where there is none, unless told not to.

    Those of an ``ample`` budget are as long for a short training as others are for a longer one,
    and the longest answers the whole split: for whoever asks what pilots leave open.
    """
    plan = plan_pilots(
        student.recipe,
        teacher_layers=TEACHER_LAYERS,
        evaluation_texts=world.evaluation_texts,
        share=_AMPLE if ample else SHARE,
    )
    assert plan is not None, f"{student.name}: too little for pilots"
    if ample:
        plan = replace(plan, evaluation_share=1.0)
    of = digest([_made_of(world, student), jsonable(plan), source_digest(*_PILOTS)])
    path = folder / f"{student.name}.pilots.json"
    body = _kept(path, of)
    if body is None:
        if not make:
            return None
        print(f"{world.name} {student.name}: pilots", file=sys.stderr, flush=True)
        body = {"of": of, **_run_pilots(world, student, folder, plan)}
        text = json.dumps(body)
        write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))
    return Pilots(of, plan, body["found"], body["items"], body["cpu_s"], body["training_s"])


def trained(world: World, student: Student, folder: Path, *, make: bool = True) -> Trained | None:
    """The record of its training; made where there is none, unless told not to."""
    of = _made_of(world, student)
    path = folder / f"{student.name}.trained.json"
    vectors = path.with_suffix(".npz")
    body = _kept(path, of)
    if body is None:
        if not make:
            return None
        print(f"{world.name} {student.name}: training", file=sys.stderr, flush=True)
        (passages, queries), cpu_s = _train(world, student, folder)
        write_whole(vectors, lambda p: np.savez(p, passages=passages, queries=queries))
        text = json.dumps({"of": of, "cpu_s": cpu_s})
        write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))
        body = json.loads(text)
    with np.load(vectors) as found:
        passages, queries = found["passages"], found["queries"]
    sample = sampled_part(world.data, 1.0, np.random.default_rng(0)).sample
    before, after = sample.scores(world.queries, world.passages), sample.scores(queries, passages)
    lost = {metric: before[metric] - after[metric] for metric in METRICS}
    distances = [
        np.sum((own - theirs) ** 2, axis=1).mean()
        for own, theirs in ((passages, world.passages), (queries, world.queries))
    ]
    return Trained(
        {metric: float(each.mean()) for metric, each in lost.items()},
        lost,
        float(np.mean(distances)),
        body["cpu_s"],
    )


def _made_of(world: World, student: Student) -> str:
    return digest(
        {"world": world.identity, "recipe": jsonable(student.recipe), "seed": student.seed}
    )


def _kept(path: Path, of: str) -> Mapping[str, Any] | None:
    if not path.exists():
        return None
    body: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return body if body["of"] == of else None


def _run_pilots(world: World, student: Student, folder: Path, plan: PilotPlan) -> Mapping[str, Any]:
    rng = np.random.default_rng(student.seed)
    part = sampled_part(world.data, plan.evaluation_share, rng)
    teacher = world.passages[part.passages], world.queries[part.queries]
    answered = max(plan.texts, plan.start.bridge_texts)
    began_s = time.process_time()
    with tempfile.TemporaryDirectory(dir=folder) as work:
        runs = run_pilots(
            world.teacher_dir,
            world.train[:answered],
            world.outputs[:answered],
            part.asked(world.data),
            np.concatenate(teacher),
            part.some(plan.validation_texts, rng),
            plan=plan,
            codec=world.codec,
            seed=student.seed,
            work_dir=Path(work),
        )
    lost = part.lost(teacher, part.split(runs.answers))
    cpu_s = time.process_time() - began_s
    return {
        "found": {"losses": runs.losses.tolist(), "lost": lost},
        "items": len(world.data.queries),
        "cpu_s": cpu_s + answered * world.answer_s,
        "training_s": plan.training_s(cpu_s),
    }


def _train(world: World, student: Student, folder: Path) -> tuple[list[NDArray[np.float32]], float]:
    recipe, n = student.recipe, min(student.recipe.max_texts, len(world.train))
    data = world.data
    with tempfile.TemporaryDirectory(dir=folder) as work:
        began_s = time.process_time()
        done = train_student(
            world.teacher_dir,
            world.train[:n],
            world.outputs[:n],
            Path(work) / "training",
            recipe=recipe,
            seed=student.seed,
            resumable=False,
        )
        cpu_s = time.process_time() - began_s
        directory = as_encoder(world.teacher_dir, done.state, Path(work) / "student")
        answerer = student_answerer(directory, world.codec, recipe)
        answers = [answerer.answer(of).astype(np.float32) for of in (data.passages, data.queries)]
        return answers, cpu_s + n * world.answer_s
