"""The alarm holds its peace on any stationary traffic, and rings when somebody is forgotten."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.runtime.littles_law import LittlesLaw


class Traffic:
    """A queue served in order, whose gauge and departures an alarm is told of."""

    def __init__(self, law: LittlesLaw) -> None:
        self.law = law
        self.in_flight = 0
        self.rang = 0

    def run(self, stays: list[tuple[float, float]], *, lost: int = 0, clock: float = 1.0) -> None:
        """``stays``: (arrived_s, left_s). The first ``lost`` never leave; ``clock`` is how much of
        their time those who leave are said to have stayed."""
        events = [(arrived_s, 1, 0.0) for arrived_s, _ in stays]
        events += [(left_s, -1, clock * (left_s - arrived_s)) for arrived_s, left_s in stays[lost:]]
        for now_s, change, stayed_s in sorted(events):
            self.in_flight += change
            if change < 0:
                self.law.left(1, stayed_s)
            self.rang += self.law.changed(self.in_flight, now_s)


def steady(n: int, stay_s: float) -> list[tuple[float, float]]:
    return [(i * 0.1, i * 0.1 + stay_s) for i in range(n)]


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    mean_gap_s=st.floats(0.005, 0.2),
    shape=st.floats(0.2, 5.0),
    mean_stay_s=st.floats(0.001, 0.4),
)
def test_the_law_holds_for_any_arrivals_and_any_stays(seed, mean_gap_s, shape, mean_stay_s):
    rng = np.random.default_rng(seed)
    at_s = np.cumsum(rng.gamma(shape, mean_gap_s / shape, 2000))
    left_s = at_s + rng.exponential(mean_stay_s, 2000)
    law = LittlesLaw()
    traffic = Traffic(law)
    traffic.run(list(zip(at_s.tolist(), left_s.tolist(), strict=True)))
    assert traffic.rang == 0
    assert law.error is None or law.error <= 0.15


def test_steady_traffic_is_judged_and_found_exact():
    law = LittlesLaw()
    Traffic(law).run(steady(500, 0.05))
    assert law.windows == 4
    assert law.error == pytest.approx(0.0, abs=1e-9)


def test_a_caller_who_is_forgotten_rings():
    law = LittlesLaw()
    traffic = Traffic(law)
    traffic.run(steady(400, 0.05), lost=1)
    assert traffic.rang == law.breaches > 0
    # One is there all the time, beside half a one on average.
    assert law.error == pytest.approx(1 / 1.5, abs=0.01)


def test_times_that_are_taken_wrongly_ring():
    law = LittlesLaw()
    Traffic(law).run(steady(400, 0.05), clock=0.8)
    assert law.breaches > 0
    assert law.error == pytest.approx(0.2, abs=0.01)


def test_a_queue_that_grows_is_no_matter_of_instruments():
    law = LittlesLaw()
    Traffic(law).run([(i * 0.1, i * 0.2 + 1.0) for i in range(600)])
    assert law.windows == 0
    assert law.breaches == 0


def test_few_who_left_say_nothing():
    law = LittlesLaw()
    Traffic(law).run([(i * 1.0, i * 1.0 + 0.5) for i in range(60)])
    assert law.windows == 0


def test_stays_as_long_as_the_window_say_nothing():
    law = LittlesLaw()
    Traffic(law).run(steady(900, 5.05))
    assert law.windows == 0


def test_answers_out_of_a_cache_alone_are_no_matter_for_it():
    """Nobody is in flight for any time, which is no error, and none that can be told either."""
    law = LittlesLaw()
    for i in range(1000):
        law.left(1, 0.0)
        assert not law.changed(0, i * 0.05)
    assert law.windows == 0
