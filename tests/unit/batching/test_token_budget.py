"""The token-budget batcher."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headgate.batching import TokenBudgetBatcher
from headgate.objects import BatchingSpec
from headgate.workload import Request, ServiceCurve

CHEAP_CALLS = ServiceCurve(fixed_s=1e-6, item_s=0.0, token_s=1e-4, square_s=0.0)
DEAR_CALLS = ServiceCurve(fixed_s=1.0, item_s=0.0, token_s=1e-4, square_s=0.0)


def first_batch(
    lengths: Sequence[int], spec: BatchingSpec, curve: ServiceCurve = DEAR_CALLS
) -> list[int]:
    """Ids of the first batch; ids are positions in order of arrival."""
    batcher = TokenBudgetBatcher(spec)
    for i, length in enumerate(lengths):
        batcher.add(Request(i, b"", length, float(i)))
    formed = batcher.next_batch(100.0, curve)
    assert formed is not None
    return sorted(r.id for r in formed)


def test_the_oldest_takes_its_nearest_in_length() -> None:
    """Neighbours in length join, not neighbours in time."""
    spec = BatchingSpec(max_requests=3, max_padded_tokens=1000)
    assert first_batch([50, 10, 90, 49, 11, 51], spec) == [0, 3, 5]


def test_the_token_budget_counts_padding() -> None:
    """The longest times the number of requests is what is bounded."""
    spec = BatchingSpec(max_requests=8, max_padded_tokens=40)
    assert first_batch([10, 10, 10, 10, 10], spec) == [0, 1, 2, 3]
    assert first_batch([10, 10, 14, 14], spec) == [0, 1]  # 3 * 14 is over 40


def test_a_neighbour_that_is_cheaper_alone_stays_out() -> None:
    """Padding is paid only while it costs less than a call of its own."""
    spec = BatchingSpec(max_requests=8, max_padded_tokens=1000)
    assert first_batch([100, 10], spec, DEAR_CALLS) == [0, 1]
    assert first_batch([100, 10], spec, CHEAP_CALLS) == [0]


def test_where_a_full_batch_is_hardly_cheaper_everybody_runs_alone() -> None:
    """It saves 4.8 % of a request of 16 tokens, below the 5 % that it must; of 8 tokens 9 %."""
    spec = BatchingSpec(max_requests=8, max_padded_tokens=128)
    curve = ServiceCurve(fixed_s=0.92e-4, item_s=0.0, token_s=1e-4, square_s=0.0)
    assert first_batch([16] * 8, spec, curve) == [0]
    assert first_batch([8] * 8, spec, curve) == list(range(8))


def test_padding_is_weighed_against_a_batch_of_ones_like() -> None:
    """In a large batch the call is shared already: what joins must pad less than it would save."""
    spec = BatchingSpec(max_requests=8, max_padded_tokens=1000)
    curve = ServiceCurve(fixed_s=1.0, item_s=0.0, token_s=1e-2, square_s=0.0)
    # Alone a request of 10 takes 1.1 s; padded to 100 it adds 1 s to any batch of these.
    assert first_batch([100, 10], spec, curve) == [0, 1]
    # Beside three it would have to beat a quarter of a call and its own tokens: 0.35 s.
    assert first_batch([100, 100, 100, 10], spec, curve) == [0, 1, 2]


def waiting(spec: BatchingSpec, *arrivals_s: float, isolated: bool = False) -> TokenBudgetBatcher:
    """A batcher with equal requests that arrived at these times."""
    batcher = TokenBudgetBatcher(spec, isolate_tenants=isolated)
    for i, at_s in enumerate(arrivals_s):
        batcher.add(Request(i, b"", 10, at_s))
    return batcher


PATIENT = BatchingSpec(max_requests=4, max_padded_tokens=1000, max_wait_s=1.0)


def test_the_oldest_waits_for_company_that_pays() -> None:
    """Ten a second arrive and a call is dear: held until the wait is over, then all run."""
    batcher = waiting(PATIENT, 0.0, 0.1, 0.2)
    assert batcher.next_batch(0.2, DEAR_CALLS) is None
    assert batcher.wake_at_s() == 1.0
    formed = batcher.next_batch(1.0, DEAR_CALLS)
    assert formed is not None
    assert len(formed) == 3
    assert batcher.next_batch(1.0, DEAR_CALLS) is None
    assert batcher.wake_at_s() is None


def test_nobody_is_held_where_waiting_brings_nothing() -> None:
    """A full batch, a curve without a fixed part, arrivals too rare, no patience, time over."""
    three = (0.0, 0.1, 0.2)
    assert waiting(PATIENT, *three, 0.3).next_batch(0.3, DEAR_CALLS) is not None
    assert waiting(PATIENT, *three).next_batch(0.2, CHEAP_CALLS) is not None
    rare = waiting(PATIENT, 0.0, 5.0)
    rare.remove(0)
    assert rare.next_batch(5.0, DEAR_CALLS) is not None
    assert waiting(BatchingSpec(4, 1000), *three).next_batch(0.2, DEAR_CALLS) is not None
    assert waiting(PATIENT, *three).next_batch(math.inf, DEAR_CALLS) is not None


def test_a_clock_that_went_back_holds_nobody() -> None:
    """To before the last arrival, the first, or all of them."""
    for now_s in (100.15, 100.0, 50.0, -1e6):
        assert waiting(PATIENT, 100.0, 100.1, 100.2).next_batch(now_s, DEAR_CALLS) is not None


def test_only_those_who_could_join_count_as_company() -> None:
    """Not those of another group, not the items of one call, not strangers of other tenants."""
    other = waiting(PATIENT)
    for i in range(3):
        other.add(Request(i, b"", 10, 0.1 * i, group="a" if i == 0 else "b"))
    assert other.next_batch(0.2, DEAR_CALLS) is not None
    assert waiting(PATIENT, 0.2, 0.2, 0.2).next_batch(0.2, DEAR_CALLS) is not None
    assert waiting(PATIENT, 0.0, 0.1, 0.2, isolated=True).next_batch(0.2, DEAR_CALLS) is not None


def test_what_is_remembered_of_groups_is_bounded() -> None:
    """A caller who makes a new group of every request does not fill the memory."""
    batcher = waiting(PATIENT)
    for i in range(1000):
        batcher.add(Request(i, b"", 10, float(i), group=str(i)))
    assert len(batcher._recent_s) <= 64


def test_longer_than_the_budget_runs_alone() -> None:
    """A single request is never refused for its length."""
    spec = BatchingSpec(max_requests=8, max_padded_tokens=40)
    assert first_batch([100, 100, 5], spec) == [0]


def test_one_at_a_time_is_first_come_first_served() -> None:
    """max_requests 1 is no batching, in order of arrival."""
    batcher = TokenBudgetBatcher(BatchingSpec(max_requests=1))
    for i, length in enumerate([30, 10, 20]):
        batcher.add(Request(i, b"", length, float(i)))
    order = [batcher.next_batch(9.0, DEAR_CALLS) for _ in range(3)]
    assert [tuple(r.id for r in b) for b in order if b] == [(0,), (1,), (2,)]


def test_of_equal_shorter_requests_the_oldest_joins() -> None:
    """Where only some of one length fit, the youngest wait."""
    spec = BatchingSpec(max_requests=3, max_padded_tokens=1000)
    assert first_batch([20, 18, 18, 18, 18], spec) == [0, 1, 2]


def test_groups_never_meet_and_tenants_only_where_allowed() -> None:
    """The compatibility key, and the tenant for builds that depend on neighbours."""
    spec = BatchingSpec(max_requests=8, max_padded_tokens=1000)
    requests = [
        Request(0, b"", 10, 0.0, tenant="a", group="g"),
        Request(1, b"", 10, 0.0, tenant="b", group="g"),
        Request(2, b"", 10, 0.0, tenant="a", group="h"),
    ]
    for isolate, expected in ((False, {0, 1}), (True, {0})):
        batcher = TokenBudgetBatcher(spec, isolate_tenants=isolate)
        for request in requests:
            batcher.add(request)
        formed = batcher.next_batch(0.0, DEAR_CALLS)
        assert formed is not None
        assert {r.id for r in formed} == expected


def test_calls_that_come_in_turns_are_two_arrivals_and_not_many() -> None:
    """Items of one call arrive once, also where a fair queue deals them out among another's."""
    batcher = waiting(BatchingSpec(max_wait_s=1.0), *(0.0, 0.001) * 16)
    assert list(batcher._recent_s[""]) == [0.0, 0.001]
