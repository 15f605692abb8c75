"""What the contracts can tell with the data that there is, said before anything is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from headgate.objects import Bound, Contract
from headgate.optimize.blocks import SpeedBlocks
from headgate.optimize.evidence import MIN_SLICE, paired
from headgate.optimize.job import Job
from headgate.optimize.stages import Baseline, Tried
from headgate.release import PairedItems, assume, contract_power, slices_power

__all__ = ["Power", "Row", "plan_power"]

_PILOT_ITEMS = 300


@dataclass(frozen=True, slots=True)
class Row:
    """One contract's power."""

    rule: str
    n: int
    assumed: str
    power: float
    required_n: int | None
    can_decide: bool


@dataclass(frozen=True, slots=True)
class Power:
    """The table and its ledger entry."""

    rows: tuple[Row, ...]
    entry: str


def plan_power(job: Job, baseline: Baseline, tried: Sequence[Tried], speed: SpeedBlocks) -> Power:
    """The power of every contract at the sizes of the certifying split.

    The spread comes from a pilot: the first 300 items, and the blocks, of the first candidate that
    could be made. In the ledger before the first decision.
    """
    pilot = next((t for t in tried if t.quality is not None), None)
    split = job.inputs.holdout or job.inputs.evaluate
    rows = (
        []
        if pilot is None
        else [
            row
            for c in job.contracts
            if (row := _row(job, c, pilot, baseline, speed, split.slices)) is not None
        ]
    )
    body = {"endpoint": job.config.endpoint, "rows": rows}
    entry = job.store.latest("power", **body) or job.store.append("power", body)
    return Power(tuple(rows), entry.id)


def _row(
    job: Job,
    contract: Contract,
    pilot: Tried,
    baseline: Baseline,
    speed: SpeedBlocks,
    slices: Sequence[Sequence[str]],
) -> Row | None:
    absolute = not contract.bound.needs_current
    base = contract.metric.removeprefix("worst_slice_")
    n = len(slices)
    if contract.bound is Bound.ONE_OF:
        assert pilot.invariance is not None
        power = contract_power(contract, pilot.invariance.items, None)
    elif pilot.quality is not None and (
        items := paired(base, pilot.quality, baseline.quality, job.own)
    ):
        assumption = assume(_head(items), absolute=absolute)
        sizes = Counter(name for names in slices for name in names)
        large = [size for size in sizes.values() if size >= MIN_SLICE]
        if base != contract.metric and large:
            power = slices_power(contract, large, assumption)
        else:
            power = contract_power(contract, n, assumption)
    else:
        assert pilot.build is not None
        blocks = speed.samples(
            pilot.build.name, contract.metric, price_per_s=job.config.prices.device_second
        )
        if blocks is None or not all(blocks.candidate):
            return None
        difference = contract.bound is Bound.NOT_ABOVE_CURRENT_BY
        assumption = assume(blocks, absolute=absolute, difference=difference)
        if contract.bound is Bound.RATIO_AT_MOST:
            ratios = [a / b for a, b in zip(blocks.candidate, blocks.current, strict=True)]
            assumption = replace(assumption, expected=sum(ratios) / len(ratios))
        power = contract_power(contract, job.config.replay.blocks, assumption)
    return Row(
        contract.describe(),
        power.n,
        power.assumed,
        power.power,
        power.required_n,
        power.can_decide,
    )


def _head(items: PairedItems) -> PairedItems:
    k = _PILOT_ITEMS
    return replace(
        items,
        items=items.items[:k],
        candidate=items.candidate[:k],
        current=items.current[:k],
        slices=items.slices[:k],
    )
