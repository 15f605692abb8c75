"""Quantiles as order statistics, with an interval that assumes no distribution.

One definition everywhere: ``inf{t : F(t) >= q}`` of the empirical distribution, an observed value
and never one interpolated between two. A failed request took forever: it counts, at +infinity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc

from headgate.theory._domain import require
from headgate.theory.intervals import Interval

__all__ = ["p95", "quantile", "quantile_interval"]


def quantile(values: Sequence[float] | NDArray[np.floating], q: float, *, failed: int = 0) -> float:
    """``inf{t : F(t) >= q}``, for ``0 < q <= 1``: the ``ceil(q*n)``-th smallest of n values.

    ``failed`` further observations are infinite. Raises ``InputError`` (a ``ValueError``) where
    there is no observation, or a NaN.

    >>> quantile([15.0, 20.0, 35.0, 40.0, 50.0], 0.4)
    20.0
    >>> quantile([15.0, 20.0, 35.0, 40.0], 0.95, failed=1)
    inf
    """
    ordered, n = _ordered(values, failed)
    return _at(ordered, _rank(q, n))


def p95(values: Sequence[float] | NDArray[np.floating], *, failed: int = 0) -> float:
    """``p95 = inf{t : F_T(t) >= 0.95}``.

    >>> p95(range(1, 101))
    95.0
    >>> p95(range(1, 101), failed=6)
    inf
    """
    return quantile(values, 0.95, failed=failed)


def quantile_interval(
    values: Sequence[float] | NDArray[np.floating],
    q: float,
    *,
    level: float = 0.95,
    failed: int = 0,
) -> Interval:
    """Distribution-free bounds of a quantile, each one-sided at ``level`` (David and Nagaraja).

    With ``B ~ Bin(n, q)``, the ``l``-th smallest is a lower bound for the largest ``l`` with
    ``P(B >= l) >= level``, the ``u``-th an upper one for the smallest ``u`` with
    ``P(B <= u-1) >= level``. Where n is too small for one it is infinite. Holds for independent
    observations; requests under load are not, so use it within blocks with care.

    Textbook: 59 observations are the fewest whose maximum bounds p95 at 95 % (Wilks, 1941).

    >>> quantile_interval(range(1, 60), 0.95).high, quantile_interval(range(1, 59), 0.95).high
    (59.0, inf)
    """
    require(0 < q < 1 and 0 < level < 1, "a quantile and a level lie between 0 and 1")
    ordered, n = _ordered(values, failed)
    # sf(l - 1) = P(B >= l) falls with l and cdf(u - 1) rises with u.
    lower = int(np.searchsorted(-bdtrc(np.arange(n), n, q), -level, side="right"))
    upper = 1 + int(np.searchsorted(bdtr(np.arange(n), n, q), level, side="left"))
    return Interval(
        value=_at(ordered, _rank(q, n)),
        low=_at(ordered, lower) if lower >= 1 else -math.inf,
        high=_at(ordered, upper) if upper <= n else math.inf,
        n=n,
    )


def _ordered(
    values: Sequence[float] | NDArray[np.floating], failed: int
) -> tuple[NDArray[np.float64], int]:
    require(failed >= 0, f"{failed} requests cannot have failed")
    array = np.sort(np.asarray(values, dtype=np.float64))
    require(array.ndim == 1 and len(array) + failed > 0, "there is no observation")
    require(not np.isnan(array).any(), "an observation is NaN")
    return array, len(array) + failed


def _rank(q: float, n: int) -> int:
    """The smallest k with ``k/n >= q``, safe from the rounding of ``q*n`` (0.07*100 > 7)."""
    require(0 < q <= 1, f"a quantile lies in 0 < q <= 1, got {q}")
    k = math.ceil(q * n)
    return k - 1 if k > 1 and (k - 1) / n >= q else max(k, 1)


def _at(ordered: NDArray[np.float64], rank: int) -> float:
    return float(ordered[rank - 1]) if rank <= len(ordered) else math.inf
