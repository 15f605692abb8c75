"""Requests for tests and simulations, from arrival times, lengths and popularity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headgate.workload import Request
from headgate.workload.arrivals import poisson_arrivals

__all__ = ["lognormal_lengths", "make_requests", "poisson_requests"]


def make_requests(
    arrivals_s: Sequence[float] | NDArray[np.float64],
    *,
    tokens: Sequence[int] | NDArray[np.int64] | int = 1,
    items: Sequence[int] | NDArray[np.int64] | None = None,
    tenant: str = "",
) -> list[Request]:
    """One request for each arrival time, ids from 0.

    ``items[i]`` is what request i asks: equal items have equal keys. By default none repeats.

    >>> [r.key[-1] for r in make_requests([0.0, 0.1, 0.2], items=[5, 6, 5])]
    [5, 6, 5]
    """
    times = np.asarray(arrivals_s, dtype=np.float64).tolist()
    n = len(times)
    lengths = [tokens] * n if isinstance(tokens, int) else np.asarray(tokens).tolist()
    asked = range(n) if items is None else np.asarray(items).tolist()
    return [
        Request(i, item.to_bytes(32, "big"), length, at_s, tenant)
        for i, (at_s, length, item) in enumerate(zip(times, lengths, asked, strict=True))
    ]


def poisson_requests(
    n: int,
    rate_per_s: float,
    rng: np.random.Generator,
    *,
    tokens: Sequence[int] | NDArray[np.int64] | int = 1,
    items: Sequence[int] | NDArray[np.int64] | None = None,
) -> list[Request]:
    """``n`` requests of independent users, ``rate_per_s`` in the mean."""
    return make_requests(poisson_arrivals(n, rate_per_s, rng), tokens=tokens, items=items)


def lognormal_lengths(
    n: int, rng: np.random.Generator, *, median: float = 24.0, sigma: float = 0.8, most: int = 256
) -> NDArray[np.int64]:
    """Lengths as texts have them: many short, few long; shape (n,), 1 to ``most`` tokens."""
    lengths = np.rint(median * np.exp(sigma * rng.standard_normal(n)))
    return np.clip(lengths, 1, most).astype(np.int64)
