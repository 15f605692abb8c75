"""Who escalates, and the threshold that keeps a declared risk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from headgate.distillation import (
    disagreements,
    escalates,
    learn_threshold,
    lost_answers,
    margins,
)
from headgate.theory.significance import binomial_p_value

SCORES = arrays(np.float32, (7, 3), elements=st.floats(-50, 50, width=32))


@given(SCORES, st.floats(0, 20), st.integers(0, 6))
def test_who_escalates_is_a_property_of_the_item_alone(
    scores: NDArray[np.float32], threshold: float, first: int
) -> None:
    """However the batch is cut, the same items escalate."""
    whole = escalates(scores, threshold, "classify")
    parts = [escalates(rows, threshold, "classify") for rows in (scores[:first], scores[first:])]
    assert whole.tolist() == np.concatenate(parts).tolist()


@given(SCORES, st.floats(0, 20), st.floats(0, 20))
def test_a_higher_threshold_escalates_no_less(
    scores: NDArray[np.float32], a: float, b: float
) -> None:
    low, high = sorted((a, b))
    assert not (escalates(scores, low, "classify") & ~escalates(scores, high, "classify")).any()


def test_what_is_no_number_escalates_under_any_threshold() -> None:
    """A student that answers NaN is not believed, not even at threshold 0."""
    scores = np.array([[np.nan, 1.0], [np.nan, np.nan], [1.0, 0.0], [np.inf, 0.0]])
    assert escalates(scores, 0.0, "classify").tolist() == [True, True, False, False]


def test_one_class_has_no_margin() -> None:
    with pytest.raises(ValueError, match="two classes"):
        margins(np.zeros((4, 1)))


def test_an_answer_is_lost_where_the_teacher_has_it_right_and_the_student_not() -> None:
    """Teacher right, wrong, wrong; student wrong, right, wrong in another way."""
    teacher, student = np.eye(3)[[0, 1, 1]], np.eye(3)[[1, 0, 2]]
    assert lost_answers(student, teacher, np.array([0, 0, 0])).tolist() == [True, False, False]
    assert disagreements(student, teacher).tolist() == [True, True, True]


def test_the_lowest_threshold_that_the_test_allows_is_taken() -> None:
    """Of 1,000 items four may be lost, and the fifth would break the bound."""
    margin = np.linspace(1, 0, 1000)
    lost = np.zeros(1000, bool)
    lost[[100, 200, 300, 400, 500]] = True
    found = learn_threshold(margin, lost, 0.01)
    assert found is not None
    kept = round(1000 * (1 - found.escalated_share))
    assert found.lost_share == 0.004
    assert kept == 500  # the fifth loss is not allowed
    assert margin[kept] < found.least < margin[kept - 1]
    assert found.risk_bound <= 0.01
    assert binomial_p_value(4, 1000, 0.01) <= 0.05 < binomial_p_value(5, 1000, 0.01)


def test_equal_margins_are_kept_together_or_not_at_all() -> None:
    """500 items share a margin, and among them is one loss too many."""
    margin = np.repeat([0.75, 0.5, 0.25], [300, 500, 200])
    lost = np.zeros(1000, bool)
    lost[795:800] = True
    found = learn_threshold(margin, lost, 0.01)
    assert found is not None
    assert found.escalated_share == 0.7
    assert 0.5 < found.least < 0.75


@pytest.mark.parametrize(("n", "found"), [(298, False), (299, True)])
def test_without_enough_items_no_threshold_keeps_the_risk(n: int, found: bool) -> None:
    """The rule of three: nothing lost of 298 still allows a risk above 1 % at 95 %."""
    threshold = learn_threshold(np.linspace(1, 0, n), np.zeros(n, bool), 0.01)
    assert (threshold is not None) is found


def test_a_student_that_is_wrong_where_it_is_surest_is_never_kept() -> None:
    lost = np.zeros(1000, bool)
    lost[:20] = True
    found = learn_threshold(np.linspace(1, 0, 1000), lost, 0.01)
    assert found is None or found.lost_share <= 0.004


def test_a_student_without_numbers_is_never_kept() -> None:
    nothing = np.full(1000, np.nan)
    assert learn_threshold(nothing, np.zeros(1000, bool), 0.01) is None


@pytest.mark.parametrize("coarse", [False, True], ids=["continuous", "three margins"])
@pytest.mark.parametrize("harm", [0.05, 0.3])
def test_the_risk_is_kept_in_nineteen_of_twenty_calibrations(harm: float, coarse: bool) -> None:
    """A world whose truth is known: an item of margin m is lost with probability harm*(1-m)^2, so
    the risk of threshold t is harm*(1-t)^3/3. 600 calibrations of 800 items."""
    rng = np.random.default_rng(0)
    risk, broken = 0.01, 0
    for _ in range(600):
        margin = rng.uniform(size=800)
        if coarse:
            margin = np.floor(margin * 3) / 3
        lost = rng.uniform(size=800) < harm * (1 - margin) ** 2
        found = learn_threshold(margin, lost, risk)
        if found is None:
            continue
        if coarse:
            grid = np.array([0, 1 / 3, 2 / 3])
            truth = float((harm * (1 - grid) ** 2 * (grid >= found.least)).sum() / 3)
        else:
            truth = harm * (1 - found.least) ** 3 / 3
        broken += truth > risk
    assert broken / 600 <= 0.05 + 0.02  # two standard errors


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=100, max_size=400),
    st.sampled_from([0.02, 0.1, 0.3]),
)
def test_the_test_that_was_passed_is_the_threshold_s_own(
    items: list[tuple[float, bool]], risk: float
) -> None:
    """Whatever is found is what the policy would do on these items, and it passes."""
    margin, lost = np.array([m for m, _ in items]), np.array([x for _, x in items])
    found = learn_threshold(margin, lost, risk)
    if found is None:
        assert binomial_p_value(0, len(items), risk) > 0.05 or lost[margin == margin.max()].any()
        return
    kept = ~escalates(np.stack([margin, 0 * margin], axis=1), found.least, "classify")
    assert found.escalated_share == pytest.approx(1 - kept.mean())
    assert found.lost_share == pytest.approx((kept & lost).mean())
    assert binomial_p_value(int((kept & lost).sum()), len(items), risk) <= 0.05
