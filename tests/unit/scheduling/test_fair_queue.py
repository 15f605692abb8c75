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


def test_of_another_tenants_flood_only_its_share_is_ahead() -> None:
    """Of ten tokens each: one starts level with the first of b, two with the second."""
    queue = filled(*map(request, range(100)))
    assert queue.ahead_of([request(100, "b")]) == (1, 10)
    assert queue.ahead_of([request(100, "b"), request(101, "b")]) == (2, 20)
    assert queue.ahead_of([request(100, "a")]) == (100, 1000)
    assert filled().ahead_of([request(100, "b")]) == (0, 0)


def test_a_deadline_overtakes_the_patient_and_nobody_who_was_promised_one() -> None:
    """Ten who can wait and one due in an hour: only the last has its word."""
    queue = filled(*map(request, range(10)), request(10, deadline_s=3600.0))
    assert queue.ahead_of([request(11, deadline_s=11.5)]) == (3, 30)
    assert queue.ahead_of([request(11, deadline_s=9.5)]) == (1, 10)
    queue.remove(0)
    assert queue.ahead_of([request(11, deadline_s=11.5)]) == (2, 20)
    assert queue.ahead_of([request(11)]) == (10, 100)


waiters = st.tuples(
    st.sampled_from("abcd"),
    st.integers(0, 3),  # priority
    st.none() | st.integers(1, 60).map(float),  # deadline
)


@given(
    st.lists(waiters, max_size=60),
    st.integers(0, 20),
    waiters,
    st.integers(1, 4),
    st.fixed_dictionaries({name: st.integers(1, 50) for name in "abcd"}),
)
def test_nothing_is_taken_before_a_newcomer_that_was_not_foreseen(
    waiting: list[tuple[str, int, float | None]],
    takes: int,
    newcomer: tuple[str, int, float | None],
    size: int,
    tokens: dict[str, int],
) -> None:
    """Nor is much foreseen that is not: of each other tenant one more, and those who were
    promised a deadline. Each tenant has its own length."""
    queue = FairQueue(patience_s=20.0, weights={"b": 2.5, "c": 0.3})

    def one(i: int, of: tuple[str, int, float | None]) -> Request:
        tenant, priority, deadline_s = of
        fields = {"priority": priority, "deadline_s": deadline_s, "arrived_at_s": 0.0}
        return request(i, tenant, tokens[tenant], **fields)

    for i, of in enumerate(waiting):
        queue.add(one(i, of))
    for _ in range(takes):
        queue.take()
    call = [one(1000 + i, newcomer) for i in range(size)]
    promised = sum(tokens[t] for t, _, deadline_s in waiting if deadline_s and t == newcomer[0])
    foreseen, foreseen_tokens = queue.ahead_of(call)
    for each in call:
        queue.add(each)

    before: list[Request] = []
    while (taken := queue.take()) is not None and taken.id != call[-1].id:
        before += [taken] * (taken.id < 1000)
    before_tokens = sum(r.tokens for r in before)
    assert len(before) <= foreseen
    assert before_tokens <= foreseen_tokens <= before_tokens + promised + sum(tokens.values()) + 1


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
