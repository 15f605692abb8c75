"""The next of a kind, from some before it."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.errors import InputError
from headgate.theory.hierarchy import Measured, next_of_a_kind


def interval(seen: list[Measured]) -> tuple[float, float]:
    made = next_of_a_kind(seen, size=4000, rng=np.random.default_rng(0))
    low, high = np.quantile(made, [0.05, 0.95])
    return float(low), float(high)


def width(seen: list[Measured]) -> float:
    low, high = interval(seen)
    return high - low


@pytest.mark.parametrize(("between", "error"), [(0.3, 0.01), (0.3, 0.3), (0.05, 0.3)])
def test_nine_of_ten_that_follow_are_in_the_interval(between: float, error: float) -> None:
    """Whether they differ more than their measurements err, or less."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        own = 1 + between * rng.standard_normal(9)
        seen = [Measured(float(v + error * rng.standard_normal()), error) for v in own[:-1]]
        low, high = interval(seen)
        held += low <= own[-1] <= high
    assert held >= 174


def test_what_differs_less_than_it_was_measured_may_be_one_value() -> None:
    """Errors of 0.3 explain a spread of 0.3; errors of 0.01 do not, and the next may lie there."""
    values = [0.7, 1.3, 1.0, 0.8, 1.2, 1.0, 1.1, 0.9]
    vague, exact = ([Measured(v, error) for v in values] for error in (0.3, 0.01))
    assert width(vague) < width(exact)


def test_a_poor_measurement_counts_for_little() -> None:
    """One that is far off, and says so, moves the others' middle by a hundredth of that."""
    good = [Measured(v, 0.02) for v in (0.9, 1.0, 1.1, 1.0, 0.95, 1.05)]
    low, high = interval(good)
    shifted = interval([*good, Measured(5.0, 10.0)])
    assert shifted == pytest.approx((low, high), abs=0.05)


def test_few_say_less_than_many() -> None:
    """Four that are spread like forty leave more open."""
    four = [Measured(v, 0.01) for v in (0.9, 1.1, 0.9, 1.1)]
    assert width(four) > 1.5 * width(four * 10)


def test_three_are_too_few_and_nothing_is_measured_exactly() -> None:
    """Of three a flat prior on their spread leaves anything possible."""
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="3 of a kind say too little"):
        next_of_a_kind([Measured(1.0, 0.1)] * 3, size=10, rng=rng)
    with pytest.raises(InputError, match="above 0"):
        next_of_a_kind([Measured(1.0, 0.0)] * 4, size=10, rng=rng)
