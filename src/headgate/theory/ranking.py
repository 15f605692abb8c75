"""What an order is worth, from the gain of each thing in it: best first, only the first k count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headgate.theory._domain import require

__all__ = ["ndcg", "reciprocal_rank"]


def ndcg(gains: Sequence[float], k: int) -> float:
    """``DCG / ideal DCG`` with ``DCG = sum of g_i / log2(i + 1)``, i = 1..k; 0 to 1.

    ``gains[i-1]`` is the gain of what stands at place i, 0 or more; one of them at least above 0.
    Linear in the gain, as trec_eval has it (Järvelin and Kekäläinen 2002).

    >>> round(ndcg([3, 2, 3, 0, 1, 2], 6), 3)
    0.961
    """
    require(k >= 1, f"k must be at least 1, got {k}")
    given = np.asarray(gains, dtype=float)
    require(bool(given.size and given.min() >= 0 and given.max() > 0), "no gain above 0")
    discounts = np.log2(np.arange(min(k, given.size)) + 2.0)
    ideal = np.sort(given)[::-1]
    return float((given[:k] / discounts).sum() / (ideal[:k] / discounts).sum())


def reciprocal_rank(gains: Sequence[float], k: int) -> float:
    """``1 / i`` of the first place i <= k with a gain above 0, or 0 (Voorhees 1999).

    >>> reciprocal_rank([0, 0, 1, 2], 10), reciprocal_rank([0, 0, 1], 2)
    (0.3333333333333333, 0.0)
    """
    require(k >= 1, f"k must be at least 1, got {k}")
    return next((1 / place for place, gain in enumerate(gains[:k], 1) if gain > 0), 0.0)
