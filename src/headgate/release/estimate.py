"""From raw samples to the one quantity that a contract compares, with its bounds.

The quantity is a difference (candidate - current) for ``not_below_current_by`` and
``not_above_current_by``, a ratio (candidate / current) for ``ratio_to_current_at_most``, and the
candidate's own mean for ``at_most`` and ``at_least``. Where the samples cannot carry it, the answer
is ``NoEstimate``: *invalid* (the measurement is broken) or *unknown* (it is sound, but too little
or too noisy). Knows nothing of actions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from headgate.objects import Action, Bound, Contract, Direction, Verdict
from headgate.release.samples import Blocks, PairedItems
from headgate.theory.intervals import (
    Interval,
    log_ratios,
    paired_binary_interval,
    ratio_interval,
    t_interval,
    wilson_interval,
)

__all__ = [
    "LEVEL",
    "MAX_ERRORED_SHARE",
    "MIN_BLOCKS",
    "Counted",
    "Estimate",
    "NoEstimate",
    "counted",
    "estimate_blocks",
    "estimate_items",
    "mismatch",
]

LEVEL = 0.95
"""Of each one-sided bound, where nothing is corrected for."""
MAX_ERRORED_SHARE = 0.01
"""More errored items than this, on either side, and the measurement itself is broken."""
MIN_BLOCKS = 8

_HIGHER_IS_GUARDED = (Bound.AT_LEAST, Bound.NOT_BELOW_CURRENT_BY)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The compared quantity with its one-sided bounds, from ``n`` items or blocks."""

    value: float
    low: float
    high: float
    n: int
    current: float | None
    """Current's own mean, in the metric's unit; None where the contract does not use it."""
    note: str = ""
    """What a reader must know beside the numbers."""


@dataclass(frozen=True, slots=True)
class NoEstimate:
    """Why there is none: ``INVALID`` or ``UNKNOWN``."""

    verdict: Verdict
    because: str
    n: int
    seen: Estimate | None = None
    """What was measured, where only the noise stands against judging by it."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Paired values as a contract counts them, one an item."""

    candidate: tuple[float, ...]
    current: tuple[float, ...]
    """The candidate's own under an absolute bound, which does not look at current."""
    errored: tuple[bool, ...]
    """Whether the value stands for an item in which one of these errored."""


def counted(contract: Contract, samples: PairedItems) -> Counted:
    """``samples`` with the greatest loss that one item can show in place of each that errored: a
    candidate that answers nothing gains nothing, and a current that failed flatters nobody."""
    least, greatest = samples.value_range
    worst, best = (least, greatest) if samples.direction is Direction.HIGHER else (greatest, least)
    relative = contract.bound.needs_current
    ours: list[float] = []
    theirs: list[float] = []
    errored: list[bool] = []
    others = samples.current if relative else samples.candidate
    for a, b in zip(samples.candidate, others, strict=True):
        lost = a is None or b is None
        errored.append(lost)
        ours.append(worst if a is None or lost else a)
        theirs.append((best if relative else worst) if b is None or lost else b)
    return Counted(tuple(ours), tuple(theirs), tuple(errored))


def _invalid(because: str, n: int) -> NoEstimate:
    return NoEstimate(Verdict.INVALID, because, n)


def _unknown(because: str, n: int) -> NoEstimate:
    return NoEstimate(Verdict.UNKNOWN, because, n)


def mismatch(contract: Contract, metric: str, direction: Direction) -> str | None:
    """Why this contract cannot be about this metric, or None.

    A floor under a metric that is better low would let the worst candidate through, so the pair is
    refused; so is a ratio limit that nothing can meet.
    """
    if metric != contract.metric:
        return f"the contract is on {contract.metric}, the samples are of {metric}"
    if (contract.bound in _HIGHER_IS_GUARDED) != (direction is Direction.HIGHER):
        return f"{contract.bound.value} cannot guard a metric that is {direction.value}"
    if contract.bound is Bound.RATIO_AT_MOST and contract.limit <= 0:
        return f"a ratio is never at most {contract.limit:g}"
    return None


def estimate_items(
    contract: Contract,
    samples: PairedItems,
    *,
    level: float = LEVEL,
    max_errored_share: float = MAX_ERRORED_SHARE,
) -> Estimate | NoEstimate:
    """Estimate from paired items, with one-sided bounds at ``level``.

    A pair in which either side errored counts as the greatest loss that one item can show
    (``counted``); an absolute bound does not look at current at all. Values that are all 0 or 1
    use score intervals (Tango; Wilson), others the t interval of the (paired) mean with the value
    range as the floor of its spread.
    """
    n = len(samples.items)
    least, greatest = samples.value_range
    broken = _broken_items(contract, samples)
    if broken is not None:
        return _invalid(broken, n)
    relative = contract.bound.needs_current
    values = counted(contract, samples)
    errored, ours, theirs = values.errored, values.candidate, values.current
    if sum(errored) > max_errored_share * n:
        return _invalid(
            f"{sum(errored)} of {n} items errored, more than {max_errored_share:.0%}", n
        )
    if n < max(contract.min_n, 2):
        return _unknown(f"{n} items are fewer than the {max(contract.min_n, 2)} required", n)

    binary = samples.value_range == (0.0, 1.0) and all(x in (0.0, 1.0) for x in ours + theirs)
    if relative:
        differences = [a - b for a, b in zip(ours, theirs, strict=True)]
        gained, lost = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
        interval = (
            paired_binary_interval(gained, lost, n, level=level)
            if binary
            else t_interval(differences, level=level, largest=greatest - least)
        )
    else:
        interval = (
            wilson_interval(round(sum(ours)), n, level=level)
            if binary
            else t_interval(ours, level=level, largest=greatest - least)
        )
    mean = math.fsum(theirs) / n if relative else None
    note = f"{sum(errored)} of {n} items errored and count as lost" if any(errored) else ""
    return Estimate(interval.value, interval.low, interval.high, n, mean, note)


