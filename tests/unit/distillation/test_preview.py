"""Advice from a forecast and a price."""

from __future__ import annotations

import math

import pytest

from headgate.distillation import Advice, Forecast, break_even_requests, preview

DRAWS = tuple(i / 1000 for i in range(1, 101))
"""Losses of 0.1 % to 10 %, equally likely."""


def advice(margin: float, *, student_cost: float = 1e-6, expected: float = math.inf) -> Advice:
    return preview(
        Forecast(DRAWS, 0.9),
        margin=margin,
        training_cost=0.01,
        cost_per_request=2e-6,
        student_cost_per_request=student_cost,
        expected_requests=expected,
    ).advice


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        (0.019, Advice.DO_NOT_TRAIN),
        (0.02, Advice.LEARN_MORE),
        (0.049, Advice.LEARN_MORE),
        (0.05, Advice.TRAIN),
    ],
)
def test_advice_follows_the_chance_to_meet_the_contract(margin: float, expected: Advice) -> None:
    """Below one in five not, from one half on yes, and between them more is to be learnt."""
    assert advice(margin) == expected


def test_a_student_that_saves_nothing_is_not_trained() -> None:
    """However good it would be."""
    assert advice(0.1, student_cost=2e-6) == Advice.DO_NOT_TRAIN


def test_a_student_that_pays_too_late_is_not_trained() -> None:
    """Training for 10,000 requests' savings is worth it with 10,000 to come, not with 9,999."""
    assert advice(0.1, expected=10_000) == Advice.TRAIN
    assert advice(0.1, expected=9_999) == Advice.DO_NOT_TRAIN


def test_negative_costs_are_refused() -> None:
    """A price below zero is a mistake, not a saving."""
    with pytest.raises(ValueError, match="at least 0"):
        break_even_requests(-1, 2, 1)
