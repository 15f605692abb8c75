"""Betting: the bound that is told is the one that the capital refutes, and telling it is quick."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from headgate.theory.betting import Capital, against_at_most, lower_bound


def capital_against(bound: float, xs: list[float], rounds_before: int) -> float:
    capital = Capital(rounds_before)
    for x in xs:
        capital.play(against_at_most(x, bound))
    return capital.log


@pytest.mark.parametrize("rounds_before", [0, 3_600])
@pytest.mark.parametrize("scale", [1.0, 1e-4, 50.0])
def test_what_is_shown_is_what_the_capital_refutes(scale: float, rounds_before: int) -> None:
    """Just below the bound it is refuted, and just above it is not."""
    rng = np.random.default_rng(3)
    xs = (scale * rng.beta(2, 3, 100)).tolist()
    low = lower_bound(xs, alpha=0.01, rounds_before=rounds_before)
    enough = -math.log(0.01)
    assert 0 < low < scale * 0.4
    assert capital_against(low * (1 - 1e-4), xs, rounds_before) >= enough
    assert capital_against(low * (1 + 1e-4), xs, rounds_before) < enough


def test_of_nothing_nothing_is_shown() -> None:
    """Nor of a few rounds."""
    assert lower_bound([], alpha=0.05) == 0.0
    assert lower_bound([0.0] * 100, alpha=0.05) == 0.0


def test_a_breach_holds_up_no_request() -> None:
    """It is told on the event loop, with the bound that two minutes of seconds show."""
    took_s = []
    for _ in range(10):
        began_s = time.perf_counter()
        lower_bound([0.3] * 120, alpha=0.001, rounds_before=9_000)
        took_s.append(time.perf_counter() - began_s)
    assert min(took_s) < 0.005
