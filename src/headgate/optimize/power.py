"""What the contracts can tell with the data that there is, said before anything is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from headgate.objects import Bound, Contract
from headgate.optimize.evidence import MIN_SLICE, sampled
from headgate.optimize.job import Job
from headgate.optimize.stages import Baseline, Tried
from headgate.release import (
    Blocks,
    NoEstimate,
    PairedItems,
    PowerRow,
    Rule,
    assume,
    contract_power,
    estimate_blocks,
    joint_power,
    share_of,
    slices_power,
)

__all__ = ["Power", "Row", "plan_power"]

_PILOT_ITEMS = 300


class _Asked(TypedDict):
    """What the rule asks of each contract."""

    level: float
    target: float


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
    """The table and its ledger entry; both are empty where nothing was measured that would tell."""

    rows: tuple[Row, ...]
    entry: str = ""

    @property
    def joint(self) -> float:
        """At least so often do all contracts pass."""
        return joint_power(row.power for row in self.rows)


def plan_power(job: Job, rule: Rule, baseline: Baseline, tried: Sequence[Tried]) -> Power | None:
    """The power of every contract at the sizes of the certifying split, by the certifying rule.

    The spread comes from a pilot: the first 300 items, and the blocks, of the first candidate that
    could be made. Those blocks are without load, one request at a time on the current side, so of
    the replay they promise no more than that its blocks are as even; ``assumed`` says so. Where
    the gate would already call them unknown, or has no slice to judge, the power is 0. The model as
    it is was not timed under policies of its own: of times it shows nothing, and they have no row.
    In the ledger before the first decision; None, and no entry, where none of ``tried`` was
    measured: an empty table would stand for what an earlier job knew.
    """
    pilot = next((t for t in tried if t.quality is not None), None)
    if pilot is None:
        return None
    split = job.inputs.holdout or job.inputs.evaluate
    rows = [
        row
        for c in job.contracts
        if (row := _row(job, rule, c, pilot, baseline, split.slices)) is not None
    ]
    body = {"endpoint": job.config.endpoint, "rule": rule.digest, "rows": rows}
    entry = job.store.latest("power", **body) or job.store.append("power", body)
    return Power(tuple(rows), entry.id)


def _row(
    job: Job,
    rule: Rule,
    contract: Contract,
    pilot: Tried,
    baseline: Baseline,
    slices: Sequence[Sequence[str]],
) -> Row | None:
    base = contract.metric.removeprefix("worst_slice_")
    if contract.bound is Bound.ONE_OF:
        assert pilot.invariance is not None
        return _of(contract, contract_power(contract, pilot.invariance.items, None))
    asked = _Asked(level=rule.pass_level, target=share_of(len(rule.contracts)))
    n = rule.planned_n[contract.metric]
    assert pilot.quality is not None
    assert pilot.quality_run is not None
    quality = (pilot.quality, pilot.quality_run), (baseline.quality, baseline.quality_run)
    kept = pilot.kept.scored if pilot.kept is not None else None
    if scored := sampled(base, quality, kept, job.own):
        items, _ = scored
        if base != contract.metric:
            return _slices_row(contract, items, slices, asked)
        assumption = assume(_head(items), absolute=not contract.bound.needs_current)
        return _of(contract, contract_power(contract, n, assumption, **asked))
    if pilot.speed is None:
        return None
    assert pilot.build is not None
    blocks = pilot.speed.samples(
        pilot.build.name, contract.metric, price_per_s=job.config.prices.device_second
    )
    if blocks is None or not all(blocks.candidate):
        return None
    return _blocks_row(contract, blocks, n, asked)


def _slices_row(
    contract: Contract, items: PairedItems, slices: Sequence[Sequence[str]], asked: _Asked
) -> Row:
    assumption = assume(_head(items), absolute=not contract.bound.needs_current)
    sizes = Counter(name for names in slices for name in set(names))
    least = max(MIN_SLICE, contract.min_n)
    large = [size for size in sizes.values() if size >= least]
    if not large:
        n = max(sizes.values(), default=0)
        return Row(contract.describe(), n, f"no slice has {least} items", 0.0, least, False)
    judged = replace(contract, min_n=least)
    return _of(contract, slices_power(judged, large, assumption, **asked))


def _blocks_row(contract: Contract, blocks: Blocks, n: int, asked: _Asked) -> Row:
    judged = estimate_blocks(replace(contract, min_n=0), blocks)
    if isinstance(judged, NoEstimate):  # such as noise above half the margin, whatever n is
        because = f"{judged.verdict.value} in a pilot without load: {judged.because}"
        return Row(contract.describe(), n, because, 0.0, None, False)
    assumption = assume(
        blocks,
        absolute=not contract.bound.needs_current,
        difference=contract.bound is Bound.NOT_ABOVE_CURRENT_BY,
    )
    if contract.bound is Bound.RATIO_AT_MOST:
        assumption = replace(assumption, expected=judged.value)
    assumption = replace(assumption, source=f"{assumption.source} without load")
    return _of(contract, contract_power(contract, n, assumption, **asked))


def _of(contract: Contract, power: PowerRow) -> Row:
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
