"""Forecasts of candidates as entries of the ledger, and what they are held against later.

Both previews fill the same fields. A forecast stands in the ledger before what it is about is
measured; the truth is joined to it by what was forecast of what: endpoint, candidate, model, data
and environment. Making forecasts is the previews' work, measuring that of the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.ledger import Store
from headgate.objects import Build, jsonable
from headgate.optimize.blocks import SpeedBlocks
from headgate.planning.scorecard import Met, Score, scorecard
from headgate.theory.intervals import Range
from headgate.theory.quantile import quantile

__all__ = [
    "Figure",
    "Forecast",
    "Speeds",
    "bytes_of",
    "keep_forecast",
    "keep_truth",
    "read_scorecard",
    "speeds_of",
]


@dataclass(frozen=True, slots=True)
class Figure:
    """One forecast that a measurement will meet."""

    about: str
    """``quality``, ``speed`` or ``size``: what it is scored with."""
    unit: str
    """As ``report.words`` shows it."""
    range: Range


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
    """Whose intervals these are: ``quantization``, or ``distillation`` where it has a student."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """``file_bytes``, ``memory_bytes``, ``latency_p50``, ``per_s``, ``speedup``, ``loss of M`` for
    a contract relative to current, else the metric."""
    meets: float | None = None
    """Probability that it keeps the quality contracts on all items; None without a pilot."""
    n_required: int | None = None
    """Items with which the gate would show it; None where no n would, or without a pilot."""
    cost_s: float | None = None
    """Device seconds of making and evaluating it for real."""
    advice: str = ""
    """What to do about it, in a word or two."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """How fast one build is, one figure a block."""

    p50_s: tuple[float, ...]
    """Of lone items."""
    per_s: tuple[float, ...]
    """Items a second, in batches."""
    speedups: tuple[float, ...]
    """The first build's time over this one's, for the same items in batches."""


def speeds_of(speed: SpeedBlocks, name: str) -> Speeds:
    """The build ``name`` in ``speed``, whose first build is the baseline."""
    column = speed.names.index(name)
    rows = [(row[0], row[column]) for row in speed.blocks]
    return Speeds(
        tuple(quantile(own.latencies_s, 0.5) for _, own in rows),
        tuple(len(own.latencies_s) / own.batched_s for _, own in rows),
        tuple(
            (base.batched_s / len(base.latencies_s)) / (own.batched_s / len(own.latencies_s))
            for base, own in rows
        ),
    )


def bytes_of(store: Store, build: Build) -> int:
    """Of all files of ``build``, the tokenizer left out."""
    return sum(store.path_of(version).stat().st_size for version in build.files.values())


def keep_forecast(
    store: Store, forecast: Forecast, *, of: Mapping[str, str], detail: object
) -> str:
    """The forecast's entry; the one that is there where nothing about it is new.

    ``of``: endpoint, model, data and environment, as versions. ``detail``: what else the preview
    found, for whoever looks at it.
    """
    body = {
        **of,
        "candidate": forecast.name,
        "preview": forecast.preview,
        "skip": forecast.skip,
        "expected": forecast.expected,
        "warnings": list(forecast.warnings),
        "figures": forecast.figures,
        "meets": forecast.meets,
        "n_required": forecast.n_required,
        "cost_s": forecast.cost_s,
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
    store.append(
        "score",
        {
            "forecast": forecast.entry,
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
            e.body["preview"],
            e.body["about"],
            Range(**e.body["expected"]),
            e.body["truth"],
        )
        for e in store.entries("score")
    )