def _broken_items(contract: Contract, samples: PairedItems) -> str | None:
    n = len(samples.items)
    least, greatest = samples.value_range
    if n == 0:
        return "nothing was measured"
    relative = contract.bound.needs_current
    if len(samples.candidate) != n or (relative and len(samples.current) != n):
        return (
            f"{n} items, but {len(samples.candidate)} values of the candidate and "
            f"{len(samples.current)} of current"
        )
    if samples.slices and len(samples.slices) != n:
        return f"{n} items, but slices of {len(samples.slices)}"
    if len(set(samples.items)) != n:
        return "an item is there twice; repeats are not independent"
    if not (math.isfinite(least) and math.isfinite(greatest) and least < greatest):
        return f"the value range {least:g} to {greatest:g} is none"
    sides = {"candidate": samples.candidate, "current": samples.current if relative else ()}
    for side, values in sides.items():
        for item, x in zip(samples.items, values, strict=False):
            if x is not None and not least <= x <= greatest:
                return (
                    f"the {side}'s value {x:g} of item {item} is outside {least:g} to {greatest:g}"
                )
    if contract.bound is Bound.RATIO_AT_MOST:
        return "a ratio to current is measured in blocks, not items"
    if relative and contract.limit >= greatest - least:
        return f"a margin of {contract.limit:g} lets any loss through"
    return None


def estimate_blocks(
    contract: Contract, samples: Blocks, *, level: float = LEVEL
) -> Estimate | NoEstimate:
    """Estimate from interleaved blocks, by a t interval over blocks with bounds at ``level``.

    A ratio is the t interval of the log ratios of neighbouring blocks (so it is a ratio of
    geometric means); a difference that of their differences; an absolute value that of the
    candidate's blocks. The spread is never taken to be less than the A/A blocks showed.

    In this order:

    1. NaN, negative, or nothing at all: *invalid*. Zero is invalid in a ratio.
    2. Fewer than 8 blocks, or than the contract's ``min_n``: *unknown*.
    3. Infinite on current's side (A/A included): *invalid*; the measurement broke, and a failing
       current must not flatter the candidate.
    4. Infinite on the candidate's side: its requests failed, honestly. The mean is infinite and the
       contract fails. Where a breach only warns it is *invalid*: a warning is for a promise that
       is not quite kept, and would promote a candidate that does not answer.
    5. No A/A pair before or none after, or noise above half the margin: *unknown*. Noise is the
       mean |difference| of the A/A pairs, the greater of before and after; under an absolute bound,
       which is about the candidate alone, that of its own blocks, each against the one before. The
       margin is the contract's own where it has one: ``|log limit|`` of a ratio, ``|limit|`` of a
       difference. A ratio of 1 or a difference of 0 has none, and an absolute bound neither: there
       it is the distance between the value and the limit.
    """
    n = len(samples.candidate)
    broken = _broken_blocks(contract, samples)
    if broken is not None:
        return _invalid(broken, n)
    if n < max(contract.min_n, MIN_BLOCKS):
        return _unknown(f"{n} blocks are fewer than {max(contract.min_n, MIN_BLOCKS)}", n)
    aa = (*samples.aa_before, *samples.aa_after)
    if not all(map(math.isfinite, (*samples.current, *_flat(aa)))):
        return _invalid(
            f"more than {MAX_ERRORED_SHARE:.0%} of current's own requests failed in a block, so "
            "there is no comparison",
            n,
        )
    if not all(map(math.isfinite, samples.candidate)):
        failed = sum(map(math.isinf, samples.candidate))
        note = (
            f"more than {MAX_ERRORED_SHARE:.0%} of the candidate's requests failed in {failed} of "
            f"{n} blocks, and a block that fails so many has no {contract.metric}"
        )
        if contract.on_breach is Action.WARN:
            return _invalid(note, n)
        return Estimate(math.inf, math.inf, math.inf, n, None, note)
    if not samples.aa_before or not samples.aa_after:
        return _unknown("no A/A block before or none after, so the noise is not known", n)
    if contract.bound is Bound.RATIO_AT_MOST:
        return _ratio(contract, samples, level)
    if contract.bound.needs_current:
        return _difference(contract, samples, level)
    return _absolute(contract, samples, level)


