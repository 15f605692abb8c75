"""The token-budget batcher."""

from __future__ import annotations

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
    spec = BatchingSpec(max_requests=3, max_padded_tokens=1000, max_padding_share=0.5)
    assert first_batch([50, 10, 90, 49, 11, 51], spec) == [0, 3, 5]


def test_the_token_budget_counts_padding() -> None:
    """The longest times the number of requests is what is bounded."""
    spec = BatchingSpec(max_requests=8, max_padded_tokens=40, max_padding_share=1.0)
    assert first_batch([10, 10, 10, 10, 10], spec) == [0, 1, 2, 3]
    assert first_batch([10, 10, 14, 14], spec) == [0, 1]  # 3 * 14 is over 40


def test_the_padding_share_is_bounded() -> None:
    """A batch of 10 and 5 is a quarter padding."""
    half = BatchingSpec(max_requests=8, max_padded_tokens=100, max_padding_share=0.25)
    less = BatchingSpec(max_requests=8, max_padded_tokens=100, max_padding_share=0.24)
    assert first_batch([10, 5], half) == [0, 1]
    assert first_batch([10, 5], less) == [0]


def test_a_neighbour_that_is_cheaper_alone_stays_out() -> None:
    """Padding is paid only while it costs less than a call of its own."""
    spec = BatchingSpec(max_requests=8, max_padded_tokens=1000, max_padding_share=1.0)
    assert first_batch([100, 10], spec, DEAR_CALLS) == [0, 1]
    assert first_batch([100, 10], spec, CHEAP_CALLS) == [0]


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
    spec = BatchingSpec(max_requests=3, max_padded_tokens=1000, max_padding_share=0.5)
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
