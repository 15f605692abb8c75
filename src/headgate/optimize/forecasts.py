"""Forecasts of candidates as entries of the ledger, and what they are held against later.

Both previews fill the same fields. A forecast stands in the ledger before what it is about is
measured; the truth is joined to it by what was forecast of what: endpoint, candidate, model, data,
environment and code. Making forecasts is the previews' work, measuring that of the job.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.ledger import Store
from headgate.objects import Build, digest, jsonable
from headgate.optimize.blocks import SpeedBlocks
from headgate.planning import CANDIDATES
from headgate.planning.scorecard import Met, Score, scorecard
from headgate.theory.intervals import Range
from headgate.theory.quantile import quantile

__all__ = [
    "HOPELESS",
    "Figure",
    "Forecast",
    "Speeds",
    "bytes_of",
    "keep_forecast",
    "keep_truth",
    "read_scorecard",
    "speeds_of",
]

HOPELESS = 0.05
"""Not tried where the chance to keep its quality contracts is at most this. Advice against comes
earlier: pilots may be too gloomy, and what is left out never shows it (docs/decisions/0043)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One forecast that a measurement will meet."""

    about: str
    """``quality``, ``speed``, ``size``, ``memory`` or ``cost``: what it is scored with."""
    unit: str
    """As ``amounts.figure`` shows it."""
    range: Range

    @property
    def known(self) -> bool:
        """Whether it was measured already, of the very build: then it is no forecast."""
        return self.range.low == self.range.high


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of a candidate; ``skip`` says why it is not tried, if so."""

    name: str
    skip: str
    expected: str
    """In words: how fast, how large, what making it costs."""
    warnings: tuple[str, ...]
    entry: str
    """Of the ledger."""
    preview: str = "quantization"
    """Whose intervals these are: ``distillation`` where it has an encoder's student, of which
    smaller trainings tell; else ``quantization``, also of a small student that was trained."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """``file_bytes``, ``memory_bytes``, ``latency_p50`` and ``speedup`` (times the baseline's, as a
    machine is not equally fast every day), ``loss of M`` for a contract relative to current, else
    the metric."""
    p50_s: Range | None = None
    """``latency_p50`` at the baseline's pace beside the pilot: the same figure in another unit, and
    no measurement meets it."""
    per_s: Range | None = None
    """``speedup`` likewise: items a second in batches."""
    meets: float | None = None
    """Probability that it keeps the quality contracts on all items; None without a pilot."""
    n_required: int | None = None
    """Items with which the gate would show it; None where no n would, or without a pilot."""
    making_s: float | None = None
    """Device seconds of making it for real; nothing where its pilot is what would be made."""
    scoring_s: float | None = None
    """And of evaluating it."""
    advice: str = ""
    """What to do about it, in a word or two."""
    calibrated: bool = False
    """Its pilot was, so that there is luck in it."""
    training: str = ""
    """Of a small student that was trained for the preview: what that took, and when it is earned
    back, in words."""

    @property
    def cost_s(self) -> float | None:
        """Of finding out; None where no preview says."""
        if self.making_s is None or self.scoring_s is None:
            return None
        return self.making_s + self.scoring_s


@dataclass(frozen=True, slots=True)
class Speeds:
    """How fast one build is beside the first, one figure a block."""

    p50_ratios: tuple[float, ...]
    """The median of lone items, over the first build's."""
    speedups: tuple[float, ...]
    """The first build's time over this one's, for the same items in batches."""
    baseline_p50_s: float
    """Of the first build: the median of its blocks."""
    baseline_per_s: float
    """Items a second in batches, likewise."""


def speeds_of(speed: SpeedBlocks, name: str) -> Speeds:
    """The build ``name`` in ``speed``, whose first build is the baseline."""
    column = speed.names.index(name)
    rows = [(row[0], row[column]) for row in speed.blocks]
    p50_s = [[quantile(times.latencies_s, 0.5) for times in row] for row in rows]
    return Speeds(
        p50_ratios=tuple(own / base for base, own in p50_s),
        speedups=tuple(base.per_item_s / own.per_item_s for base, own in rows),
        baseline_p50_s=statistics.median(base for base, _ in p50_s),
        baseline_per_s=1 / statistics.median(base.per_item_s for base, _ in rows),
    )


def bytes_of(store: Store, build: Build) -> int:
    """Of all files of ``build``, the tokenizer left out."""
    return sum(store.path_of(version).stat().st_size for version in build.files.values())


def keep_forecast(
    store: Store, forecast: Forecast, *, of: Mapping[str, str], detail: object
) -> str:
    """The forecast's entry; the one that is there where nothing about it is new.

    ``of``: endpoint, model, data, environment and code, as versions. ``detail``: what else the
    preview found, for whoever looks at it.
    """
    body = {
        "of": of,
        "candidate": forecast.name,
        "preview": forecast.preview,
        "skip": forecast.skip,
        "expected": forecast.expected,
        "warnings": list(forecast.warnings),
        "figures": forecast.figures,
        "p50_s": forecast.p50_s,
        "per_s": forecast.per_s,
        "meets": forecast.meets,
        "n_required": forecast.n_required,
        "making_s": forecast.making_s,
        "scoring_s": forecast.scoring_s,
        "advice": forecast.advice,
        "detail": detail,
    }
    known = store.latest("forecast", **body)
    return (known or store.append("forecast", jsonable(body))).id


def keep_truth(store: Store, forecast: Forecast, metric: str, truth: float, *, run: str) -> None:
    """Joins what was measured of ``metric`` to what was forecast of it, once.

    ``run``: the entry of the run that measured it.
    """
    if store.latest("score", forecast=forecast.entry, metric=metric) is not None:
        return
    figure = forecast.figures[metric]
    about = store.get(forecast.entry).body["of"]
    of = {
        **{k: v for k, v in about.items() if k != "code"},  # better code takes its own word back
        # A student is trained once for all its precisions.
        "candidate": CANDIDATES[forecast.name].student if figure.about == "cost" else forecast.name,
        "metric": metric,
    }
    store.append(
        "score",
        {
            "forecast": forecast.entry,
            "of": digest(of),
            "preview": forecast.preview,
            "candidate": forecast.name,
            "metric": metric,
            "about": figure.about,
            "expected": jsonable(figure.range),
            "truth": truth,
            "held": figure.range.holds(truth),
            "run": run,
        },
    )


def read_scorecard(store: Store) -> tuple[Score, ...]:
    """How the forecasts of this store did, whichever endpoint they were about."""
    return scorecard(
        Met(
            e.body.get("of") or e.body["forecast"],
            e.body["preview"],
            e.body["about"],
            Range(**e.body["expected"]),
            e.body["truth"],
        )
        for e in store.entries("score")
    )
