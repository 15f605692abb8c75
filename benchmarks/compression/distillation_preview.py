"""Is the distillation preview held to its word? Twelve students: forecast first, trained then.

MiniLM as the teacher, python-help as the data: 1,300 labelled questions and their passages. Layers,
texts, steps, start and seed vary. Each student is forecast from its pilots, and the forecast stands
in a file before its training begins; what is scored is what stands there, and a student that was
forecast anew when its truth was known does not count. All twelve take about half an hour of one
core. What is done is kept in ``benchmarks/.compression``; ``HEADGATE_BENCHMARK_SECONDS`` ends a run
early, and several may run side by side.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compression.sources import code_digest
from benchmarks.compression.student_worlds import open_world, write_whole
from benchmarks.compression.students_held import (
    Pilots,
    Student,
    Trained,
    alone,
    piloted,
    trained,
)
from benchmarks.convention import Target, at_least, at_most
from headgate.distillation import RECORDED, Piloted
from headgate.objects import digest, jsonable

__all__ = ["distillation_preview"]

KEEP = Path(__file__).parents[1] / ".compression" / "distillation_preview"
MARGIN = 0.02
"""Of recall@10 and mrr@10, as in the example's headgate.yaml."""
STUDENTS = (
    Student.of(3, 1000, 7000, 700, 31),
    Student.of(1, 950, 5000, 900, 32),
    Student.of(2, 1500, 8000, 900, 33),
    Student.of(4, 450, 5000, 600, 34),
    Student.of(5, 700, 4000, 600, 35),
    Student.of(2, 550, 7000, 500, 36),
    Student.of(1, 1800, 7000, 500, 37),
    Student.of(3, 500, 5000, 800, 38),
    Student.of(4, 850, 3000, 400, 39),
    Student.of(2, 900, 2500, 400, 40),
    Student.of(5, 430, 6000, 500, 41),
    Student.of(1, 1300, 2500, 700, 42),
)
"""Written down before any was piloted. Those of as many layers differ in earnest, in steps and in
texts: counting layers does not tell which is the better."""
_FORECAST = (
    *(f"headgate.distillation.{name}" for name in ("forecast", "history", "outcome", "piloted")),
    "headgate.theory.hierarchy",
)
"""Modules that make forecasts of what pilots found."""


@dataclass(frozen=True, slots=True)
class Said:
    """A forecast as it stands in its file."""

    metrics: Mapping[str, Mapping[str, float]]
    """Metric -> what is lost of it: value, low and high."""
    training_s: float
    before: bool
    """Whether it was written before the truth was known."""


def distillation_preview(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Forecasts and trains what is not done yet; what became of the targets."""
    until_s = time.monotonic() + float(os.environ.get("HEADGATE_BENCHMARK_SECONDS", "inf"))
    students = STUDENTS[:1] if quick else STUDENTS
    world = open_world("python-help", KEEP)
    rows: list[Mapping[str, Any]] = []
    for student in students:
        with alone(KEEP, student.name) as mine:
            make = mine and time.monotonic() < until_s
            pilots = piloted(world, student, KEEP, make=make)
            if pilots is None:
                continue
            said = _said(student, pilots, known=trained(world, student, KEEP, make=False))
            truth = trained(world, student, KEEP, make=make and time.monotonic() < until_s)
            if truth is not None:
                rows += _rows(student, pilots, said, truth)
    return _targets(rows, len(students)), {**_pairs(rows), "students": rows}


def _said(student: Student, pilots: Pilots, *, known: Trained | None) -> Said:
    """The forecast that stands in the student's file, written now where there is none."""
    of = digest([pilots.of, jsonable(RECORDED), code_digest(*_FORECAST)])
    path = KEEP / f"{student.name}.forecast.json"
    body = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if body.get("of") != of:
        figures = Piloted.from_json(student.recipe, pilots.plan, pilots.found, items=pilots.items)
        made = figures.forecasts(RECORDED, np.random.default_rng(student.seed))
        body = {
            "of": of,
            "metrics": {
                metric: {"value": each.median, "low": each.lower, "high": each.upper}
                for metric, each in made.items()
            },
            "training_s": pilots.training_s,
            "before": known is None,
        }
        text = json.dumps(body)
        write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))
    return Said(body["metrics"], body["training_s"], body["before"])


def _targets(rows: Sequence[Mapping[str, Any]], wanted: int) -> Mapping[str, Target]:
    recall = [r for r in rows if r["metric"] == "recall@10" and r["before"]]
    done = {"students forecast and trained": at_least(len(recall), wanted)}
    if not recall:
        return done
    held = [r["low"] <= r["lost"] <= r["high"] for r in recall]
    named = [_named_right(a, b, by="value") for a, b in _differing(recall)]
    return {
        **done,
        "intervals that hold the truth, share": at_least(float(np.mean(held)), 10 / 12),
        "width of the interval, margins, median": at_most(
            float(np.median([(r["high"] - r["low"]) / MARGIN for r in recall])), 3.0
        ),
        "the better of two named right, share": at_least(float(np.mean(named or [1.0])), 0.8),
        "pilots' processor seconds by the training's, of any student": at_most(
            max(r["pilots_s"] / r["training_s"] for r in recall), 0.1
        ),
    }


def _pairs(rows: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """What naming the better of two by its layers alone would do, which takes no pilots, and what
    the forecasts do where layers do not tell."""
    recall = [r for r in rows if r["metric"] == "recall@10" and r["before"]]
    alike = [(a, b) for a, b in _differing(recall) if a["layers"] == b["layers"]]
    apart = [(a, b) for a, b in _differing(recall) if a["layers"] != b["layers"]]
    return {
        "pairs with as many layers": len(alike),
        "of these named right": sum(_named_right(a, b, by="value") for a, b in alike),
        "pairs with other layers": len(apart),
        "of those named right": sum(_named_right(a, b, by="value") for a, b in apart),
        "of those the one with more layers is the better": sum(
            not _named_right(a, b, by="layers") for a, b in apart
        ),
    }


def _differing(
    recall: Sequence[Mapping[str, Any]],
) -> Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return [(a, b) for a, b in itertools.combinations(recall, 2) if a["lost"] != b["lost"]]


def _named_right(a: Mapping[str, Any], b: Mapping[str, Any], *, by: str) -> bool:
    """Whether the one with less of ``by`` lost less."""
    return bool((a[by] < b[by]) == (a["lost"] < b["lost"]))


def _rows(
    student: Student, pilots: Pilots, said: Said, truth: Trained
) -> Sequence[Mapping[str, Any]]:
    """What was forecast and what came of it, a row a metric."""
    return [
        {
            "name": student.name,
            "layers": student.recipe.layers_kept,
            "metric": metric,
            **{key: round(number, 4) for key, number in each.items()},
            "lost": round(truth.lost[metric], 4),
            "before": said.before,
            "pilots_s": round(pilots.cpu_s, 1),
            "training_s": round(truth.cpu_s, 1),
            "training_s_forecast": round(said.training_s, 1),
        }
        for metric, each in said.metrics.items()
    ]
