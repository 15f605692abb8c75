"""From a forecast of the loss to one of what an endpoint counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from headgate.distillation import WAY, Forecast, Way, forecast_metric, standard_errors
from headgate.errors import Undecided
from headgate.theory.hierarchy import Measured

SURE = Forecast((0.1,) * 2000, 0.9)
"""The loss is known: half of the pilot's."""


ALIKE = [Measured(harm, 0.01) for harm in (0.99, 1.0, 1.01, 1.0, 0.99, 1.01)]
"""Trainings that lost what the way to their pilot said."""


def told(
    loss: Forecast,
    *,
    n: int = 1000,
    items: int = 1000,
    harms: Sequence[Measured] = ALIKE,
) -> Forecast:
    """Of n items each loses 0.1 at the pilot's loss, and in proportion before; half of them twice
    that and half of them nothing."""
    half = np.repeat([0.2, 0.0], n // 2)
    way = Way.of({share: (share * half).tolist() for share in WAY})
    rng = np.random.default_rng(0)
    return forecast_metric(loss, pilot_loss=0.2, way=way, items=items, harms=harms, rng=rng)


def test_the_metric_is_read_at_the_forecast_loss() -> None:
    """Half of the pilot's loss, half of what it loses."""
    made = told(SURE)
    assert made.median == pytest.approx(0.05, abs=0.003)
    assert made.lower < 0.05 < made.upper
    assert made.coverage == 0.9


def test_a_student_like_its_teacher_loses_nothing() -> None:
    """At a loss of 0 there is neither a difference nor luck."""
    made = told(Forecast((0.0,) * 100, 0.9))
    assert (made.lower, made.upper) == (0.0, 0.0)


def test_fewer_items_and_a_vaguer_loss_make_it_wider() -> None:
    """Each of the three: the sample, what it stands for, and the loss."""

    def width(made: Forecast) -> float:
        return made.upper - made.lower

    vague = Forecast(tuple(np.linspace(0.02, 0.18, 2000)), 0.9)
    least = width(told(SURE))
    assert width(told(SURE, n=8)) > 1.5 * least
    assert width(told(SURE, items=8)) > 1.5 * least
    assert width(told(vague)) > 1.5 * least


def test_luck_is_what_text_and_run_do_not_explain() -> None:
    """Hard texts are hard for all; a run that is off on single texts has an error."""
    rng = np.random.default_rng(1)
    hard = rng.uniform(0.5, 2.0, 400)
    same = np.outer([0.3, 0.2], hard)
    noisy = same * (1 + 0.5 * rng.standard_normal(same.shape))
    assert standard_errors(same) == pytest.approx(0.05 * same.mean(axis=1))
    found, expected = standard_errors(noisy), 0.25 * same.std(axis=1)
    assert (found > 2 * standard_errors(same)).all() or (found >= expected / 20).all()


def test_other_errors_do_the_harm_that_they_did_before() -> None:
    """Where trainings lost half of what was said, so will this; where they differ, who knows."""
    halves = [Measured(each.value / 2, each.error) for each in ALIKE]
    assert told(SURE, harms=halves).median == pytest.approx(0.025, abs=0.003)
    apart = told(SURE, harms=[Measured(h, 0.01) for h in (0.2, 1.8, 0.5, 1.5, 1.0, 1.0)])
    alike = told(SURE)
    assert apart.upper - apart.lower > 2 * (alike.upper - alike.lower)


def test_a_sample_that_is_all_items_has_no_luck_of_its_own() -> None:
    """What is left is the luck of these items alone."""
    half = np.repeat([0.2, 0.0], 500)
    way = Way.of({share: (share * half).tolist() for share in WAY})
    at = np.array([1.0])
    assert way.luck(at, 1000)[0] == pytest.approx(half.std(ddof=1) / np.sqrt(1000))
    assert way.luck(at, 10**9)[0] == pytest.approx(half.std(ddof=1) / np.sqrt(1000), rel=1e-3)
    assert way.lost(at)[0] == pytest.approx(0.1)


def test_one_item_says_nothing() -> None:
    """A mean of one has no error."""
    with pytest.raises(Undecided, match="two items at least"):
        told(SURE, n=0)
