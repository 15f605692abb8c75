"""Results and the verdict on the generator."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headgate.loadtest import LoadResult

N = 1000


def result(
    *,
    lag_s: float = 0.0,
    late: int = N - 2,
    latency_s: float = 0.01,
    stretch: float = 1.0,
    **changes: object,
) -> LoadResult:
    """A thousand requests in ten seconds, ``late`` of them sent ``lag_s`` late."""
    scheduled = np.linspace(0.0, 10.0, N)
    sent = scheduled * stretch
    sent[1 : 1 + late] += lag_s  # neither first nor last: the rate is as it was
    fields: dict[str, object] = {
        "scheduled_s": scheduled,
        "sent_s": sent,
        "latencies_s": np.full(N, latency_s),
        "answered_s": np.full(N, latency_s),
        "statuses": np.full(N, 200, np.int16),
        "sources": ("engine",) * N,
        "duration_s": 10.0,
        "generator_cpu_s": 0.05,
        "server_cpu_s": math.nan,
        "connections_opened": 1,
        "waited_for_connection": 0,
        "resent": 0,
    }
    return LoadResult(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_run_on_schedule_is_valid() -> None:
    """All sent when due, all answered."""
    assert str(result().verdict()) == "valid"
    assert not result().verdict().void


@pytest.mark.parametrize(
    ("lag_s", "latency_s", "void"),
    [
        (0.0009, 0.01, False),  # the floor: 1 ms
        (0.0011, 0.01, True),
        (0.0019, 0.2, False),  # 1 % of a p95 of 200 ms
        (0.0021, 0.2, True),
    ],
)
def test_lag_is_bounded_by_the_larger_of_1_ms_and_1_percent_of_p95(
    lag_s: float, latency_s: float, void: bool
) -> None:
    """At the 99th percentile of all requests."""
    verdict = result(lag_s=lag_s, latency_s=latency_s).verdict()
    assert verdict.void is void
    if void:
        assert f"requests left {lag_s:.4g} s late" in str(verdict)


def test_one_late_request_in_a_hundred_is_allowed() -> None:
    """p99: 10 of 1000 may be late, 11 may not."""
    assert not result(lag_s=0.5, late=10).verdict().void
    assert result(lag_s=0.5, late=11).verdict().void


def test_a_rate_that_was_not_reached_is_void() -> None:
    """Requests stretched over 2 % more time, in a run whose latency would excuse the lag."""
    verdict = result(stretch=1.02, latency_s=1e9).verdict()
    assert "sent 97.9 requests/s of 99.9 scheduled" in str(verdict)


def test_failures_count_as_infinite_latency() -> None:
    """6 % failed: the p95 is infinite, and a late generator is not excused by it."""
    statuses, latencies = np.full(N, 200, np.int16), np.full(N, 0.01)
    statuses[:60], latencies[:60] = 503, math.inf
    failed = result(statuses=statuses, latencies_s=latencies)
    assert (failed.answered, failed.failed) == (940, 60)
    assert math.isinf(failed.p95_s)
    assert failed.quantile_s(0.94) == 0.01
    assert not failed.verdict().void
    assert result(statuses=statuses, latencies_s=latencies, lag_s=0.002).verdict().void


def test_nothing_is_dropped_in_silence() -> None:
    """A request that was never sent, or that has no end, voids the run."""
    statuses, sent = np.full(N, 200, np.int16), np.linspace(0.0, 10.0, N)
    statuses[0], sent[0] = -3, math.nan
    assert "1 were never sent" in str(result(statuses=statuses, sent_s=sent).verdict())
    statuses = np.full(N, 200, np.int16)
    statuses[0] = 0
    assert "1 are lost" in str(result(statuses=statuses).verdict())
