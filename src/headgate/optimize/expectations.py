"""What the report shows of forecasts and of trainings, from what is on record of them."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.objects import parse
from headgate.optimize.job import Job
from headgate.optimize.scoring import measured_of
from headgate.optimize.stages import Baseline, Tried
from headgate.optimize.trainings import trainings
from headgate.report import Expectation, Figure, Learning

__all__ = ["expectations", "learning"]

_SHOWN = {
    "speedup": "speed-up",
    "latency_p50": "latency p50 over the baseline's",
    "file_bytes": "size",
    "memory_bytes": "memory of one engine",
    "training_device_s": "training",
}
"""Figure -> quantity."""


def expectations(job: Job, baseline: Baseline, tried: Sequence[Tried]) -> list[Expectation]:
    """Every figure that was forecast, and what was measured of it: quality first."""
    limits = {c.metric: c.limit for c in job.contracts}
    rows = []
    for t in tried:
        truths = {m: (value, run) for m, value, run in measured_of(job, baseline, t)}
        for name, figure in t.forecast.figures.items():
            quality = figure.about == "quality"
            r, unit = figure.range, figure.unit
            rows.append(
                Expectation(
                    t.name,
                    name if quality else _SHOWN[name],
                    Figure(r.value, unit, t.forecast.entry, r.low, r.high),
                    Figure(truths[name][0], unit, truths[name][1]) if name in truths else None,
                    limits.get(name.removeprefix("loss of ")) if quality else None,
                )
            )
    order = [*dict.fromkeys(r.quantity for r in rows if r.quantity not in _SHOWN.values())]
    order += _SHOWN.values()
    return sorted(rows, key=lambda r: order.index(r.quantity))


def learning(job: Job) -> list[Learning]:
    """How each student learnt that its teacher taught; a control's loss is another thing."""
    rows = []
    for name, run in trainings(job):
        record = parse(job.store.read(run.outputs["training"]))
        if not name.endswith("no teacher"):
            curve = tuple((int(step), float(loss)) for step, loss in record["curve"])
            rows.append(Learning(name, run.entry, tuple(record["losses"]), curve))
    return rows
