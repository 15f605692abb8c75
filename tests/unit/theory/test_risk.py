"""Evidence that the mean of losses is below a risk, of which only the range is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from headgate.errors import InputError
from headgate.theory.risk import fewest_losses, risk_bound, risk_p_values

RISKS = st.floats(0.002, 0.9)
LOSSES = arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1))
Losses = NDArray[np.float64]


@settings(deadline=None, max_examples=40)
@given(st.floats(0.005, 0.5), st.floats(0.05, 20.0), st.integers(5, 300), st.integers(0, 2**32 - 1))
def test_a_true_risk_is_ruled_out_no_more_often_than_the_level_says(
    risk: float, even: float, n: int, seed: int
) -> None:
    """Losses of any beta distribution whose mean is just the risk, 1,000 times; at a tenth."""
    drawn = np.random.default_rng(seed).beta(even * risk, even * (1 - risk), size=(1000, n))
    ruled_out = [risk_p_values(losses, risk)[-1] <= 0.1 for losses in drawn]
    assert np.mean(ruled_out) <= 0.1 + 4 * np.sqrt(0.1 * 0.9 / 1000)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), RISKS)
def test_of_losses_of_0_and_1_it_is_the_inverse_of_two_likelihood_ratios(
    counts: tuple[int, int], risk: float
) -> None:
    """Of coins that lose less: half as often as the risk, or hardly ever."""
    n, lost = counts
    losses = np.repeat([1.0, 0.0], [lost, n - lost])
    rarer = [risk * (1 - bet) for bet in (0.5, 0.99)]
    ratios = [
        lost * np.log(rare / risk) + (n - lost) * np.log((1 - rare) / (1 - risk)) for rare in rarer
    ]
    capital = np.logaddexp(*ratios) - np.log(2)
    assert risk_p_values(losses, risk)[-1] == pytest.approx(min(1.0, np.exp(-capital)), rel=1e-6)


@given(LOSSES, RISKS)
def test_of_each_beginning_it_is_as_if_the_rest_lost_nothing(losses: Losses, risk: float) -> None:
    found = risk_p_values(losses, risk)
    for k in (1, len(losses) // 2, len(losses)):
        spared = np.where(np.arange(len(losses)) < k, losses, 0.0)
        if k:
            assert found[k - 1] == pytest.approx(risk_p_values(spared, risk)[-1])
    assert (np.diff(found) >= -1e-12).all(), "who keeps more has no more evidence"


@given(LOSSES, RISKS)
def test_the_order_of_losses_says_nothing(losses: Losses, risk: float) -> None:
    other = losses[::-1].copy()
    assert risk_p_values(losses, risk)[-1] == pytest.approx(risk_p_values(other, risk)[-1])


@given(LOSSES, st.sampled_from([0.9, 0.95]))
def test_the_bound_is_the_least_risk_that_is_ruled_out(losses: Losses, level: float) -> None:
    bound = risk_bound(losses, level=level)
    assert losses.mean() <= bound <= 1
    if bound < 1:
        assert risk_p_values(losses, bound)[-1] <= 1 - level
        assert risk_p_values(losses, bound - 1e-6)[-1] > 1 - level


@pytest.mark.parametrize("risk", [0.005, 0.01, 0.2])
def test_the_fewest_are_just_enough(risk: float) -> None:
    n = fewest_losses(risk, level=0.95)
    assert risk_p_values(np.zeros(n), risk)[-1] <= 0.05 < risk_p_values(np.zeros(n - 1), risk)[-1]


@pytest.mark.parametrize(
    ("losses", "risk"), [([1.5], 0.1), ([-0.5], 0.1), ([np.nan], 0.1), ([0.5], 0.0), ([0.5], 1.0)]
)
def test_what_is_no_loss_is_refused(losses: list[float], risk: float) -> None:
    with pytest.raises(InputError):
        risk_p_values(np.array(losses), risk)
