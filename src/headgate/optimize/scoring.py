"""Holds what was measured of the candidates against what was forecast of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from headgate.objects import Bound
from headgate.optimize.evidence import paired
from headgate.optimize.forecasts import bytes_of, keep_truth, speeds_of
from headgate.optimize.job import Job
from headgate.optimize.stages import Baseline, Tried
from headgate.optimize.trainings import training_took
from headgate.planning import CANDIDATES

__all__ = ["hold_to_forecasts", "measured_of"]


def hold_to_forecasts(job: Job, baseline: Baseline, tried: Sequence[Tried]) -> None:
    """A ``score`` for every figure that was forecast of a candidate and is now measured."""
    for candidate in tried:
        for metric, truth, run in measured_of(job, baseline, candidate):
            if metric in candidate.forecast.figures:
                keep_truth(job.store, candidate.forecast, metric, truth, run=run)


def measured_of(job: Job, baseline: Baseline, tried: Tried) -> Iterator[tuple[str, float, str]]:
    """(what, its value, the entry of the run that measured it)."""
    took = training_took(job, CANDIDATES[tried.name].student or "")
    if took is not None:
        yield "training_s", *took
    if tried.build is None or tried.quality is None or tried.quality_run is None:
        return
    speed = tried.speed
    if speed is None:
        return
    yield "file_bytes", float(bytes_of(job.store, tried.build)), tried.quality_run.entry
    speeds = speeds_of(speed, tried.build.name)
    yield "latency_p50", statistics.median(speeds.p50_s), speed.run.entry
    yield "per_s", statistics.median(speeds.per_s), speed.run.entry
    yield "speedup", statistics.geometric_mean(speeds.speedups), speed.run.entry
    for contract in job.contracts:
        items = paired(contract.metric, tried.quality, baseline.quality, job.own)
        if items is None:
            continue
        pairs = [
            (a, b)
            for a, b in zip(items.candidate, items.current, strict=True)
            if a is not None and b is not None
        ]
        if not pairs:
            continue
        ours, theirs = (statistics.fmean(side) for side in zip(*pairs, strict=True))
        loss = {
            Bound.NOT_BELOW_CURRENT_BY: theirs - ours,
            Bound.NOT_ABOVE_CURRENT_BY: ours - theirs,
        }.get(contract.bound)
        entry = tried.quality_run.entry
        if loss is None:
            yield contract.metric, ours, entry
        else:
            yield f"loss of {contract.metric}", loss, entry
