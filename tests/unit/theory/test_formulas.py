"""Cost, quantiles, roofline, divergences and hits: definitions, limits and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from headgate.errors import InputError
from headgate.theory.cost import cost_per_thousand, request_cost
from headgate.theory.divergence import js, kl, softmax
from headgate.theory.hits import ideal_hit_ratio, zipf_popularity
from headgate.theory.quantile import p95, quantile, quantile_interval
from headgate.theory.ranking import ndcg, reciprocal_rank
from headgate.theory.roofline import attainable_flops_per_s, time_s


def test_cost_adds_its_three_parts() -> None:
    """Each of the three terms counts alone, and a negative or infinite factor is refused."""
    assert request_cost(3, 0, 0, 2, 9, 9) == 6
    assert request_cost(0, 3, 0, 9, 2, 9) == 6
    assert request_cost(0, 0, 3, 9, 9, 2) == 6
    assert cost_per_thousand(2.0, 4, 3.0) == 1500
    for wrong in (-1, math.nan, math.inf):
        with pytest.raises(InputError, match="prices"):
            request_cost(1, 1, 1, 1, 1, wrong)
    with pytest.raises(InputError, match="at least one request"):
        cost_per_thousand(1.0, 0, 1.0)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.floats(0.001, 1.0),
    st.integers(0, 5),
)
def test_a_quantile_is_the_infimum_of_its_definition(
    values: list[float], q: float, failed: int
) -> None:
    """F(x) >= q at the quantile x, and F(t) < q at every smaller observation t."""
    everything = np.array([*values, *[math.inf] * failed])
    x = quantile(values, q, failed=failed)
    assert x in everything
    assert np.mean(everything <= x) >= q
    smaller = everything[everything < x]
    if smaller.size:
        assert np.mean(everything <= smaller.max()) < q


def test_a_quantile_survives_the_rounding_of_its_rank() -> None:
    """0.07 of 100 is the 7th value, although 0.07*100 is above 7 in binary."""
    assert quantile(range(1, 101), 0.07) == 7
    assert quantile(range(1, 101), 1.0) == 100
    assert quantile([5.0], 0.001) == 5


def test_failed_requests_count_as_infinite() -> None:
    """p95 of 100 requests is finite with 5 failures and infinite with 6."""
    assert p95(range(95), failed=5) == 94
    assert p95(range(94), failed=6) == math.inf
    assert p95([], failed=3) == math.inf


def test_a_quantile_of_nothing_or_of_nan_is_refused() -> None:
    """No observation and NaN are errors, never a number."""
    for values in ([], [1.0, math.nan]):
        with pytest.raises(InputError, match="observation"):
            p95(values)
    with pytest.raises(InputError, match="quantile"):
        quantile([1.0], 0.0)


def test_the_quantile_interval_covers() -> None:
    """Each one-sided bound of p95 misses the truth in at most 5 % of samples (and is not idle)."""
    rng = np.random.default_rng(7)
    truth = stats.lognorm.ppf(0.95, 1.0)
    runs = [quantile_interval(rng.lognormal(0, 1, 300), 0.95) for _ in range(2000)]
    too_high = np.mean([i.low > truth for i in runs])
    too_low = np.mean([i.high < truth for i in runs])
    assert 0.02 < too_high < 0.065
    assert 0.02 < too_low < 0.065


def test_the_quantile_interval_is_infinite_where_n_is_too_small() -> None:
    """Bounds that n cannot support are infinite; failures make the upper one so."""
    assert quantile_interval([1.0, 2.0], 0.95).high == math.inf
    assert quantile_interval([1.0, 2.0], 0.05).low == -math.inf
    assert quantile_interval(range(200), 0.95, failed=6).high == math.inf


def test_the_roofline_takes_the_slower_of_two() -> None:
    """Traffic decides below the ridge, arithmetic above it."""
    assert time_s(10, 100, peak_flops_per_s=10, bandwidth_bytes_per_s=10) == 10
    assert time_s(1000, 100, peak_flops_per_s=10, bandwidth_bytes_per_s=10) == 100
    assert attainable_flops_per_s(100, 10, 10) == 10
    with pytest.raises(InputError, match="bandwidth"):
        time_s(1, 1, 1, 0)


def test_divergences_are_scipys() -> None:
    """KL is scipy's entropy and JS the square of its Jensen-Shannon distance, row by row."""
    rng = np.random.default_rng(8)
    p, q = softmax(rng.normal(size=(5, 7))), softmax(rng.normal(size=(5, 7)), temperature=3)
    assert kl(p, q) == pytest.approx(stats.entropy(p, q, axis=1))
    assert js(p, q) == pytest.approx(jensenshannon(p, q, axis=1) ** 2)
    assert js(p, q) == pytest.approx(js(q, p))


def test_divergences_at_their_ends() -> None:
    """Equal distributions are at 0; KL is infinite where q excludes what p allows."""
    assert kl([0.5, 0.5], [0.5, 0.5]) == 0
    assert kl([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert kl([1.0, 0.0], [0.5, 0.5]) == pytest.approx(math.log(2))
    for wrong in ([0.5, 0.6], [-0.5, 1.5], [math.nan, 1.0]):
        with pytest.raises(InputError, match="distribution"):
            kl(wrong, [0.5, 0.5])


def test_temperature_softens_without_overflow() -> None:
    """A high temperature tends to uniform, a low one to the maximum, and 1e4 does not overflow."""
    assert softmax([1.0, 2.0], 1e9) == pytest.approx([0.5, 0.5])
    assert softmax([1e4, 0.0]) == pytest.approx([1.0, 0.0])
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="temperature"):
            softmax([1.0], wrong)


def test_the_ideal_hit_ratio_is_what_drawing_finds() -> None:
    """The formula agrees with counting repeats among real draws."""
    popularity = zipf_popularity(500, 0.9)
    rng = np.random.default_rng(9)
    counted = [
        1 - len(np.unique(rng.choice(500, size=1000, p=popularity))) / 1000 for _ in range(200)
    ]
    assert ideal_hit_ratio(popularity, 1000) == pytest.approx(np.mean(counted), abs=0.002)
    assert ideal_hit_ratio(zipf_popularity(1, 1.0), 10) == pytest.approx(0.9)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=20).filter(any), st.integers(1, 25))
def test_ndcg_is_scikit_learns(gains: list[int], k: int) -> None:
    """Of an order without ties; 1 for the best order, and never more."""
    from sklearn.metrics import ndcg_score

    order = [range(len(gains), 0, -1)]
    assert ndcg(gains, k) == pytest.approx(ndcg_score([gains], order, k=k))
    assert ndcg(sorted(gains, reverse=True), k) == pytest.approx(1.0)


def test_what_an_order_of_nothing_is_worth_is_refused() -> None:
    """Without a gain any order is as good as any other; a reciprocal rank is then 0."""
    for wrong in ([], [0, 0], [1, -1], [1, math.nan]):
        with pytest.raises(InputError, match="gain"):
            ndcg(wrong, 10)
    for worth in (ndcg, reciprocal_rank):
        with pytest.raises(InputError, match="k must be at least 1"):
            worth([1.0], 0)
    assert reciprocal_rank([0, 0], 10) == 0.0
