"""The event loop in virtual time."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.batching import FixedWindow, TokenBudgetBatcher
from headgate.caching import LRU, GenerationCache
from headgate.dataplane import DataPlane
from headgate.objects import BatchingSpec
from headgate.planning import lognormal_noise, simulate
from headgate.scheduling import Admission
from headgate.testing import make_requests
from headgate.workload import CascadeTimes, LearnedService, ServiceCurve

SECOND = ServiceCurve(fixed_s=1.0, item_s=0.0, token_s=0.0, square_s=0.0)
HALF = ServiceCurve(fixed_s=0.5, item_s=0.0, token_s=0.0, square_s=0.0)


def plane(max_requests: int = 1, *, max_queue: int = 100, cache: bool = False) -> DataPlane:
    return DataPlane(
        batcher=TokenBudgetBatcher(BatchingSpec(max_requests, 100)),
        service=SECOND,
        instances=1,
        admission=Admission(max_queue, 100.0),
        cache=GenerationCache(LRU(10_000), generation=0) if cache else None,
    )


def test_a_day_at_the_counter_worked_out_by_hand() -> None:
    """One server, one second each: arrivals at 0, 0.5 and 3 leave at 1, 2 and 4."""
    result = simulate(plane(), make_requests([0.0, 0.5, 3.0]), SECOND)
    assert result.latencies_s.tolist() == [1.0, 1.5, 1.0]
    assert result.waits_s.tolist() == [0.0, 0.5, 0.0]
    assert result.makespan_s == 4.0
    assert result.device_busy_s == 3.0
    assert result.mean_in_flight == pytest.approx(3.5 / 4.0)
    assert result.p50_s == 1.0
    assert result.p95_s == 1.5


def test_a_refused_request_took_for_ever() -> None:
    """+inf in the latencies, so that p95 cannot be improved by refusing."""
    result = simulate(plane(max_queue=1), make_requests([0.0, 0.1, 0.2]), SECOND)
    assert result.latencies_s.tolist()[2] == np.inf
    assert np.isnan(result.waits_s[2])
    assert result.sources.tolist() == ["engine", "engine", "rejected"]
    assert result.p95_s == np.inf


def test_the_lone_instance_holds_the_cores_of_all() -> None:
    """Alone at 0 for half a second of two cores; two at 3 side by side, a second of one each."""
    lone = DataPlane(
        batcher=TokenBudgetBatcher(BatchingSpec(1, 100)),
        service=SECOND,
        instances=2,
        lone_service=HALF,
    )
    result = simulate(lone, make_requests([0.0, 3.0, 3.0]), SECOND, lone_service=HALF)
    assert result.latencies_s.tolist() == [0.5, 1.0, 1.0]
    assert result.device_busy_s == 2 * 0.5 + 2 * 1.0


def test_hits_and_twins_cost_the_device_nothing() -> None:
    """An item asked during its run is a twin, after it a hit."""
    requests = make_requests([0.0, 0.5, 2.0], items=[7, 7, 7])
    result = simulate(plane(cache=True), requests, SECOND)
    assert result.sources.tolist() == ["engine", "twin", "cache"]
    assert result.latencies_s.tolist() == [1.0, 0.5, 0.0]
    assert result.device_busy_s == 1.0
    assert result.busy_s_per_request == pytest.approx(1 / 3)


def test_arrivals_of_one_moment_are_one_call() -> None:
    """They meet in one batch."""
    result = simulate(plane(max_requests=8), make_requests([0.0, 0.0, 1.0, 1.0]), SECOND)
    assert result.stats.dispatch_sizes == {2: 2}


def test_a_completion_comes_before_an_arrival_of_the_same_moment() -> None:
    """What is finished at 1 s is in the cache for who asks at 1 s."""
    result = simulate(plane(cache=True), make_requests([0.0, 1.0], items=[7, 7]), SECOND)
    assert result.sources.tolist() == ["engine", "cache"]


def test_a_window_is_woken_in_virtual_time() -> None:
    """A policy that holds back is asked again when its window ends."""
    window = DataPlane(
        batcher=FixedWindow(BatchingSpec(8, 100), max_wait_s=0.25), service=SECOND, instances=1
    )
    result = simulate(window, make_requests([0.0, 0.1]), SECOND)
    assert result.waits_s.tolist() == pytest.approx([0.25, 0.15])


def test_the_machine_may_differ_from_the_prediction() -> None:
    """The plane predicts with its own model; time passes by the machine's."""
    slower = ServiceCurve(fixed_s=2.0, item_s=0.0, token_s=0.0, square_s=0.0)
    assert simulate(plane(), make_requests([0.0]), slower).p50_s == 2.0


def test_what_passes_between_calls_takes_the_instance_and_is_not_learned() -> None:
    """As in a server, where the engine's own two stamps are what the plane learns from."""
    learning = DataPlane(
        batcher=TokenBudgetBatcher(BatchingSpec(1, 100)),
        service=LearnedService(SECOND),
        instances=1,
    )
    result = simulate(learning, make_requests([0.0, 0.0]), SECOND, handover_s=0.5)
    assert result.latencies_s.tolist() == [1.5, 3.0]
    assert result.device_busy_s == 3.0
    assert learning.service.predict_s(1, 1) == 1.0


def test_noise_has_mean_one() -> None:
    """Lognormal factors change the spread, not the mean."""
    noise = lognormal_noise(np.random.default_rng(0), 0.5)
    drawn = [noise() for _ in range(40_000)]
    assert np.mean(drawn) == pytest.approx(1.0, abs=0.015)
    assert np.std(np.log(drawn)) == pytest.approx(0.5, abs=0.01)


def test_time_does_not_go_back() -> None:
    """Arrivals out of order are the caller's mistake."""
    with pytest.raises(ValueError, match="arrives before its predecessor"):
        simulate(plane(), make_requests([1.0, 0.5]), SECOND)


def test_nothing_in_nothing_out() -> None:
    """An empty workload is a result, not a crash."""
    result = simulate(plane(), [], SECOND)
    assert (result.requests, result.makespan_s, result.throughput_per_s) == (0, 0.0, 0.0)


def test_a_cascade_takes_as_long_as_those_who_escalate() -> None:
    """Two batches of one shape, a tenth of a second of the student's each; of the second one
    request escalates, and its batch takes the teacher's second too."""
    tenth = ServiceCurve(fixed_s=0.1, item_s=0.0, token_s=0.0, square_s=0.0)
    requests = make_requests([0.0, 0.0, 5.0, 5.0])
    service = CascadeTimes(tenth, SECOND, 0.25, frozenset({requests[3].key}))
    result = simulate(plane(max_requests=2), requests, service)
    assert result.latencies_s.tolist() == pytest.approx([0.1, 0.1, 1.1, 1.1])
    assert result.device_busy_s == pytest.approx(1.2)
