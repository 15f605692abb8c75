"""The simulator against queueing theory: closed forms within intervals, identities exactly.

Independent replications from fixed seeds, the start-up of each left out. Intervals are two-sided
at 99.9 %, and must be narrow enough for a simulator that is 10 % off to fail.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import t as student

from headgate.batching import BatchPolicy, FixedWindow, Greedy, TokenBudgetBatcher
from headgate.caching import GenerationCache, make_policy
from headgate.dataplane import DataPlane
from headgate.objects import BatchingSpec, CacheSpec
from headgate.planning import SimulationResult, exponential_noise, lognormal_noise, simulate
from headgate.scheduling import Admission
from headgate.testing import lognormal_lengths, poisson_requests
from headgate.theory.queueing import md1_mean_wait_s, mm1_mean_wait_s, mmc_mean_wait_s
from headgate.workload import ServiceCurve

SERVICE = ServiceCurve(fixed_s=0.1, item_s=0.0, token_s=0.0, square_s=0.0)  # mu = 10 a second
ALONE = BatchingSpec(max_requests=1)
MIXED = ServiceCurve(fixed_s=2e-3, item_s=1e-4, token_s=3e-5, square_s=1e-8)


def mean_wait_interval(
    *, rate_per_s: float, servers: int, exponential: bool
) -> tuple[float, float, float]:
    """Mean wait of 24 replications with its 99.9 % interval: (low, mean, high)."""
    means = []
    for seed in range(24):
        rng = np.random.default_rng([20261124, seed])
        plane = DataPlane(
            batcher=TokenBudgetBatcher(ALONE),
            service=SERVICE,
            instances=servers,
            admission=Admission(10**9, 1e9),
        )
        result = simulate(
            plane,
            poisson_requests(3000, rate_per_s, rng),
            SERVICE,
            noise=exponential_noise(rng) if exponential else None,
        )
        means.append(float(result.waits_s[500:].mean()))
    half = student.ppf(0.9995, len(means) - 1) * np.std(means, ddof=1) / np.sqrt(len(means))
    return float(np.mean(means) - half), float(np.mean(means)), float(np.mean(means) + half)


@pytest.mark.parametrize(
    ("rate_per_s", "servers", "exponential", "expected_s"),
    [
        (6.0, 1, True, mm1_mean_wait_s(6.0, 10.0)),
        (7.0, 1, False, md1_mean_wait_s(7.0, 10.0)),
        (18.0, 3, True, mmc_mean_wait_s(18.0, 10.0, 3)),
    ],
    ids=["M/M/1", "M/D/1", "M/M/3"],
)
def test_mean_waits_are_those_of_the_closed_form(
    rate_per_s: float, servers: int, exponential: bool, expected_s: float
) -> None:
    """With batches of one, the data plane is the textbook's queue."""
    low, mean, high = mean_wait_interval(
        rate_per_s=rate_per_s, servers=servers, exponential=exponential
    )
    assert low <= expected_s <= high
    assert (high - low) / 2 <= 0.12 * mean, "an interval this wide proves nothing"


BATCHERS: dict[str, Callable[[], BatchPolicy]] = {
    "alone": lambda: TokenBudgetBatcher(ALONE),
    "token_budget": lambda: TokenBudgetBatcher(BatchingSpec(16, 512)),
    "greedy": lambda: Greedy(BatchingSpec(16, 512)),
    "fixed_window": lambda: FixedWindow(BatchingSpec(16, 512), max_wait_s=0.01),
}


def mixed(
    batcher: str, rate_per_s: float, *, cache_bytes: int = 0, max_queue: int = 1024
) -> SimulationResult:
    rng = np.random.default_rng(11)
    n = 3000
    plane = DataPlane(
        batcher=BATCHERS[batcher](),
        service=MIXED,
        instances=2,
        admission=Admission(max_queue, 10.0),
        cache=(
            GenerationCache(make_policy(CacheSpec("s3fifo", cache_bytes)), generation=0)
            if cache_bytes
            else None
        ),
    )
    requests = poisson_requests(
        n, rate_per_s, rng, tokens=lognormal_lengths(n, rng), items=rng.zipf(1.3, n) % 1000
    )
    return simulate(plane, requests, MIXED, noise=lognormal_noise(rng, 0.2), value_bytes=1536)


@pytest.mark.parametrize("batcher", sorted(BATCHERS))
@pytest.mark.parametrize(
    ("rate_per_s", "cache_bytes", "max_queue"),
    [(50.0, 0, 1024), (400.0, 0, 1024), (2000.0, 0, 50), (800.0, 200_000, 1024)],
    ids=["calm", "busy", "overload", "cached"],
)
def test_littles_law_holds_exactly(
    batcher: str, rate_per_s: float, cache_bytes: int, max_queue: int
) -> None:
    """L = lambda * W on every run: the gauge's integral is the sum of the times in the system."""
    result = mixed(batcher, rate_per_s, cache_bytes=cache_bytes, max_queue=max_queue)
    finite = result.latencies_s[np.isfinite(result.latencies_s)]
    assert len(finite) == result.stats.answered
    assert result.mean_in_flight == pytest.approx(result.throughput_per_s * finite.mean(), rel=1e-9)
    assert result.stats.arrived == result.stats.answered + result.rejected
    assert 0 < result.utilisation <= 1


def test_batching_by_length_beats_order_of_arrival_where_lengths_are_mixed() -> None:
    """At saturation the same budgets waste less on padding and take less time."""
    ours = mixed("token_budget", 2500.0)
    greedy = mixed("greedy", 2500.0)
    alone = mixed("alone", 2500.0)
    assert ours.stats.padding_share < 0.15 < greedy.stats.padding_share
    assert ours.busy_s_per_request < 0.85 * greedy.busy_s_per_request
    assert greedy.busy_s_per_request < alone.busy_s_per_request


def test_equal_seeds_give_equal_runs() -> None:
    """A simulation is a function of its arguments."""
    a, b = mixed("token_budget", 400.0), mixed("token_budget", 400.0)
    assert np.array_equal(a.latencies_s, b.latencies_s)
    assert a.stats == b.stats


def test_busy_time_is_conserved() -> None:
    """Without noise, device time is the sum of the predicted times of the batches run."""
    plane = DataPlane(batcher=TokenBudgetBatcher(ALONE), service=SERVICE, instances=2)
    rng = np.random.default_rng(4)
    result = simulate(plane, poisson_requests(500, 12.0, rng), SERVICE)
    assert result.device_busy_s == pytest.approx(500 * 0.1)
    assert result.utilisation == pytest.approx(50.0 / (2 * result.makespan_s))
    assert np.allclose(result.latencies_s, result.waits_s + 0.1)
