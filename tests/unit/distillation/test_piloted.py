"""A student with its pilots behind it, and what became of others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headgate.distillation import RECORDED, WAY, Finished, Piloted, Recipe, plan_pilots
from headgate.theory.hierarchy import Measured

ITEMS = 1300
PLAN = plan_pilots(Recipe(), teacher_layers=6, evaluation_texts=3800)
KIND = [
    Finished(Measured(0.15 + off, 0.002), {"recall@10": Measured(0.8 + 4 * off, 0.02)})
    for off in (-0.02, 0.02, -0.01, 0.01, 0.0, 0.0)
]
"""Trainings whose loss fell by the power 0.15 of their texts, and lost four fifths of what the way
said."""


def piloted(*, start: float = 0.3, at_pilot: float = 0.1) -> Piloted:
    """A start, pilots that gained a few per cent on it, and what the longest loses of recall."""
    assert PLAN is not None
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.7, 1.3, PLAN.validation_texts)
    losses = np.outer(start * np.array([1.0, 0.99, 0.98, 0.95]), hard)
    flips = rng.permutation(
        np.repeat([1.0, 0.0], [round(600 * at_pilot), round(600 * (1 - at_pilot))])
    )
    lost = {str(share): (share * flips).tolist() for share in WAY}
    found = {"losses": losses.tolist(), "lost": {"recall@10": lost}}
    return Piloted.from_json(Recipe(), PLAN, found, items=ITEMS)


def test_a_student_is_forecast_as_others_became() -> None:
    """From its start by their power, and from its way by their share of it."""
    student = piloted()
    loss = student.loss_forecast(KIND, np.random.default_rng(0))
    expected = student.anchors[0].loss * student.more_texts**-0.15
    assert loss.median == pytest.approx(expected, rel=0.08)
    lost = student.forecasts(KIND, np.random.default_rng(0))["recall@10"]
    assert lost.median == pytest.approx(0.8 * 0.1 * expected / student.anchors[-1].loss, rel=0.15)
    assert lost.lower < lost.median < lost.upper


def test_what_became_of_a_student_says_the_same_of_the_next() -> None:
    """Six that became what one was forecast to become, with hardly a spread: so will the next."""
    student = piloted()
    became = student.finished(loss=0.15, lost={"recall@10": 0.04})
    assert became.fall.value == pytest.approx(
        math.log(student.anchors[0].loss / 0.15) / math.log(student.more_texts)
    )
    again = student.forecasts([became] * 6, np.random.default_rng(0))["recall@10"]
    assert again.median == pytest.approx(0.04, rel=0.1)


def test_a_way_on_which_nothing_is_lost_tells_nothing_of_harm() -> None:
    """A share of nothing could be anything; how its loss fell still counts."""
    became = piloted(at_pilot=0.002).finished(loss=0.15, lost={"recall@10": 0.01})
    assert became.harm == {}
    assert became.fall.value > 0
    told = piloted().forecasts([*KIND, became], np.random.default_rng(0))["recall@10"]
    assert told.upper < 0.1


def test_what_is_recorded_is_enough_for_any_student() -> None:
    """Four trainings at least tell of each metric; none gained by its training."""
    for metric in ("recall@10", "mrr@10"):
        assert sum(metric in each.harm for each in RECORDED) >= 4
    assert all(each.fall.value > 0 < each.fall.error for each in RECORDED)
