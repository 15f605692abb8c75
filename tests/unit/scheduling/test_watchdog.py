"""When an engine call is given up, and what is no engine's fault."""

from __future__ import annotations

import pytest

from headgate.scheduling import Watchdog


@pytest.mark.parametrize(("predicted_s", "patience_s"), [(0.001, 5.0), (0.5, 5.0), (3.0, 30.0)])
def test_a_call_has_ten_times_its_prediction_and_five_seconds_at_least(
    predicted_s: float, patience_s: float
) -> None:
    """A short one may stand still for a while, a long one may take long."""
    dog = Watchdog()
    give_up_s = dog.give_up_s(100.0, predicted_s)
    now_s = 100.0
    while now_s < 100.0 + patience_s:
        assert not dog.overdue(give_up_s, now_s)
        dog.look(now_s)
        now_s += 1.0
    assert dog.overdue(give_up_s, 100.0 + patience_s)


def test_both_bounds_are_arguments() -> None:
    """Times the prediction, or seconds, whichever is longer."""
    dog = Watchdog(times=2.0, at_least_s=1.0)
    assert dog.give_up_s(0.0, 0.1) == 1.0
    assert dog.give_up_s(0.0, 4.0) == 8.0


def test_a_process_that_stood_still_blames_no_engine() -> None:
    """An hour between two looks, be it a suspended machine or a clock that jumped: of it two
    seconds count, and from then on time counts again."""
    dog = Watchdog()
    dog.look(0.0)
    give_up_s = dog.give_up_s(0.5, 0.001)
    assert not dog.overdue(give_up_s, 3600.0)
    dog.look(3600.0)
    assert not dog.overdue(give_up_s, 3600.0)
    for second in (1, 2, 3):
        assert not dog.overdue(give_up_s, 3600.0 + second)
        dog.look(3600.0 + second)
    assert dog.overdue(give_up_s, 3603.5)


def test_a_call_that_began_while_nobody_looked_has_its_time_all_the_same() -> None:
    """Whatever stood still before, it has five seconds of its own."""
    dog = Watchdog()
    dog.look(0.0)
    give_up_s = dog.give_up_s(10.0, 0.001)  # looks are late
    dog.look(11.0)
    dog.look(13.0)
    dog.look(15.0)
    assert not dog.overdue(give_up_s, 15.9)
    assert dog.overdue(give_up_s, 16.0)


def test_looking_says_when_somebody_looked_before() -> None:
    """Never, at first."""
    dog = Watchdog()
    assert dog.look(1.0) == -float("inf")
    assert dog.look(2.0) == 1.0
