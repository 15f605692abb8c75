"""Closed forms of theory against small direct simulations from seeded draws.

The simulations here are Lindley's recursion and a heap of free servers, a dozen lines each: they
share no code with the formulas or with Headgate's own simulator.
"""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.theory import queueing as q
from headgate.theory.quantile import quantile

N = 400_000
MU = 10.0


def waits(arrival_s: NDArray[np.float64], service_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lindley (1952): W' = max(0, W + S - A), as a running minimum of the random walk."""
    walk = np.concatenate([[0.0], np.cumsum(service_s[:-1] - np.diff(arrival_s))])
    return walk - np.minimum.accumulate(walk)


def arrivals(rate_per_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.cumsum(rng.exponential(1 / rate_per_s, N))


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_mm1_waits_as_long_as_its_formula(rho: float) -> None:
    """Mean and 95 % quantile of the simulated M/M/1 wait are those of the formulas."""
    rng = np.random.default_rng(11)
    w = waits(arrivals(rho * MU, rng), rng.exponential(1 / MU, N))
    assert w.mean() == pytest.approx(q.mm1_mean_wait_s(rho * MU, MU), rel=0.05)
    assert quantile(w, 0.95) == pytest.approx(q.mm1_wait_quantile_s(rho * MU, MU, 0.95), rel=0.05)


def test_md1_waits_half_as_long() -> None:
    """Constant service: M/D/1."""
    rng = np.random.default_rng(12)
    w = waits(arrivals(0.8 * MU, rng), np.full(N, 1 / MU))
    assert w.mean() == pytest.approx(q.md1_mean_wait_s(0.8 * MU, MU), rel=0.05)


def test_mg1_waits_grow_with_the_squared_cv() -> None:
    """Service of two kinds, short and long: Pollaczek-Khinchine."""
    rng = np.random.default_rng(13)
    service = np.where(rng.uniform(size=N) < 0.9, 0.05, 0.55)
    cv2 = float(service.var() / service.mean() ** 2)
    w = waits(arrivals(7.0, rng), service)
    assert cv2 > 1.5
    assert w.mean() == pytest.approx(q.mg1_mean_wait_s(7.0, float(service.mean()), cv2), rel=0.05)


def test_mmc_waits_as_erlang_says() -> None:
    """Three servers: the share that waits is Erlang's C, and the mean wait follows from it."""
    rng = np.random.default_rng(14)
    lam, n = 0.8 * 3 * MU, N // 2
    free = [0.0] * 3
    waited = np.empty(n)
    for i, (at, service) in enumerate(
        zip(arrivals(lam, rng)[:n].tolist(), rng.exponential(1 / MU, n).tolist(), strict=True)
    ):
        start = max(at, free[0])
        heapq.heapreplace(free, start + service)
        waited[i] = start - at
    assert np.mean(waited > 0) == pytest.approx(q.erlang_c(3, lam / MU), rel=0.03)
    assert waited.mean() == pytest.approx(q.mmc_mean_wait_s(lam, MU, 3), rel=0.06)


def test_littles_law_holds_of_the_whole_run() -> None:
    """Time-averaged requests in flight, counted by integration, are arrival rate x mean time."""
    rng = np.random.default_rng(15)
    at = arrivals(0.7 * MU, rng)
    service = rng.exponential(1 / MU, N)
    left = at + waits(at, service) + service
    times = np.concatenate([at, left])
    order = np.argsort(times, kind="stable")
    in_flight = np.cumsum(np.concatenate([np.ones(N), -np.ones(N)])[order])[:-1]
    span = times[order][-1] - times[order][0]
    mean_in_flight = float((in_flight * np.diff(times[order])).sum() / span)
    predicted = q.littles_law_in_flight(N / span, float((left - at).mean()))
    assert mean_in_flight == pytest.approx(predicted, rel=1e-9)
