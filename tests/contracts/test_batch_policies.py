"""One suite for every batch policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.batching import AIMD, BatchPolicy, FixedWindow, Greedy, TokenBudgetBatcher
from headgate.objects import BatchingSpec
from headgate.workload import Batch, Request, ServiceCurve

CURVE = ServiceCurve(fixed_s=2e-3, item_s=1e-4, token_s=3e-5, square_s=1e-8)
SPEC = BatchingSpec(max_requests=4, max_padded_tokens=128)

POLICIES: dict[str, Callable[[bool], BatchPolicy]] = {
    "token_budget": lambda isolate: TokenBudgetBatcher(SPEC, isolate_tenants=isolate),
    "greedy": lambda isolate: Greedy(SPEC, isolate_tenants=isolate),
    "fixed_window": lambda isolate: FixedWindow(SPEC, max_wait_s=5.0, isolate_tenants=isolate),
    "aimd": lambda isolate: AIMD(SPEC, objective_s=5e-3, isolate_tenants=isolate),
    "patient": lambda isolate: TokenBudgetBatcher(
        replace(SPEC, max_wait_s=5.0), isolate_tenants=isolate
    ),
}
WORK_CONSERVING = ("aimd", "greedy", "token_budget")

each_policy = pytest.mark.parametrize("name", sorted(POLICIES))

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.integers(1, 200), st.sampled_from("ab"), st.sampled_from("xy")
        ),
        st.tuples(st.just("batch"), st.none(), st.none(), st.none()),
        st.tuples(st.just("remove"), st.integers(0, 40), st.none(), st.none()),
    ),
    max_size=80,
)


@each_policy
@given(steps=steps, isolate=st.booleans())
@settings(max_examples=150)
def test_budgets_groups_and_exactly_once(
    name: str, steps: list[tuple[str, object, object, object]], isolate: bool
) -> None:
    """Every batch keeps to its budgets and one group; every request leaves exactly once."""
    policy = POLICIES[name](isolate)
    waiting: dict[int, Request] = {}
    now_s = 0.0
    for i, (step, value, group, tenant) in enumerate(steps):
        now_s = float(i)
        if step == "add":
            assert isinstance(value, int)
            request = Request(i, b"", value, now_s, str(tenant), None, str(group))
            policy.add(request)
            waiting[i] = request
        elif step == "remove":
            assert isinstance(value, int)
            assert policy.remove(value) == (waiting.pop(value, None) is not None)
        else:
            take(policy, waiting, now_s, isolate)
        assert len(policy) == len(waiting)
        assert policy.tokens == sum(r.tokens for r in waiting.values())
    for _ in range(len(waiting)):  # at least one leaves each time, once every window has passed
        take(policy, waiting, now_s + 100.0, isolate)
    assert not waiting
    assert policy.next_batch(now_s + 200.0, CURVE) is None


def take(policy: BatchPolicy, waiting: dict[int, Request], now_s: float, isolate: bool) -> None:
    formed = policy.next_batch(now_s, CURVE)
    if formed is None:
        return
    batch = Batch(0, formed)
    assert 1 <= batch.size <= SPEC.max_requests
    assert batch.padded_tokens <= SPEC.max_padded_tokens or batch.size == 1
    assert len({r.group for r in formed}) == 1
    assert not isolate or len({r.tenant for r in formed}) == 1
    oldest = min(waiting.values(), key=lambda r: r.id)
    assert oldest in formed, "the oldest leads, so nobody is overtaken for ever"
    for request in formed:
        assert waiting.pop(request.id) is request
    for request in formed:  # within a group, equal lengths go in order of arrival
        overtaken = [
            w
            for w in waiting.values()
            if w.tokens == request.tokens
            and w.group == request.group
            and w.id < request.id
            and (not isolate or w.tenant == request.tenant)
        ]
        assert not overtaken


@pytest.mark.parametrize("name", WORK_CONSERVING)
@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=40))
def test_work_conserving_policies_always_offer_a_batch(name: str, lengths: list[int]) -> None:
    """While anybody waits, a free instance gets a batch at once, and never asks to be woken."""
    policy = POLICIES[name](False)
    for i, length in enumerate(lengths):
        policy.add(Request(i, b"", length, 0.0))
    assert policy.wake_at_s() is None
    while len(policy):
        assert policy.next_batch(0.0, CURVE) is not None


@each_policy
@given(lengths=st.lists(st.integers(1, 200), min_size=2, max_size=40), data=st.data())
def test_nobody_waits_longer_than_those_before_it(
    name: str, lengths: list[int], data: st.DataObject
) -> None:
    """Behind k others means in one of the next k + 1 batches, whatever arrives meanwhile."""
    policy = POLICIES[name](False)
    for i, length in enumerate(lengths):
        policy.add(Request(i, b"", length, 0.0))
    watched = data.draw(st.integers(0, len(lengths) - 1))
    for batches in range(watched + 1):
        formed = policy.next_batch(10.0, CURVE)
        assert formed is not None
        if any(r.id == watched for r in formed):
            return
        # Newcomers of exactly the watched length, the ones most likely to overtake it.
        policy.add(Request(1000 + batches, b"", lengths[watched], 10.0))
    pytest.fail(f"request {watched} was overtaken")
