"""Betting against a claim: where trouble began, and what is refuted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.theory.betting import (
    BETS,
    Capital,
    Change,
    against_at_least,
    against_at_most,
    lower_bound,
)

SHARES = st.lists(st.integers(0, 1000).map(lambda n: n / 1000), min_size=1, max_size=40)


@given(SHARES, st.floats(0.01, 0.99))
def test_a_change_is_where_the_rounds_begin_that_gained_most(xs: list[float], bound: float) -> None:
    """Of all that end now, under whichever bet."""
    gains = [against_at_most(x, bound) for x in xs]
    change = Change[int]()
    for i, gain in enumerate(gains):
        change.play(gain, i)

    def gained(since: int) -> float:
        return max(sum(gain[bet] for gain in gains[since:]) for bet in range(len(BETS)))

    assert gained(change.since) == pytest.approx(max(map(gained, range(len(xs)))))


@given(SHARES, st.floats(0.01, 0.99))
def test_what_is_refuted_was_left_by_the_mean_of_the_rounds_since(
    xs: list[float], bound: float
) -> None:
    """Both ways: a value that is told beside the verdict never contradicts it."""
    broken, broke, kept, mended = Capital(), Change[int](), Capital(), Change[int]()
    for i, x in enumerate(xs):
        worse, better = against_at_most(x, bound), against_at_least(x, bound, 1.0)
        broken.play(worse)
        broke.play(worse, i)
        kept.play(better)
        mended.play(better, i)
        since = xs[broke.since : i + 1]
        if broken.log > 0:
            assert sum(since) / len(since) > bound
        since = xs[mended.since : i + 1]
        if kept.log > 0:
            assert sum(since) / len(since) < bound


@given(SHARES, st.floats(0.01, 0.5))
def test_a_lower_bound_is_refuted_and_what_is_above_it_is_not(
    xs: list[float], alpha: float
) -> None:
    """By the same capital: what is told as shown is what was shown."""
    low, needed = lower_bound(xs, alpha=alpha), -math.log(alpha)
    for bound, refuted in ((low, True), (low + 1e-3, False)):
        capital = Capital()
        for x in xs:
            capital.play(against_at_most(x, max(bound, 1e-9)))
        assert (capital.log >= needed) is refuted or bound == 0


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
