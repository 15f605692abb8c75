"""What the gate can decide, said before anything is measured.

A margin that the samples cannot resolve makes every candidate *unknown*. So each contract's power
is computed first: the chance that a candidate which is truly as assumed (no loss, unless told)
passes with n items or blocks. All contracts must pass, so each owes more than the 80 % that they
owe together (``share_of``). Knows nothing of where an assumption comes from but its own words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from scipy.special import ndtr

from headgate.errors import InputError
from headgate.objects import Bound, Contract
from headgate.release.estimate import LEVEL, MIN_BLOCKS
from headgate.release.samples import Blocks, PairedItems
from headgate.theory.intervals import log_ratios, normal_quantile
from headgate.theory.significance import (
    fewest,
    power_interleaved_blocks,
    power_paired_binary,
    power_paired_mean,
)

__all__ = [
    "ENOUGH_POWER",
    "Assumption",
    "PowerRow",
    "assume",
    "contract_power",
    "joint_power",
    "least_n",
    "share_of",
    "slices_power",
]

ENOUGH_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Assumption:
    """What is believed about the samples before they exist, and by whom (``source``)."""

    kind: Literal["discordance", "sd", "log_sd"]
    """``discordance``: share of items that exactly one side gets right. ``sd``: standard deviation
    of what is averaged (differences, or values under an absolute bound), in the metric's unit.
    ``log_sd``: that of the log ratios of neighbouring blocks."""
    value: float
    source: str
    expected: float | None = None
    """True value of the compared quantity; None is "as current": difference 0, ratio 1."""
    largest: float = 0.0
    """Of items: width of the value range. Of blocks: 0."""

    def describe(self) -> str:
        """In words, for tables.

        >>> Assumption("discordance", 0.04, "pilot of 300 items").describe()
        'discordance 0.04 (pilot of 300 items)'
        """
        return f"{self.kind.replace('_', ' ')} {self.value:.3g} ({self.source})"


@dataclass(frozen=True, slots=True)
class PowerRow:
    """One row of the power table."""

    metric: str
    n: int
    """Planned items or blocks (of the smallest slice, for a worst-slice contract)."""
    assumed: str
    margin: float
    """Distance from the assumed truth to the limit; of a ratio, its natural logarithm."""
    power: float
    required_n: int | None
    """For the power that is asked of this contract; None where no n suffices."""
    can_decide: bool


def assume(
    pilot: PairedItems | Blocks, *, absolute: bool = False, difference: bool = False
) -> Assumption:
    """The spread that a pilot showed, one more discordant item or full-range difference added.

    Without that addition a short pilot in which nothing differed would promise certainty.
    ``absolute`` looks at the candidate alone and expects its mean; ``difference`` takes blocks by
    their differences and not by their ratios. Pairs with an error are left
    out: a pilot plans, it does not decide. Blocks must be positive. Raises ``InputError`` with
    fewer than two complete pairs.
    """
    if isinstance(pilot, Blocks):
        spread, width = "blocks", 0.0
        kind = "sd" if absolute or difference else "log_sd"
        pairs = list(zip(pilot.candidate, pilot.current, strict=True))
        usable = all(0 < x < math.inf for pair in pairs for x in pair)
    else:
        spread, width, kind = "items", pilot.value_range[1] - pilot.value_range[0], "sd"
        pairs = [
            (a, b)
            for a, b in zip(pilot.candidate, pilot.current, strict=True)
            if a is not None and b is not None
        ]
        usable = all(math.isfinite(x) for pair in pairs for x in pair)
    n = len(pairs)
    if n < 2 or not usable:
        raise InputError(
            f"a pilot with {n} pairs{'' if usable else ', some without a usable value,'} shows no "
            "spread",
            where=f"pilot of {pilot.metric}",
            fix="run a longer pilot",
        )
    source = f"pilot of {n} {spread}"
    binary = pilot.value_range == (0.0, 1.0) if isinstance(pilot, PairedItems) else False
    if binary and not absolute and all(x in (0.0, 1.0) for pair in pairs for x in pair):
        return Assumption("discordance", (sum(a != b for a, b in pairs) + 1) / (n + 2), source)
    if absolute:
        values = [a for a, _ in pairs]
    elif kind == "log_sd":
        values = log_ratios((b, a) for a, b in pairs)
    else:
        values = [a - b for a, b in pairs]
    mean = math.fsum(values) / n
    sd = math.sqrt((math.fsum((x - mean) ** 2 for x in values) + width**2) / (n - 1))
    return Assumption(
        "log_sd" if kind == "log_sd" else "sd",
        sd,
        source,
        expected=mean if absolute else None,
        largest=width,
    )


def share_of(contracts: int) -> float:
    """The power that each of so many contracts owes, for all of them to pass in 80 %.

    Contracts share items, so their chances do not multiply: Boole's inequality.

    >>> share_of(4)
    0.95
    """
    return 1 - (1 - ENOUGH_POWER) / max(contracts, 1)


def joint_power(powers: Iterable[float]) -> float:
    """At least so often do all contracts of such powers pass (Boole).

    >>> joint_power([0.95, 0.9, 1.0])
    0.85
    """
    return max(0.0, 1 - math.fsum(1 - power for power in powers))


def least_n(
    contract: Contract,
    *,
    value_range: tuple[float, float] | None,
    level: float = LEVEL,
) -> int | None:
    """The fewest items (of ``value_range``) or blocks (None) with which anything could be accepted.

    Not even a candidate that answers every item as current does, or that keeps an absolute bound
    with every one, is accepted with fewer. None where no n suffices: no block takes no time or
    costs nothing, and of items a margin of 0 is never kept by answers that are current's own.
    """
    if contract.bound is Bound.ONE_OF:
        return max(contract.min_n, 1)
    if value_range is None:
        above_zero = contract.bound in (Bound.RATIO_AT_MOST, Bound.AT_MOST)
        return None if above_zero and contract.limit <= 0 else max(contract.min_n, MIN_BLOCKS)
    least, greatest = value_range
    room = {
        Bound.AT_LEAST: greatest - contract.limit,
        Bound.AT_MOST: contract.limit - least,
    }.get(contract.bound, contract.limit) / (greatest - least)
    if room <= 0 or (room >= 1 and contract.bound.needs_current):
        return None
    # A score interval without events reaches z^2 / (n + z^2) (Wilson; Tango), a t interval further.
    z2 = normal_quantile(level) ** 2
    return max(contract.min_n, 2, math.floor(z2 * (1 - room) / room) + 1)


def contract_power(
    contract: Contract,
    n: int,
    assumption: Assumption | None,
    *,
    level: float = LEVEL,
    target: float = ENOUGH_POWER,
) -> PowerRow:
    """The power of ``contract`` with ``n`` items (or blocks) under ``assumption``.

    ``level`` is that of its bounds, ``target`` the power that is asked of it. A class contract
    needs no assumption: it decides from ``min_n`` items on. Raises ``InputError`` where the
    assumption does not fit the bound.

    >>> from headgate.objects import Action, Axis
    >>> contract = Contract("recall@10", Axis.QUALITY, Bound.NOT_BELOW_CURRENT_BY, 0.02, "why",
    ...                     Action.ROLLBACK, "command:page", "previous")
    >>> row = contract_power(contract, 1250, Assumption("discordance", 0.04, "pilot"))
    >>> row.can_decide, row.required_n
    (True, 695)
    """
    return _power(contract, n, assumption, level, target)


def slices_power(
    contract: Contract,
    sizes: Sequence[int],
    assumption: Assumption,
    *,
    level: float = LEVEL,
    target: float = ENOUGH_POWER,
) -> PowerRow:
    """The power of a worst-slice contract over slices of ``sizes`` items.

    All must pass, and slices of several dimensions share items, so their chances do not multiply:
    the power is at least ``1 - sum(1 - power_i)`` (Boole). ``n`` is the size of the smallest slice,
    and ``required_n`` the size from which on that sum reaches ``target`` where the others grow in
    the same proportion: at most ``n`` just where ``can_decide``.
    """
    if not sizes:
        raise InputError(
            "no slice is large enough to be judged",
            where=f"contracts.{contract.metric}",
            fix="label more items, or use coarser slices",
        )
    smallest = min(sizes)

    def reached(n: int) -> float:
        grown = Counter(-(-size * n // smallest) for size in sizes)
        return joint_power(
            power
            for size, slices in grown.items()
            for power in [_reached(contract, size, assumption, level)] * slices
        )

    one = _power(contract, smallest, assumption, level, target)
    power = reached(smallest)
    return replace(
        one,
        assumed=f"{one.assumed}, smallest of {len(sizes)} slices",
        power=power,
        required_n=None if one.margin <= 0 else fewest(lambda n: reached(n) >= target),
        can_decide=power >= target,
    )


def _power(
    contract: Contract, n: int, assumption: Assumption | None, level: float, target: float
) -> PowerRow:
    if contract.bound is Bound.ONE_OF:
        least = max(contract.min_n, 1)
        enough = n >= least
        return PowerRow(contract.metric, n, "none", 0.0, float(enough), least, enough)
    if assumption is None:
        raise _unfit(contract, "no assumption about its spread")
    margin = _margin(contract, assumption)
    power = _reached(contract, n, assumption, level)
    required = None
    if margin > 0:
        required = fewest(lambda n: _reached(contract, n, assumption, level) >= target)
    return PowerRow(
        contract.metric,
        n,
        assumption.describe(),
        margin,
        power,
        required,
        power >= target,
    )


def _reached(contract: Contract, n: int, assumption: Assumption, level: float) -> float:
    """The power with ``n`` items or blocks; none below what the gate asks for."""
    margin = _margin(contract, assumption)
    blocks = assumption.kind != "discordance" and assumption.largest == 0.0
    if n < max(contract.min_n, MIN_BLOCKS if blocks else 2):
        return 0.0
    alpha = 1 - level
    if blocks:
        return _of_blocks(contract, n, assumption, margin, alpha)
    if assumption.kind == "discordance":
        # Under a bound from above a gain is a fall, so the difference changes its sign.
        sign = -1 if contract.bound is Bound.NOT_ABOVE_CURRENT_BY else 1
        difference = sign * (assumption.expected or 0.0)
        return power_paired_binary(
            n,
            discordance=assumption.value,
            margin=margin - difference,
            difference=difference,
            alpha=alpha,
        )
    return power_paired_mean(
        n, sd=assumption.value, margin=margin, alpha=alpha, largest=assumption.largest
    )


def _of_blocks(
    contract: Contract, n: int, assumption: Assumption, margin: float, alpha: float
) -> float:
    """Power of interleaved blocks, with what the gate asks of their noise.

    Of an absolute bound it asks that the candidate's blocks differ from one to the next by less
    than half the margin on average, which its own normal spread tells: ``sqrt(4/pi)`` of it, with
    a standard error of about ``1.03/sqrt(n-1)`` (a moving average of normal values).
    """
    sd, absolute = assumption.value, not contract.bound.needs_current
    own = math.log(contract.limit) if assumption.kind == "log_sd" else contract.limit
    noise_limit = math.inf if absolute else (abs(own) or abs(margin)) / 2
    power = power_interleaved_blocks(n, sd=sd, margin=margin, noise_limit=noise_limit, alpha=alpha)
    if absolute and sd > 0:
        excess = margin / 2 - math.sqrt(4 / math.pi) * sd
        power *= float(ndtr(excess * math.sqrt(n - 1) / (1.03 * sd)))
    return power


def _margin(contract: Contract, assumption: Assumption) -> float:
    """Distance from the expected value to the limit on the scale of the test; below 0: beyond."""
    fits = {
        Bound.NOT_BELOW_CURRENT_BY: ("discordance", "sd"),
        Bound.NOT_ABOVE_CURRENT_BY: ("discordance", "sd"),
        Bound.RATIO_AT_MOST: ("log_sd",),
    }.get(contract.bound, ("sd",))
    if assumption.kind not in fits:
        raise _unfit(contract, f"{assumption.kind}, where {' or '.join(fits)} is due")
    expected = assumption.expected
    match contract.bound:
        case Bound.NOT_BELOW_CURRENT_BY:
            return contract.limit + (expected or 0.0)
        case Bound.NOT_ABOVE_CURRENT_BY:
            return contract.limit - (expected or 0.0)
        case Bound.RATIO_AT_MOST:
            ratio = 1.0 if expected is None else expected
            if contract.limit <= 0 or ratio <= 0:
                raise _unfit(contract, "a ratio that is not above 0")
            return math.log(contract.limit / ratio)
        case Bound.AT_LEAST | Bound.AT_MOST:
            if expected is None:
                raise _unfit(contract, "no expected value")
            sign = 1 if contract.bound is Bound.AT_MOST else -1
            return sign * (contract.limit - expected)
        case Bound.ONE_OF:
            raise AssertionError("a class has no margin")
        case _:
            assert_never(contract.bound)


def _unfit(contract: Contract, what: str) -> InputError:
    return InputError(
        f"the power of this contract cannot be computed from {what}",
        where=f"contracts.{contract.metric}",
        fix="assume a spread of the kind that the bound compares, and the expected value of an "
        "absolute bound",
    )
