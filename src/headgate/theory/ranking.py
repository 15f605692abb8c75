"""What an order is worth, from the gain of each thing in it: best first, only the first k count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

from headgate.theory._domain import require

__all__ = ["ahead_of_all", "ndcg", "reciprocal_rank"]

_GRID = 240
_ROUNDS = 30


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


def ahead_of_all(
    ahead: NDArray[np.integer], *, share: float, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many of all things stand before each of some, from a sample of them.

    ``ahead`` (n,): how many of the sample do, which is a ``share`` of ``size`` things. Of those
    before a thing each is in the sample with that chance, so the count is binomial. How counts
    among all are distributed is not known: it is fitted to those in the sample (Robbins' empirical
    Bayes, by some rounds of EM from ``1 / (1 + count)``; Laird 1978). The result are counts (m,)
    and each thing's chances of them (n, m).

    >>> counts, chances = ahead_of_all(np.array([0, 3]), share=1.0, size=5)
    >>> (chances @ counts).tolist()
    [0.0, 3.0]
    """
    require(0 < share <= 1 and size >= 1, f"a share of {share:g} of {size} things is no sample")
    spread = np.geomspace(1, size, _GRID).round().astype(np.int64) - 1
    counts = np.unique(np.concatenate([np.arange(min(size, _GRID)), spread]))
    if share == 1:
        known = np.searchsorted(counts, ahead, side="right") - 1
        return counts, np.eye(len(counts))[known]
    distinct, place = np.unique(ahead, return_inverse=True)
    seen, unseen = distinct[:, None], counts - distinct[:, None]
    log_choose = _log_factorial(counts) - _log_factorial(seen) - _log_factorial(unseen.clip(0))
    likelihood = np.exp(log_choose + xlogy(seen, share) + xlog1py(unseen.clip(0), -share))
    likelihood = np.where(unseen < 0, 0.0, likelihood)
    times = np.bincount(place)
    belief = np.diff([*counts, size]) / (1.0 + counts)
    for _ in range(_ROUNDS):
        joint = likelihood * belief
        joint /= joint.sum(axis=1, keepdims=True)
        belief = times @ joint
    return counts, joint[place]


def _log_factorial(n: NDArray[np.int64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = gammaln(n + 1.0)
    return result
