"""Raw samples for each contract, and the measurements that stand for them in the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headgate.ledger import Store
from headgate.objects import Bound, Contract, ContractResult, Direction, Measurement, jsonable
from headgate.optimize.measure import Invariance
from headgate.optimize.quality import QualitySamples, agreement, flips
from headgate.optimize.recorder import Recorded, Recorder
from headgate.release import Blocks, ClassLabel, PairedItems, Samples, WorstSlice, judge

__all__ = [
    "ABOUT_TWO",
    "MIN_SLICE",
    "SPEED",
    "Evidence",
    "OwnRange",
    "Scored",
    "gather",
    "keep_measurement",
    "paired",
]

Scored = tuple[QualitySamples, Recorded]
"""Per-item results, and the run that they came from."""

MIN_SLICE = 100
"""Smaller slices cannot carry a margin of a few points; they are named as unjudged."""
_AGREEMENT = ("agreement", "agreement@10")
_FLIPS = "flip_rate"
ABOUT_TWO = (*_AGREEMENT, _FLIPS)
"""Metrics that are about two builds."""
SPEED = ("latency_", "cost_per_", "device_s_per_")
"""How metrics begin that are measured in blocks."""
_STATISTIC = {
    Bound.NOT_BELOW_CURRENT_BY: "difference",
    Bound.NOT_ABOVE_CURRENT_BY: "difference",
    Bound.RATIO_AT_MOST: "ratio",
}


@dataclass(frozen=True, slots=True)
class OwnRange:
    """Direction and range of a user's own metric."""

    direction: Direction
    low: float
    high: float

    @property
    def unit(self) -> str:
        """``fraction`` where it lies between 0 and 1, so that per cent say it; else ``number``."""
        return "fraction" if (self.low, self.high) == (0.0, 1.0) else "number"


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the samples of a metric come from."""

    dataset: str
    run: Recorded
    current: Recorded | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one candidate is judged on."""

    samples: Mapping[str, Samples]
    measurements: Mapping[str, str]
    """The contract in words (``Contract.describe``) -> ledger entry."""


def gather(
    recorder: Recorder,
    contracts: Sequence[Contract],
    *,
    candidate: str,
    dataset: str,
    workload: str,
    quality: tuple[Scored, Scored],
    invariance: Invariance,
    speed: Callable[[str], Blocks | None],
    speed_run: Recorded,
    own: Mapping[str, OwnRange],
) -> Evidence:
    """Samples of every metric that a contract names, and a measurement entry for each contract.

    ``quality`` is (candidate, current) on ``dataset``; all else was measured on ``workload``. A
    metric that nothing measured has no samples, and the gate will say so.
    """
    (ours, run), (theirs, current_run) = quality
    samples: dict[str, Samples] = {}
    sources: dict[str, _Source] = {}
    for contract in contracts:
        name = contract.metric
        base = name.removeprefix("worst_slice_")
        if name == "batch_invariance":
            found: Samples | None = ClassLabel(name, invariance.invariance.value, invariance.items)
            sources[name] = _Source(workload, invariance.run, None)
        elif (items := paired(base, ours, theirs, own)) is not None:
            found = items if base == name else WorstSlice(name, items, MIN_SLICE)
            sources[name] = _Source(dataset, run, current_run)
        else:
            found = speed(name)
            sources[name] = _Source(workload, speed_run, speed_run)
        if found is not None:
            samples[name] = found
    return Evidence(
        samples,
        {
            c.describe(): keep_measurement(
                recorder.store,
                _measurement(
                    c, samples[c.metric], candidate, sources[c.metric], own, recorder.seed
                ),
            )
            for c in contracts
            if c.metric in samples
        },
    )


def paired(
    metric: str, ours: QualitySamples, theirs: QualitySamples, own: Mapping[str, OwnRange]
) -> PairedItems | None:
    """The metric's paired per-item values, or None where neither build was scored on it."""
    span = own.get(metric, OwnRange(Direction.HIGHER, 0.0, 1.0))
    values: tuple[float | None, ...]
    others: tuple[float | None, ...]
    if metric in _AGREEMENT:
        values, others = agreement(ours, theirs), (1.0,) * len(ours.items)
    elif metric == _FLIPS:
        flipped = flips(ours, theirs)
        if flipped is None:
            return None
        values, others = flipped, (0.0,) * len(ours.items)
        span = OwnRange(Direction.LOWER, 0.0, 1.0)
    elif metric in ours.scores:
        values, others = ours.scores[metric], theirs.scores[metric]
    else:
        return None
    return PairedItems(
        metric=metric,
        direction=span.direction,
        items=ours.items,
        candidate=values,
        current=others,
        slices=ours.slices,
        value_range=(span.low, span.high),
    )


def keep_measurement(store: Store, measurement: Measurement) -> str:
    """The measurement's entry; the one that is there where nothing about it is new."""
    known = store.latest(
        "measurement",
        metric=measurement.metric,
        artifact=measurement.artifact,
        dataset=measurement.dataset,
        run=measurement.run,
        current_run=measurement.current_run,
        statistic=measurement.statistic,
    )
    if known is not None and known.body == jsonable(measurement):
        return known.id
    return store.append("measurement", measurement).id


def _measurement(
    contract: Contract,
    samples: Samples,
    candidate: str,
    source: _Source,
    own: Mapping[str, OwnRange],
    seed: int,
) -> Measurement:
    result = judge(contract, samples)
    items = samples.items if isinstance(samples, WorstSlice) else samples
    attempted, errored = result.n, 0
    direction, unit = Direction.HIGHER, "class"
    if isinstance(items, PairedItems):
        attempted = len(items.items)
        errored = sum(value is None for value in items.candidate)
        direction = items.direction
        unit = own[items.metric].unit if items.metric in own else "fraction"
    elif isinstance(items, Blocks):
        direction, unit = items.direction, items.unit
    return Measurement(
        metric=contract.metric,
        unit=unit,
        value=_own_value(contract, items, result),
        statistic=_STATISTIC.get(contract.bound, "value"),
        compared=result.value,
        low=result.low,
        high=result.high,
        n=result.n,
        direction=direction,
        artifact=candidate,
        dataset=source.dataset,
        run=source.run.entry,
        seed=seed,
        current=result.current_value,
        current_run=source.current.entry if source.current is not None else None,
        samples=next(iter(source.run.outputs.values())),
        attempted=attempted,
        scored=attempted - errored,
        errored=errored,
    )


def _own_value(contract: Contract, items: Samples, result: ContractResult) -> float:
    """The candidate's own mean, in the metric's unit; NaN where there is no estimate."""
    match _STATISTIC.get(contract.bound):
        case None:
            return result.value
        case _ if isinstance(items, Blocks) and not math.isnan(result.value):
            return math.fsum(items.candidate) / len(items.candidate)
        case _:  # the mean difference is the difference of the means, in the worst slice too
            return result.value + (result.current_value or 0.0)