def _broken_blocks(contract: Contract, samples: Blocks) -> str | None:
    ratio = contract.bound is Bound.RATIO_AT_MOST
    values = (
        *samples.candidate,
        *samples.current,
        *_flat(samples.aa_before),
        *_flat(samples.aa_after),
    )
    if not samples.candidate or not samples.current:
        return "nothing was measured"
    if len(samples.candidate) != len(samples.current):
        return (
            f"{len(samples.candidate)} blocks of the candidate beside {len(samples.current)} "
            "of current: they are not interleaved"
        )
    if not all(x > 0 if ratio else x >= 0 for x in values):  # NaN fails both
        return f"a block is {'not above' if ratio else 'below'} zero, or not a number"
    if samples.direction is Direction.HIGHER and not all(map(math.isfinite, samples.candidate)):
        return "a metric that is better high cannot be infinite"
    return None


def _ratio(contract: Contract, samples: Blocks, level: float) -> Estimate | NoEstimate:
    pairs = list(zip(samples.current, samples.candidate, strict=True))
    aa = (*samples.aa_before, *samples.aa_after)
    interval = ratio_interval(pairs, level=level, same=aa)
    noise = max(_mean_size(log_ratios(side)) for side in (samples.aa_before, samples.aa_after))
    margin = abs(math.log(contract.limit)) or abs(math.log(interval.value))
    estimate = _of(interval, current=math.fsum(samples.current) / len(pairs))
    if noise > margin / 2:
        return _noisy(contract, estimate, math.expm1(noise), math.expm1(margin / 2))
    return estimate


def _difference(contract: Contract, samples: Blocks, level: float) -> Estimate | NoEstimate:
    def difference(pair: tuple[float, float]) -> float:
        return pair[1] - pair[0]

    pairs = list(zip(samples.current, samples.candidate, strict=True))
    interval = t_interval(
        [difference(p) for p in pairs],
        level=level,
        least_sd=_rms(difference(p) for p in (*samples.aa_before, *samples.aa_after)),
    )
    noise = max(
        _mean_size(difference(p) for p in side) for side in (samples.aa_before, samples.aa_after)
    )
    margin = abs(contract.limit) or abs(interval.value)
    estimate = _of(interval, current=math.fsum(samples.current) / len(pairs))
    if noise > margin / 2:
        return _noisy(contract, estimate, noise, margin / 2)
    return estimate


def _absolute(contract: Contract, samples: Blocks, level: float) -> Estimate | NoEstimate:
    value = math.fsum(samples.candidate) / len(samples.candidate)

    def scaled(pair: tuple[float, float]) -> float:
        # An A/A difference relative to its own level, at the candidate's level. 0 and 0 are equal.
        level = (pair[0] + pair[1]) / 2
        return (pair[1] - pair[0]) / level * value if level else 0.0

    interval = t_interval(
        samples.candidate,
        level=level,
        # A difference of two blocks spreads sqrt(2) times as wide as one block.
        least_sd=_rms(scaled(p) for p in (*samples.aa_before, *samples.aa_after)) / math.sqrt(2),
    )
    noise = _mean_size(after - before for before, after in pairwise(samples.candidate))
    margin = abs(contract.limit - value)
    estimate = _of(interval, current=None)
    estimate = replace(estimate, low=max(estimate.low, 0.0))  # as no block is below
    if noise > margin / 2:
        return _noisy(contract, estimate, noise, margin / 2)
    return estimate


def _noisy(contract: Contract, seen: Estimate, noise: float, allowed: float) -> NoEstimate:
    """``allowed`` is half the margin; both in the metric's unit, or relative for a ratio."""
    if contract.bound is Bound.RATIO_AT_MOST:
        told, most = (f"{100 * x:.1f} %" for x in (noise, allowed))
        end = contract.limit if contract.limit != 1 else seen.value
        margin = f": from no change to {end:.4g}x are two such steps"
    else:
        told, most = (f"{x:.4g}" for x in (noise, allowed))
        margin = f" of {2 * allowed:.4g}"
    if contract.bound.needs_current:
        because = (
            f"current against itself differs by {told}, more than {most}, half of the margin"
            f"{margin}"
        )
    else:
        because = (
            f"a block differs from the next by {told}, more than {most}, half of the distance from "
            f"{seen.value:.4g} to {contract.limit:.4g}"
        )
    return NoEstimate(Verdict.UNKNOWN, because, seen.n, seen)


def _of(interval: Interval, *, current: float | None) -> Estimate:
    return Estimate(interval.value, interval.low, interval.high, interval.n, current)


def _flat(pairs: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    return tuple(x for pair in pairs for x in pair)


def _rms(values: Iterable[float]) -> float:
    squares = [x * x for x in values]
    return math.sqrt(math.fsum(squares) / len(squares))


def _mean_size(values: Iterable[float]) -> float:
    sizes = [abs(x) for x in values]
    return math.fsum(sizes) / len(sizes)
