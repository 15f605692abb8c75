"""Ranges of activations: exact histograms in bounded memory, and what each method makes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headgate.errors import InputError, Undecided
from headgate.quantization import Calibration
from headgate.quantization.calibration import (
    Histogram,
    Observed,
    by_item,
    least_information,
    least_squares,
    refuse_non_finite,
    share_of_values,
)
from headgate.quantization.grids import affine_grid

FLOATS = arrays.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
)


def histogram(*portions: np.ndarray, bins: int = 64) -> Histogram:
    made = Histogram(bins)
    for portion in portions:
        made.add(portion)
    return made


@given(st.lists(FLOATS, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_histogram_does_not_depend_on_order_or_portions(
    portions: list[np.ndarray], rng: object
) -> None:
    """However it grew: the same bins, and the same counts, as of all values at once."""
    whole = histogram(np.concatenate(portions))
    shuffled = list(portions)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' Random
    grown = histogram(*shuffled)
    assert np.array_equal(grown.counts, whole.counts)
    assert np.array_equal(grown.centres, whole.centres)


@given(st.lists(FLOATS, min_size=1, max_size=6))
def test_every_value_is_counted_in_its_bin(portions: list[np.ndarray]) -> None:
    """None is lost as bins double, and none is in its neighbour's."""
    made, values = histogram(*portions), np.concatenate(portions).astype(np.float64)
    assert made.counts.sum() == values.size
    edges = made.centres - made.width / 2
    expected = [int(((values >= low) & (values < low + made.width)).sum()) for low in edges]
    assert made.counts.tolist() == expected


def test_bins_stay_as_many_however_far_the_range_grows() -> None:
    """Twenty orders of magnitude in the counts of 64 bins, more than half of which span it."""
    made = histogram(*(np.array([10.0**k, -(10.0**k)], dtype=np.float32) for k in range(-10, 11)))
    assert made.counts.shape == (64,)
    assert made.counts.sum() == 42
    assert 32 * made.width < 2e10 <= 64 * made.width


def test_zeros_alone_are_counted() -> None:
    """An activation that never fires has a range of nothing, and then one of something."""
    made = histogram(np.zeros(5, dtype=np.float32))
    assert made.counts.sum() == 5
    made.add(np.array([1e-3], dtype=np.float32))
    assert made.counts.sum() == 6
    assert made.counts[made.centres < made.width].sum() == 5


def observed(method: str, *items: object, **more: object) -> Observed:
    made = Observed(Calibration(method, **more))  # type: ignore[arg-type]  # by name
    for item in items:
        made.add(np.asarray(item, dtype=np.float32))
    return made


def test_min_max_clips_nothing_and_holds_zero() -> None:
    assert observed("min_max", [1.0, 2.0], [5.0, 3.0]).range == (0.0, 5.0)
    assert observed("min_max", [-4.0, -2.0], [-3.0]).range == (-4.0, 0.0)


def test_mean_min_max_is_of_items() -> None:
    """One wild item among four moves the end by a quarter of what it is off."""
    assert observed("mean_min_max", [-1, 2], [-3, 2], [-1, 2], [-3, 10]).range == (-2.0, 4.0)


@pytest.fixture(scope="module")
def spiky() -> np.ndarray:
    """A normal distribution, and one value that is five times as far out as the next."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=100_000)
    values[0] = 20.0
    return values.astype(np.float32)


def test_a_percentile_leaves_out_its_share(spiky: np.ndarray) -> None:
    """Half a thousandth at each end, to within a bin."""
    low, high = observed("percentile", spiky, share=0.999).range
    width = histogram(spiky, bins=4096).width
    assert abs(low - np.quantile(spiky, 0.0005)) <= width
    assert abs(high - np.quantile(spiky, 0.9995)) <= width
    assert observed("percentile", spiky, share=1.0).range == observed("min_max", spiky).range


@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_outliers_are_cut_off_where_that_loses_less(method: str, spiky: np.ndarray) -> None:
    """Both give up some of the far end; neither does of values that are even."""
    assert observed(method, spiky).range[1] < 18
    even = np.linspace(-1.0, 2.0, 50_001)
    low, high = observed(method, even).range
    assert low == pytest.approx(-1.0, abs=0.03)
    assert high == pytest.approx(2.0, abs=0.05)


def test_least_squares_is_least(spiky: np.ndarray) -> None:
    """On the values themselves no other of the ranges that it could have chosen does better."""

    def squares(low: float, high: float) -> float:
        return float(np.square(affine_grid(low, high, 8).round(spiky) - spiky).sum())

    made = histogram(spiky, bins=4096)
    low, high = least_squares(made)
    first, last = share_of_values(made, 1.0)
    others = [squares(a * first, b * last) for a in (1.0, 0.6, 0.2) for b in (1.0, 0.6, 0.2)]
    assert squares(low, high) <= 1.001 * min(others)


def test_least_information_of_what_the_grid_holds_exactly_is_the_whole() -> None:
    """256 values at equal distances lose nothing in 8 bits."""
    values = np.repeat(np.arange(256.0), 10).astype(np.float32)
    low, high = least_information(histogram(values, bins=4096))
    assert low == 0.0
    assert high == pytest.approx(255.0, abs=0.2)


def test_ranges_of_nothing_are_undecided() -> None:
    with pytest.raises(Undecided, match="no values"):
        _ = observed("min_max").range


def test_items_come_alone_and_without_padding() -> None:
    """Cut where their own mask says, on either side; what is not of its shape is kept whole."""
    ids = np.array([[7, 8, 0, 0], [0, 5, 6, 9]])
    batch = {
        "input_ids": ids,
        "attention_mask": (ids > 0).astype(np.int64),
        "pixels": np.arange(6.0).reshape(2, 3),
    }
    first, second = by_item([batch])
    assert first["input_ids"].tolist() == [[7, 8]]
    assert first["attention_mask"].tolist() == [[1, 1]]
    assert second["input_ids"].tolist() == [[5, 6, 9]]
    assert second["pixels"].tolist() == [[3.0, 4.0, 5.0]]


def test_an_item_that_is_all_padding_is_refused() -> None:
    """By its number: a range of nothing is no range."""
    batch = {"input_ids": np.array([[1], [2]]), "attention_mask": np.array([[1], [0]])}
    with pytest.raises(InputError, match="masked") as error:
        list(by_item([batch]))
    assert error.value.where == "calibration item 2"


@pytest.mark.parametrize(("value", "said"), [(math.nan, "NaN"), (math.inf, "infinite")])
def test_what_is_not_finite_is_named(value: float, said: str) -> None:
    with pytest.raises(InputError, match=f"{said}.*'hidden'") as error:
        refuse_non_finite("hidden", np.array([0.0, value]), item=3)
    assert error.value.where == "calibration item 3"
