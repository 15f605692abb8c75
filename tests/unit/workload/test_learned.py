"""The service-time model that completions correct."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.workload import LearnedService, ServiceCurve

SEED = ServiceCurve(fixed_s=2e-3, item_s=1e-4, token_s=3e-5, square_s=1e-8, length_multiple=4)


def test_until_something_is_learned_it_is_the_curve() -> None:
    """A seed is the best guess there is."""
    assert LearnedService(SEED).predict_s(8, 30) == SEED.predict_s(8, 30)


@pytest.mark.parametrize("factor", [100.0, 0.01, 1e9])
def test_an_outlier_moves_a_prediction_by_a_bounded_little(factor: float) -> None:
    """A hundred times too long, or a billion: at most exp(0.05), and the next ones mend it."""
    model = LearnedService(SEED)
    model.learn(4, 40, factor * SEED.predict_s(4, 40))
    moved = model.predict_s(4, 40) / SEED.predict_s(4, 40)
    assert 0 < abs(math.log(moved)) < 0.052
    for _ in range(30):
        model.learn(4, 40, SEED.predict_s(4, 40))
    assert model.predict_s(4, 40) == pytest.approx(SEED.predict_s(4, 40), rel=0.005)


@pytest.mark.parametrize("shift", [2.0, 0.5])
def test_a_lasting_shift_is_followed_within_tens_of_completions(shift: float) -> None:
    """To within 5 % in 26 of one shape, 10 % in 40 of a mix; shapes never seen follow too."""
    model = LearnedService(SEED)
    for _ in range(26):
        model.learn(8, 60, shift * SEED.predict_s(8, 60))
    assert model.predict_s(8, 60) == pytest.approx(shift * SEED.predict_s(8, 60), rel=0.05)
    model = LearnedService(SEED)
    shapes = [(1, 12), (8, 60), (3, 128), (16, 24)]
    for i in range(40):
        shape = shapes[i % 4]
        model.learn(*shape, shift * SEED.predict_s(*shape))
    for shape in [*shapes, (1, 1), (5, 80)]:
        assert model.predict_s(*shape) == pytest.approx(shift * SEED.predict_s(*shape), rel=0.1)


def test_what_a_call_costs_and_what_tokens_cost_are_told_apart() -> None:
    """Calls that became dearer while tokens did not: small batches and large ones agree."""
    truth = ServiceCurve(8e-3, 1e-4, 3e-5, 1e-8, 4)
    model = LearnedService(SEED)
    rng = np.random.default_rng(3)
    for _ in range(400):
        size, longest = int(rng.integers(1, 17)), int(rng.integers(4, 129))
        model.learn(size, longest, truth.predict_s(size, longest) * rng.lognormal(0.0, 0.1))
    for shape in [(1, 8), (1, 128), (16, 8), (16, 128)]:
        assert model.predict_s(*shape) == pytest.approx(truth.predict_s(*shape), rel=0.2)


def test_a_tenth_of_outliers_biases_it_by_little() -> None:
    """Pauses of a hundred service times in every tenth call: off by 6 %, not tenfold."""
    model = LearnedService(SEED)
    rng = np.random.default_rng(5)
    late = []
    for i in range(2000):
        factor = 100.0 if rng.random() < 0.1 else 1.0
        model.learn(8, 32, factor * SEED.predict_s(8, 32))
        if i > 500:
            late.append(model.predict_s(8, 32) / SEED.predict_s(8, 32))
    assert 1.0 < float(np.median(late)) < 1.12


@given(
    completions=st.lists(
        st.tuples(st.integers(1, 32), st.integers(1, 512), st.floats(allow_nan=True)), max_size=60
    )
)
def test_whatever_is_measured_it_stays_positive_and_monotone(
    completions: list[tuple[int, int, float]],
) -> None:
    """Jumping clocks, infinities, NaN: a larger batch is never predicted to be cheaper."""
    model = LearnedService(SEED)
    for completion in completions:
        model.learn(*completion)
    seconds = [model.predict_s(n, length) for n in (1, 2, 16) for length in (1, 8, 64, 512)]
    assert all(0 < s < math.inf for s in seconds)
    for n in (1, 2, 16):
        for length in (1, 8, 64):
            assert model.predict_s(n, length) < model.predict_s(2 * n, length)
            assert model.predict_s(n, length) < model.predict_s(n, 8 * length)


def test_what_is_no_duration_teaches_nothing() -> None:
    """Zero, negative, not a number."""
    model = LearnedService(SEED)
    for seconds in (0.0, -1.0, math.nan, math.inf):
        model.learn(2, 10, seconds)
    assert model.completions == 0
    assert model.predict_s(2, 10) == SEED.predict_s(2, 10)
