"""How old what is served is, by clocks that are set while it serves."""

from __future__ import annotations

from headgate.release import Age
from headgate.testing import ManualClock

MADE_AT_S = 1_700_000_000.0
DAY_S = 86_400.0


class Looks:
    """A look a second. ``step_s`` is how far somebody has set the wall clock."""

    def __init__(self, age_s: float) -> None:
        self.clock = ManualClock(5_000.0)
        self.step_s = 0.0
        self._wall_s = MADE_AT_S + age_s - self.clock.now_s()
        self._age = Age()

    def look(self, seconds: int = 1) -> list[float | None]:
        said = []
        for _ in range(seconds):
            now_s = self.clock.advance(1.0)
            said.append(self._age.of(MADE_AT_S, wall_s=self._wall_s + now_s + self.step_s,
                                     now_s=now_s))  # fmt: skip
        return said


def test_age_is_known_once_the_clocks_have_gone_alike_for_a_minute() -> None:
    """And then at every look."""
    looks = Looks(DAY_S)
    assert looks.look(60) == [None] * 60
    assert looks.look(2) == [DAY_S + 61, DAY_S + 62]


def test_a_step_that_is_taken_back_changes_nothing() -> None:
    """A year on and back again, within the minute: at no look it is a year old."""
    looks = Looks(DAY_S)
    looks.look(100)
    looks.step_s = 365 * DAY_S
    assert looks.look(59) == [None] * 59
    looks.step_s = 0.0
    assert looks.look(60) == [None] * 60
    assert looks.look() == [DAY_S + 220]


def test_a_clock_that_is_set_back_makes_nothing_young() -> None:
    """Not for a minute; and who sets the clock of a machine for good is believed after it."""
    looks = Looks(30 * DAY_S)
    looks.look(100)
    looks.step_s = -10 * DAY_S
    assert looks.look(60) == [None] * 60
    assert looks.look() == [20 * DAY_S + 161]


def test_a_machine_that_slept_knows_its_age_a_minute_after_it_woke() -> None:
    """Monotonic time stood still; the wall clock says how long it slept."""
    looks = Looks(DAY_S)
    looks.look(100)
    looks.step_s = 7 * DAY_S
    assert looks.look(60) == [None] * 60
    assert looks.look() == [8 * DAY_S + 161]


def test_a_clock_that_is_steered_is_no_step() -> None:
    """Half a millisecond a second, as time servers do: age is known all along."""
    looks = Looks(DAY_S)
    looks.look(100)
    for _ in range(10_000):
        looks.step_s += 0.0005
        assert looks.look() != [None]


def test_what_is_made_in_the_future_has_no_age() -> None:
    """One of the clocks was wrong, and nobody knows which: it is neither young nor old."""
    assert set(Looks(-DAY_S).look(200)) == {None}
