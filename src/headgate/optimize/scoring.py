"""Holds what was measured of the candidates against what was forecast of them."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

from headgate.errors import EngineError
from headgate.objects import Bound, Verdict
from headgate.optimize.evidence import paired
from headgate.optimize.forecasts import bytes_of, keep_truth, speeds_of
from headgate.optimize.job import Job
from headgate.optimize.pilots import pilot_memory
from headgate.optimize.stages import Baseline, Tried
from headgate.optimize.trainings import training_took
from headgate.planning import CANDIDATES
from headgate.release.estimate import NoEstimate, counted, estimate_items

__all__ = ["hold_to_forecasts", "measured_of", "weighed"]


def weighed(job: Job, tried: Sequence[Tried], name: str) -> tuple[Tried, ...]:
    """``tried``, the candidate ``name`` with the peak of a process that serves it, where that was
    forecast: two seconds that one candidate is worth, and not all of them."""
    return tuple(_weighed(job, t) if t.name == name else t for t in tried)


def _weighed(job: Job, tried: Tried) -> Tried:
    if tried.build is not None and "memory_bytes" in tried.forecast.figures:
        with contextlib.suppress(EngineError):  # it is then not held against its forecast
            return replace(tried, memory=pilot_memory(job, tried.build))
    return tried


def hold_to_forecasts(job: Job, baseline: Baseline, tried: Sequence[Tried]) -> None:
    """A ``score`` for every figure that was forecast of a candidate and is now measured.

    One that the preview measured itself, of the very build, was no forecast.
    """
    for candidate in tried:
        figures = candidate.forecast.figures
        for metric, truth, run in measured_of(job, baseline, candidate):
            if metric in figures and not figures[metric].known:
                keep_truth(job.store, candidate.forecast, metric, truth, run=run)


def measured_of(job: Job, baseline: Baseline, tried: Tried) -> Iterator[tuple[str, float, str]]:
    """(what, its value, the entry of the run that measured it).

    Of a metric of which the gate finds the measurement invalid there is no value.
    """
    took = training_took(job, CANDIDATES[tried.name].student or "")
    if took is not None:
        yield "training_device_s", *took
    if tried.build is None:
        return
    if tried.memory is not None:
        peak_bytes, weighing = tried.memory
        yield "memory_bytes", float(peak_bytes), weighing.entry
    if tried.quality is None or tried.quality_run is None or tried.speed is None:
        return  # of its speed there is no more than a pilot's
    yield "file_bytes", float(bytes_of(job.store, tried.build)), tried.quality_run.entry
    speeds, timed = speeds_of(tried.speed, tried.build.name), tried.speed.run.entry
    # Beside the baseline: a machine that is slower by now is no error of the forecast.
    yield "latency_p50", statistics.geometric_mean(speeds.p50_ratios), timed
    yield "speedup", statistics.geometric_mean(speeds.speedups), timed
    for contract in job.contracts:
        items = paired(contract.metric, tried.quality, baseline.quality, job.own)
        if items is None:
            continue
        judged = estimate_items(contract, items)
        if isinstance(judged, NoEstimate) and judged.verdict is Verdict.INVALID:
            continue
        # As it was forecast: what the metric says nothing of counts as the gate counts it.
        values = counted(contract, items)
        ours, theirs = statistics.fmean(values.candidate), statistics.fmean(values.current)
        loss = {
            Bound.NOT_BELOW_CURRENT_BY: theirs - ours,
            Bound.NOT_ABOVE_CURRENT_BY: ours - theirs,
        }.get(contract.bound)
        entry = tried.quality_run.entry
        if loss is None:
            yield contract.metric, ours, entry
        else:
            yield f"loss of {contract.metric}", loss, entry
