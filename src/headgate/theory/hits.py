"""What a cache could answer at best: hits of a cache that forgets nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headgate.theory._domain import require

__all__ = ["ideal_hit_ratio", "zipf_popularity"]


def zipf_popularity(items: int, exponent: float) -> NDArray[np.float64]:
    """``p_i = i^-s / sum_j j^-s`` for ranks ``1 .. items`` (Zipf); ``s = 0`` is uniform.

    >>> zipf_popularity(3, 1.0)
    array([0.545454, 0.272727, 0.181818])
    """
    require(items >= 1 and 0 <= exponent < np.inf, "at least one item, and an exponent from 0")
    weights = np.arange(1, items + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def ideal_hit_ratio(popularity: NDArray[np.float64], requests: int) -> float:
    """``1 - (1/n) * sum_i (1 - (1 - p_i)^n)``: expected hits of n independent draws.

    Every first request of an item misses and every later one hits, so no cache of whole answers
    can do better.

    Two draws of two equal items repeat half the time, which is one hit in four requests:

    >>> ideal_hit_ratio(zipf_popularity(2, 0.0), 2)
    0.25
    """
    require(requests >= 1, f"at least one request, got {requests}")
    # expm1 and log1p keep the tail of rare items, where 1 - (1 - p)^n would cancel.
    with np.errstate(divide="ignore"):
        distinct = float(-np.expm1(requests * np.log1p(-popularity)).sum())
    return 1 - distinct / requests
