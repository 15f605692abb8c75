"""Raw samples for each contract, and the measurements that stand for them in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headgate.ledger import Store
from headgate.objects import Contract, Direction, Measurement, jsonable
from headgate.optimize.measure import Invariance
from headgate.optimize.quality import QualitySamples, agreement
from headgate.optimize.recorder import Recorded, Recorder
from headgate.release import Blocks, ClassLabel, PairedItems, Samples, WorstSlice, judge

__all__ = ["MIN_SLICE", "Evidence", "OwnRange", "gather", "paired"]

MIN_SLICE = 100
"""Smaller slices cannot carry a margin of a few points; they are named as unjudged."""
_AGREEMENT = ("agreement", "agreement@10")


@dataclass(frozen=True, slots=True)
class OwnRange:
    """Direction and range of a user's own metric."""

    direction: Direction
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one candidate is judged on."""

    samples: Mapping[str, Samples]
    measurements: Mapping[str, str]
    """Metric -> ledger entry."""


def gather(
    recorder: Recorder,
    contracts: Sequence[Contract],
    *,
    candidate: str,
    dataset: str,
    quality: tuple[QualitySamples, QualitySamples, Recorded],
    invariance: Invariance,
    speed: Callable[[str], Blocks | None],
    speed_run: Recorded,
    own: Mapping[str, OwnRange],
) -> Evidence:
    """Samples of every metric that a contract names, and one measurement entry for each.

    ``quality`` is (candidate, current, the candidate's run). A metric that nothing measured has no
    samples, and the gate will say so.
    """
    ours, theirs, run = quality
    samples: dict[str, Samples] = {}
    runs: dict[str, Recorded] = {}
    for contract in contracts:
        name = contract.metric
        base = name.removeprefix("worst_slice_")
        if name == "batch_invariance":
            found: Samples | None = ClassLabel(name, invariance.invariance.value, invariance.items)
            runs[name] = invariance.run
        elif (items := paired(base, ours, theirs, own)) is not None:
            found = items if base == name else WorstSlice(name, items, MIN_SLICE)
            runs[name] = run
        else:
            found = speed(name)
            runs[name] = speed_run
        if found is not None:
            samples[name] = found
    return Evidence(
        samples,
        {
            c.metric: _entry(
                recorder.store,
                _measurement(c, samples[c.metric], candidate, dataset, runs, recorder),
            )
            for c in contracts
            if c.metric in samples
        },
    )


def paired(
    metric: str, ours: QualitySamples, theirs: QualitySamples, own: Mapping[str, OwnRange]
) -> PairedItems | None:
    """The metric's paired per-item values, or None where neither build was scored on it."""
    if metric in _AGREEMENT:
        shared = agreement(ours, theirs)
        values, others = shared, (1.0,) * len(shared)
    elif metric in ours.scores:
        values, others = ours.scores[metric], theirs.scores[metric]  # type: ignore[assignment]
    else:
        return None
    span = own.get(metric, OwnRange(Direction.HIGHER, 0.0, 1.0))
    return PairedItems(
        metric=metric,
        direction=span.direction,
        items=ours.items,
        candidate=values,
        current=others,
        slices=ours.slices,
        value_range=(span.low, span.high),
    )


def _entry(store: Store, measurement: Measurement) -> str:
    """The measurement's entry; the one that is there where nothing about it is new."""
    known = store.latest(
        "measurement",
        metric=measurement.metric,
        artifact=measurement.artifact,
        dataset=measurement.dataset,
        run=measurement.run,
    )
    if known is not None and known.body == jsonable(measurement):
        return known.id
    return store.append("measurement", measurement).id


def _measurement(
    contract: Contract,
    samples: Samples,
    candidate: str,
    dataset: str,
    runs: Mapping[str, Recorded],
    recorder: Recorder,
) -> Measurement:
    result = judge(contract, samples)
    items = samples.items if isinstance(samples, WorstSlice) else samples
    attempted, errored = result.n, 0
    direction = Direction.HIGHER
    if isinstance(items, PairedItems):
        attempted = len(items.items)
        errored = sum(value is None for value in items.candidate)
        direction = items.direction
    elif isinstance(items, Blocks):
        direction = items.direction
    run = runs[contract.metric]
    return Measurement(
        metric=contract.metric,
        unit=items.unit if isinstance(items, Blocks) else "",
        value=result.value,
        low=result.low,
        high=result.high,
        n=result.n,
        direction=direction,
        artifact=candidate,
        dataset=dataset,
        run=run.entry,
        seed=recorder.seed,
        samples=next(iter(run.outputs.values())),
        attempted=attempted,
        errored=errored,
    )
