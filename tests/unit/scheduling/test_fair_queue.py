"""Whose turn it is: tenants by tokens and weight, a tenant's own by what is due first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import ConfigError
from headgate.scheduling import FairQueue
from headgate.workload import Request


def request(i: int, tenant: str = "a", tokens: int = 10, **fields: object) -> Request:
    given = {"arrived_at_s": float(i), **fields}
    return Request(i, b"", tokens, tenant=tenant, **given)  # type: ignore[arg-type]


def drained(queue: FairQueue) -> list[int]:
    """Everybody, in the order in which they are taken."""
    taken = []
    while (next_one := queue.take()) is not None:
        taken.append(next_one.id)
    return taken


def filled(*requests: Request, weights: dict[str, float] | None = None) -> FairQueue:
    queue = FairQueue(patience_s=10.0, weights=weights)
    for each in requests:
        queue.add(each)
    return queue


def test_one_tenant_without_deadlines_is_served_in_order_of_arrival() -> None:
    """As if there were no queue but a line."""
    assert drained(filled(*map(request, range(20)))) == list(range(20))


def test_a_flood_of_one_tenant_does_not_delay_another() -> None:
    """The hundred that came before count for their own tenant alone: turns alternate."""
    flood = [request(i) for i in range(100)]
    queue = filled(*flood, request(100, "b"), request(101, "b"))
    assert drained(queue)[:4] == [0, 100, 1, 101]


def test_turns_are_counted_in_tokens() -> None:
    """One of 40 tokens costs its tenant as much as four of ten cost the other."""
    queue = filled(
        *(request(i, "long", 40) for i in range(5)), *(request(10 + i, "short") for i in range(20))
    )
    first = drained(queue)[:10]
    assert Counter(i >= 10 for i in first) == {False: 2, True: 8}


def test_a_weight_of_three_is_three_turns_for_one() -> None:
    """Of equal requests."""
    queue = filled(
        *(request(i, "gold") for i in range(40)),
        *(request(100 + i, "iron") for i in range(40)),
        weights={"gold": 3.0},
    )
    assert Counter(i >= 100 for i in drained(queue)[:40]) == {False: 30, True: 10}


def test_who_was_away_has_saved_nothing_up() -> None:
    """After a hundred turns of the other, a newcomer shares from now on."""
    queue = filled(*map(request, range(200)))
    for _ in range(100):
        queue.take()
    for i in range(200, 250):
        queue.add(request(i, "b"))
    assert Counter(i >= 200 for i in drained(queue)[:20]) == {False: 10, True: 10}


def test_leaving_and_coming_back_jumps_no_queue() -> None:
    """A tenant that was served a long request, and has nobody left, is still ahead when it asks
    again at once."""
    queue = filled(request(0, "a", 1000), *(request(i, "b") for i in range(1, 60)))
    assert queue.take() == request(0, "a", 1000)
    queue.add(request(60, "a"))
    assert drained(queue).index(60) == 59


def test_what_is_due_first_goes_first_within_a_tenant() -> None:
    """A deadline, a priority that shortens patience, and arrival, on one clock."""
    queue = filled(
        request(0, arrived_at_s=0.0),  # due at 10
        request(1, arrived_at_s=1.0, priority=1),  # at 6
        request(2, arrived_at_s=2.0, deadline_s=3.0),
        request(3, arrived_at_s=2.0, deadline_s=60.0),  # at 12: patience ends before
    )
    assert drained(queue) == [2, 1, 0, 3]


def test_nobody_is_passed_over_for_ever() -> None:
    """Urgent ones that go on coming overtake only until they are due later."""
    queue = filled(request(0, arrived_at_s=0.0))
    for i in range(1, 200):
        now_s = i / 10
        queue.add(request(i, arrived_at_s=now_s, deadline_s=now_s + 1.0))
        taken = queue.take()
        assert taken is not None
        if taken.id == 0:
            break
    assert 9.0 <= now_s <= 9.2


def test_who_is_removed_is_not_taken_and_counts_no_more() -> None:
    """In the middle, the last of a tenant, and one that is not there."""
    queue = filled(request(0), request(1), request(2), request(3, "b"))
    assert queue.remove(1)
    assert queue.remove(3)
    assert not queue.remove(3)
    assert (len(queue), queue.tokens) == (2, 20)
    assert drained(queue) == [0, 2]
    assert queue.take() is None


steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abc"), st.integers(1, 50)),
        st.just(None),
        st.integers(0, 40),
    ),
    max_size=120,
)


@given(steps=steps)
def test_everybody_leaves_exactly_once(steps: list[tuple[str, int] | int | None]) -> None:
    """Added, taken or removed in any order; counts are those of who waits."""
    queue = FairQueue(patience_s=1.0)
    waiting: dict[int, Request] = {}
    for i, step in enumerate(steps):
        if step is None:
            taken = queue.take()
            assert (taken is None) == (not waiting)
            if taken is not None:
                assert waiting.pop(taken.id) is taken
        elif isinstance(step, int):
            assert queue.remove(step) == (waiting.pop(step, None) is not None)
        else:
            waiting[i] = request(i, *step)
            queue.add(waiting[i])
        assert (len(queue), queue.tokens) == (len(waiting), sum(r.tokens for r in waiting.values()))
    assert sorted(drained(queue)) == sorted(waiting)


@given(
    lengths=st.fixed_dictionaries(
        {name: st.lists(st.integers(1, 60), min_size=1, max_size=60) for name in "abc"}
    ),
    weights=st.fixed_dictionaries({name: st.sampled_from([0.5, 1.0, 3.0]) for name in "abc"}),
)
def test_no_backlogged_tenant_gets_ahead_by_more_than_its_bound(
    lengths: dict[str, list[int]], weights: dict[str, float]
) -> None:
    """Goyal, Vin and Cheng, theorem 1: while both wait, what two have had, over their weights,
    differs by at most the longest request of each over its weight."""
    queue = FairQueue(patience_s=1.0, weights=weights)
    ids = iter(range(1000))
    for name, all_of in lengths.items():
        for tokens in all_of:
            queue.add(request(next(ids), name, tokens, arrived_at_s=0.0))
    left = {name: len(all_of) for name, all_of in lengths.items()}
    had: Counter[str] = Counter()
    most = {name: max(all_of) / weights[name] for name, all_of in lengths.items()}
    while all(left.values()):
        taken = queue.take()
        assert taken is not None
        left[taken.tenant] -= 1
        had[taken.tenant] += taken.tokens
        share = {name: had[name] / weights[name] for name in lengths}
        for one in share:
            for other in share:
                bound = most[one] + most[other]
                assert abs(share[one] - share[other]) <= bound + 1e-9


@pytest.mark.parametrize("ask", [FairQueue.take, lambda q: q.remove(1)])
def test_an_empty_queue_has_nobody(ask: Callable[[FairQueue], object]) -> None:
    """And says so."""
    assert not ask(FairQueue(patience_s=1.0))


def remembered(queue: FairQueue) -> int:
    """Tenants of whom anything is kept."""
    return len(queue._tenants) + len(queue._away)


def test_callers_who_come_once_leave_nothing_behind() -> None:
    """A tenant is only a header: a thousand names on an idle server are all forgotten."""
    queue = FairQueue(patience_s=10.0)
    for i in range(1000):
        queue.add(request(i, f"tenant {i}"))
        assert queue.take() is not None
    assert remembered(queue) == 0


def test_while_one_waits_only_those_who_are_still_ahead_are_remembered() -> None:
    """Each of 5,000 strangers is ahead of the backlog by its own ten tokens, and not for long."""
    queue = FairQueue(patience_s=10.0)
    most = 0
    for i in range(5000):
        queue.add(request(10_000 + i, "backlog"))
        queue.add(request(i, f"tenant {i}"))
        queue.take()
        queue.take()
        most = max(most, remembered(queue))
    assert most < 600


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    """Before anybody waits behind it for ever."""
    with pytest.raises(ConfigError, match="the weight of tenant 'gold' is"):
        FairQueue(patience_s=10.0, weights={"gold": weight})
