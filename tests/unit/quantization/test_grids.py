"""Quantization grids keep their bounds for every input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.quantization import affine_grid, expected_sqnr_db, sqnr_db, symmetric_grid

bits = st.integers(2, 16)
reals = st.floats(-1e6, 1e6, allow_nan=False)
arrays = st.lists(reals, min_size=1, max_size=50).map(np.array)


@given(arrays, bits)
def test_inside_the_range_nothing_is_off_by_more_than_half_a_step(x: np.ndarray, b: int) -> None:
    """Symmetric: |x - round(x)| <= scale / 2 up to floating point, for all that made the range."""
    grid = symmetric_grid(float(np.abs(x).max()), b)
    assert np.abs(x - grid.round(x)).max() <= grid.error_bound * (1 + 1e-9) + 1e-9


@given(arrays, bits)
def test_affine_grids_hold_zero_exactly(x: np.ndarray, b: int) -> None:
    """Zero survives, and the error is at most one step (the zero point is rounded too)."""
    grid = affine_grid(float(x.min()), float(x.max()), b)
    assert grid.round(np.zeros(1))[0] == 0.0
    assert np.abs(x - grid.round(x)).max() <= grid.scale * (1 + 1e-9) + 1e-9


@given(arrays, bits)
def test_rounding_again_changes_nothing(x: np.ndarray, b: int) -> None:
    """What is on the grid stays where it is."""
    grid = symmetric_grid(float(np.abs(x).max()), b)
    q = grid.quantize(x)
    assert (grid.quantize(grid.dequantize(q)) == q).all()
    assert q.min() >= grid.low
    assert q.max() <= grid.high


@given(st.lists(reals, min_size=2, max_size=30), bits)
def test_order_is_kept(values: list[float], b: int) -> None:
    """A larger number never gets a smaller integer."""
    x = np.sort(np.array(values))
    q = affine_grid(float(x[0]), float(x[-1]), b).quantize(x)
    assert (np.diff(q) >= 0).all()


def test_a_grid_per_channel_serves_channels_of_different_size() -> None:
    """One grid for all loses the small channel; a grid for each keeps both."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2, 1000)) * np.array([[100.0], [0.01]])
    whole = symmetric_grid(np.abs(x).max(), 8).round(x)
    each = symmetric_grid(np.abs(x).max(axis=1, keepdims=True), 8).round(x)
    assert sqnr_db(x[1], whole[1]) < 1
    assert sqnr_db(x[1], each[1]) > 40


@pytest.mark.parametrize("b", [4, 6, 8, 10])
def test_noise_is_as_the_formula_says(b: int) -> None:
    """Uniform values: the measured ratio meets the formula, and a bit is worth 6 dB."""
    x = np.random.default_rng(1).uniform(-1, 1, 100_000)
    measured = sqnr_db(x, symmetric_grid(1.0, b).round(x))
    # The symmetric grid spends one of its 2^b levels.
    spent = 20 * math.log10((2**b - 2) / 2**b)
    assert measured == pytest.approx(expected_sqnr_db(b) + spent, abs=0.1)


def test_edges() -> None:
    """Zeros, silence and impossible ranges."""
    assert symmetric_grid(0.0, 8).round(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    assert sqnr_db(np.ones(3), np.ones(3)) == math.inf
    assert sqnr_db(np.zeros(3), np.ones(3)) == -math.inf
    with pytest.raises(ValueError, match="range"):
        affine_grid(1.0, float("nan"), 8)
    with pytest.raises(ValueError, match="range"):
        affine_grid(2.0, 1.0, 8)
    with pytest.raises(ValueError, match="bits"):
        symmetric_grid(1.0, 1)
    with pytest.raises(ValueError, match="rms"):
        expected_sqnr_db(8, peak_to_rms=0.5)
