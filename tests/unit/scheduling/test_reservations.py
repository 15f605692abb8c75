"""Bytes are held while a body comes, and settled for tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import ConfigError
from headgate.scheduling import Reservations


def test_a_call_is_let_in_up_to_the_bound_and_not_above_it() -> None:
    r = Reservations(max_bytes=10, max_tokens=5)
    first, second = r.open(), r.open()
    assert r.hold(first, 6) is None
    assert r.hold(second, 5) == "bytes_full"
    assert r.hold(second, 4) is None
    assert r.held_bytes == 10


def test_what_no_wait_would_make_fit_is_not_asked_to_come_back() -> None:
    r = Reservations(max_bytes=10, max_tokens=5)
    call = r.open()
    assert r.hold(call, 6) is None
    assert r.hold(call, 5) == "too_large"
    assert r.hold(call, 4) is None
    assert r.settle(call, 6) == "too_large"
    assert (r.held_bytes, r.held_tokens) == (0, 0)


def test_a_call_whose_tokens_do_not_fit_is_refused_whole() -> None:
    r = Reservations(max_bytes=10, max_tokens=5)
    first, second = r.open(), r.open()
    assert r.hold(first, 5) is None
    assert r.hold(second, 5) is None
    assert r.settle(first, 3) is None
    assert r.settle(second, 3) == "tokens_full"
    assert (r.held_bytes, r.held_tokens) == (0, 3)


def test_a_call_cannot_be_settled_twice() -> None:
    r = Reservations(max_bytes=10, max_tokens=5)
    call = r.open()
    assert r.settle(call, 1) is None
    with pytest.raises(KeyError):
        r.settle(call, 1)
    with pytest.raises(KeyError):
        r.hold(call, 1)


@pytest.mark.parametrize("bounds", [(0, 1), (1, 0)])
def test_bounds_that_let_nothing_in_are_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="nothing could be let in"):
        Reservations(max_bytes=bounds[0], max_tokens=bounds[1])


@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "hold", "settle", "release"]), st.integers(0, 30)),
        max_size=60,
    )
)
def test_the_bounds_hold_and_everything_comes_back(steps: list[tuple[str, int]]) -> None:
    r = Reservations(max_bytes=40, max_tokens=25)
    unsettled: list[int] = []
    calls: list[int] = []
    for step, n in steps:
        if step == "open":
            unsettled.append(r.open())
            calls.append(unsettled[-1])
        elif step == "hold" and unsettled:
            r.hold(unsettled[n % len(unsettled)], n)
        elif step == "settle" and unsettled:
            r.settle(unsettled.pop(n % len(unsettled)), n)
        elif step == "release" and calls:
            gone = calls.pop(n % len(calls))
            unsettled = [c for c in unsettled if c != gone]
            r.release(gone)
            r.release(gone)
        assert 0 <= r.held_bytes <= 40
        assert 0 <= r.held_tokens <= 25
    for call in calls:
        r.release(call)
    assert (r.held_bytes, r.held_tokens) == (0, 0)
