"""Who escalates, and the threshold that keeps a declared risk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from headgate.distillation import (
    answers,
    disagreements,
    escalates,
    learn_threshold,
    lost_answers,
    lost_worth,
    margins,
    sureness,
)
from headgate.theory.risk import risk_p_values
from headgate.theory.significance import binomial_p_value

SCORES = arrays(np.float32, (7, 3), elements=st.floats(-50, 50, width=32))


TASKS = st.sampled_from(["classify", "predict"])


@given(SCORES, st.floats(0, 20), st.integers(0, 6), TASKS)
def test_who_escalates_is_a_property_of_the_item_alone(
    scores: NDArray[np.float32], threshold: float, first: int, task: str
) -> None:
    """However the batch is cut, the same items escalate."""
    whole = escalates(scores, threshold, task)
    parts = [escalates(rows, threshold, task) for rows in (scores[:first], scores[first:])]
    assert whole.tolist() == np.concatenate(parts).tolist()


@given(SCORES, st.floats(0, 20), st.floats(0, 20), TASKS)
def test_a_higher_threshold_escalates_no_less(
    scores: NDArray[np.float32], a: float, b: float, task: str
) -> None:
    """And at 0 nobody escalates who answers with numbers."""
    low, high = sorted((a, b))
    assert not (escalates(scores, low, task) & ~escalates(scores, high, task)).any()
    assert not escalates(scores, 0.0, task).any()


def test_a_value_is_as_sure_as_its_student_says() -> None:
    """It says how far off it may be, as a logarithm, in the last column: never seen by a caller."""
    outputs = np.array([[3.0, 4.0, np.log(2.0)], [5.0, 6.0, np.log(0.5)]])
    assert sureness(outputs, "predict") == pytest.approx([0.5, 2.0])
    assert escalates(outputs, 1.0, "predict").tolist() == [True, False]
    assert answers(outputs, "predict").tolist() == [[3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize("row", [[np.nan, 0.0], [np.inf, 0.0], [1.0, np.nan], [1.0, np.inf]])
def test_a_value_that_is_no_number_is_never_kept(row: list[float]) -> None:
    """Nor one that may be infinitely far off, but where everything is."""
    assert escalates(np.array([row]), 1e-9, "predict").all()


def test_a_doubt_that_is_no_number_is_not_the_surest() -> None:
    """Its exponential would be infinitely sure, or 0; at threshold 0 everything is kept that is
    a number."""
    rows = np.array([[1.0, -np.inf], [1.0, np.nan], [1.0, np.inf], [1.0, -800.0]])
    assert escalates(rows, 0.0, "predict").tolist() == [True, True, False, False]
    assert escalates(rows, 1e300, "predict").tolist() == [True, True, True, False]


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 2, 2)])
def test_a_value_without_its_doubt_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two columns or more"):
        sureness(np.zeros(shape), "predict")


def test_what_is_lost_of_a_value_is_how_much_worse_it_is() -> None:
    """As a share of the range; better is not set off, and what is not known is lost whole."""
    teacher, student = [1.0, 1.0, 3.0, None, 2.0], [3.0, 0.0, 3.0, 1.0, None]
    lower = lost_worth(student, teacher, span=4.0, higher=False)
    assert lower.tolist() == [0.5, 0.0, 0.0, 1.0, 1.0]
    higher = lost_worth(student, teacher, span=4.0, higher=True)
    assert higher.tolist() == [0.0, 0.25, 0.0, 1.0, 1.0]


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


def test_who_is_infinitely_sure_is_kept_first_and_together() -> None:
    """As of logits that are infinite."""
    sure = np.repeat([np.inf, 1.0, np.nan], [400, 300, 300])
    lost = np.zeros(1000, bool)
    lost[400:450] = True
    found = learn_threshold(sure, lost, 0.01)
    assert found is not None
    assert found.escalated_share == 0.6
    assert found.least == np.inf


@pytest.mark.parametrize("sure", [1.0, 1e-300])
@pytest.mark.parametrize("far", [0.0, np.nan])
def test_an_infinite_doubt_is_never_kept(sure: float, far: float) -> None:
    """Though nothing were lost: where the student knows nothing, that was luck."""
    both = np.repeat([sure, far], [600, 400])
    found = learn_threshold(both, np.zeros(1000, bool), 0.01)
    assert found is not None
    assert found.escalated_share == 0.4
    assert found.least > 0
    assert learn_threshold(np.zeros(1000), np.zeros(1000), 0.01) is None


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


@pytest.mark.parametrize("wild", [0.3, 3.0], ids=["nearly all or nothing", "small each"])
def test_the_risk_of_shares_is_kept_in_nineteen_of_twenty_calibrations(wild: float) -> None:
    """An item of sureness s loses a beta-distributed share of mean 0.2*(1-s)^2, so the risk of
    threshold t is 0.2*(1-t)^3/3. 300 calibrations of 800 items."""
    rng, risk, broken, kept = np.random.default_rng(0), 0.02, 0, 0.0
    for _ in range(300):
        sure = rng.uniform(size=800)
        mean = 0.2 * (1 - sure) ** 2 + 1e-9
        found = learn_threshold(sure, rng.beta(wild * mean, wild * (1 - mean)), risk)
        if found is None:
            continue
        assert found.lost_share < found.risk_bound <= risk
        broken += 0.2 * (1 - found.least) ** 3 / 3 > risk
        kept += 1 - found.escalated_share
    assert broken / 300 <= 0.05 + 0.025  # two standard errors
    assert kept / 300 > 0.2


def test_shares_that_happen_to_be_0_and_1_are_no_coins() -> None:
    """The exact test is for what is lost or not by its kind; of shares nobody knows that."""
    sure, lost = np.linspace(1, 0, 1000), np.zeros(1000)
    lost[[100, 200, 300, 400, 500]] = 1
    of_shares = learn_threshold(sure, lost, 0.01)
    of_coins = learn_threshold(sure, lost.astype(bool), 0.01)
    assert of_shares is not None
    assert of_coins is not None
    assert of_shares.escalated_share > of_coins.escalated_share
    kept = np.where(sure >= of_shares.least, lost, 0.0)
    assert risk_p_values(kept, 0.01)[-1] <= 0.05


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
        surest = margin == margin.max()
        nobody = margin.max() == 0
        assert nobody or binomial_p_value(0, len(items), risk) > 0.05 or lost[surest].any()
        return
    kept = ~escalates(np.stack([margin, 0 * margin], axis=1), found.least, "classify")
    assert found.escalated_share == pytest.approx(1 - kept.mean())
    assert found.lost_share == pytest.approx((kept & lost).mean())
    assert binomial_p_value(int((kept & lost).sum()), len(items), risk) <= 0.05
