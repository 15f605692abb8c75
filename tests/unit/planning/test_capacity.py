"""The highest rate that a promise allows."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.batching import TokenBudgetBatcher
from headgate.dataplane import DataPlane
from headgate.objects import BatchingSpec
from headgate.planning import exponential_noise, max_rate, rate_per_s, scale_to_rate, simulate
from headgate.scheduling import Admission
from headgate.testing import make_requests, poisson_requests
from headgate.workload import Request, ServiceCurve

TENTH = ServiceCurve(fixed_s=0.1, item_s=0.0, token_s=0.0, square_s=0.0)


def make_plane() -> DataPlane:
    return DataPlane(
        batcher=TokenBudgetBatcher(BatchingSpec()),
        service=TENTH,
        instances=1,
        admission=Admission(10**6, 1e6),
    )


@pytest.mark.parametrize("first_guess_per_s", [0.5, 8.0, 40.0])
def test_the_rate_is_the_highest_that_holds_from_any_first_guess(first_guess_per_s: float) -> None:
    """It holds there, and no longer 2 % above."""
    requests = poisson_requests(2000, 1.0, np.random.default_rng(2))
    found = max_rate(
        make_plane, requests, TENTH, p95_limit_s=0.5, first_guess_per_s=first_guess_per_s
    )

    def p95_s(rate: float) -> float:
        return simulate(make_plane(), scale_to_rate(requests, rate), TENTH).p95_s

    assert p95_s(found.rate_per_s) <= 0.5 < p95_s(found.rate_per_s * 1.025)
    assert found.result.p95_s == p95_s(found.rate_per_s)


def test_the_rate_of_an_mm1_queue_is_the_closed_form() -> None:
    """P(T > t) = exp(-(mu - lambda) t): p95 <= 1 s allows lambda = 10 - ln 20, within 8 %."""
    requests = poisson_requests(8_000, 1.0, np.random.default_rng(8))
    found = max_rate(
        make_plane,
        requests,
        TENTH,
        p95_limit_s=1.0,
        first_guess_per_s=5.0,
        make_noise=lambda: exponential_noise(np.random.default_rng(9)),
        tolerance=0.05,
    )
    assert found.rate_per_s == pytest.approx(10 - np.log(20), rel=0.08)


def test_a_promise_below_the_service_time_holds_at_no_rate() -> None:
    """Zero, with the evidence, after few simulations."""
    requests = poisson_requests(200, 1.0, np.random.default_rng(2))
    found = max_rate(make_plane, requests, TENTH, p95_limit_s=0.05, first_guess_per_s=8.0)
    assert found.rate_per_s == 0.0
    assert found.result.p95_s == pytest.approx(0.1)
    assert found.simulations <= 4


def test_a_short_burst_is_not_a_rate_that_lasts() -> None:
    """50 requests within a wide limit: what the queue could store is not capacity."""
    requests = poisson_requests(50, 1.0, np.random.default_rng(2))
    found = max_rate(make_plane, requests, TENTH, p95_limit_s=60.0, first_guess_per_s=8.0)
    assert 9.0 < found.rate_per_s < 10.0


def test_scaling_keeps_everything_but_the_pace() -> None:
    """Gaps shrink alike, deadlines stay as far away, the rest is untouched."""
    requests = [
        Request(0, b"a", 3, 10.0, "t", 10.5, "g"),
        Request(1, b"b", 4, 12.0),
        Request(2, b"c", 5, 18.0),
    ]
    scaled = scale_to_rate(requests, rate_per_s(requests) * 4)
    assert [r.arrived_at_s for r in scaled] == [10.0, 10.5, 12.0]
    assert scaled[0] == Request(0, b"a", 3, 10.0, "t", 10.5, "g")
    assert rate_per_s(scaled) == pytest.approx(1.0)


def test_a_rate_needs_two_moments() -> None:
    """One moment has no rate."""
    with pytest.raises(ValueError, match="two moments"):
        rate_per_s(make_requests([1.0, 1.0]))
