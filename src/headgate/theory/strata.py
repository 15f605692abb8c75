"""Stratified samples of a finite population: which items to draw, and what they say of all.

Cochran, *Sampling Techniques* (3rd ed., 1977), chapter 5. A population of N items is cut into
strata by something that is known of all of them and goes with how much their values differ. Knows
nothing of what the items are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from headgate.theory._domain import require

__all__ = ["SHARES", "Estimate", "Stratum", "drawn", "stratified"]

SHARES = (0.5, 0.25, 0.125, 0.125)
"""Of the sample, for each quarter of the items. Neyman's allocation is in proportion to a stratum's
standard deviation; these are his where a flip is a quarter as likely in each quarter as in the one
before, and no stratum goes without, in case it is not so."""
_BORROWED = 1.0
"""How many items' worth of variance a stratum takes over from the whole sample: in a small one that
nothing differed is luck, too."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """The values of the items that were drawn, of ``size`` in all."""

    size: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sample says of the mean over all items."""

    mean: float
    spread: float
    """Standard deviation of the error of ``mean``."""
    degrees: float
    """Of freedom of ``spread``: that error over ``spread`` is Student's."""
    sd: float
    """Of the values themselves, over all items."""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """One-sided bounds at ``level`` each, so 90 % lie between them."""
        half = float(stdtrit(self.degrees, level)) * self.spread
        return self.mean - half, self.mean + half


def drawn(
    closeness: Sequence[float] | None, n: int, items: int, rng: np.random.Generator
) -> list[tuple[int, tuple[int, ...]]]:
    """(size, indices drawn) of each stratum, ``n`` indices in all (``items`` where n is more).

    ``closeness``: how near each item is to changing its value, least is nearest; quarters of it
    are the strata, and the nearest gets half of the draws. None is one stratum, and so are too few
    to give each quarter two.

    >>> [(size, len(draws)) for size, draws in drawn(range(80), 16, 80, np.random.default_rng(0))]
    [(20, 8), (20, 4), (20, 2), (20, 2)]
    """
    require(n >= 2 and items >= 2, f"a sample takes 2 items at least, got {n} of {items}")
    if closeness is None or items < 16 or n < 2 * len(SHARES) or n >= items:
        quarters = [np.arange(items)]
        wanted = [min(n, items)]
    else:
        order = np.argsort(np.asarray(closeness, dtype=np.float64), kind="stable")
        quarters = np.array_split(order, len(SHARES))
        wanted = _allocated(n, [len(q) for q in quarters])
    return [
        (len(quarter), tuple(sorted(int(i) for i in rng.choice(quarter, count, replace=False))))
        for quarter, count in zip(quarters, wanted, strict=True)
    ]


def _allocated(n: int, sizes: Sequence[int]) -> list[int]:
    """How many of ``n`` each stratum gives; what one does not have, those that have it give."""
    wanted = [max(2, round(n * share)) for share in SHARES]
    wanted[0] += n - sum(wanted)
    for i in range(len(sizes)):
        spare = max(wanted[i] - sizes[i], 0)
        wanted[i] -= spare
        wanted[(i + 1) % len(sizes)] += spare
    return [min(count, size) for count, size in zip(wanted, sizes, strict=True)]


def stratified(strata: Sequence[Stratum], *, largest: float, again: bool) -> Estimate:
    """The mean over all items, from those that were drawn.

    ``mean = sum W_h y_h``, of variance ``sum W_h^2 s_h^2 (1/n_h - 1/N_h)``: what is not drawn is
    all that is unknown. ``again``: what is asked about are *new* values of the items (of another
    build, made in the same way), which may differ where these do not; then it is
    ``(1/n_h + 1/N_h)``, as for N new items: no item is taken to keep its value. ``largest``: how
    far apart two values can be; one such difference more is counted among the ``n`` (after Agresti
    and Min, 2005: a sample without any difference has not shown that there is none), and each
    stratum borrows an item's worth of the variance of all. Degrees of freedom are Satterthwaite's.

    >>> half = (1.0, 0.0) * 50
    >>> e = stratified([Stratum(1000, half)], largest=1.0, again=False)
    >>> e.mean, round(e.spread, 3)
    (0.5, 0.049)
    >>> stratified([Stratum(100, half)], largest=1.0, again=False).spread
    0.0
    """
    n = sum(len(s.values) for s in strata)
    items = sum(s.size for s in strata)
    require(n >= 2, f"a mean takes 2 values at least, got {n}")
    require(all(map(math.isfinite, (v for s in strata for v in s.values))), "values are finite")
    squares = [_squares(s.values) for s in strata]
    freedom = max(n - len(strata), 1)
    pooled = math.fsum(
        s.size / items * own / max(len(s.values) - 1, 1)
        for s, own in zip(strata, squares, strict=True)
    )
    mean = variance = welch = within = 0.0
    for stratum, own in zip(strata, squares, strict=True):
        drawn_n = len(stratum.values)
        require(drawn_n > 0, "every stratum has a value")
        weight = stratum.size / items
        degrees = drawn_n - 1 + _BORROWED
        of_stratum = (own + _BORROWED * pooled) / degrees + largest**2 / n
        unknown = 1 / drawn_n + (1 if again else -1) / stratum.size
        part = weight**2 * of_stratum * max(unknown, 0.0)
        mean += weight * math.fsum(stratum.values) / drawn_n
        variance += part
        welch += part**2 / degrees
        within += weight * of_stratum
    degrees = variance**2 / welch if welch > 0 else float(freedom)
    return Estimate(mean, math.sqrt(variance), degrees, math.sqrt(within))


def _squares(values: Sequence[float]) -> float:
    mean = math.fsum(values) / max(len(values), 1)
    return math.fsum((v - mean) ** 2 for v in values)
