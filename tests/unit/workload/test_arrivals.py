"""Popularity and arrival times: held against closed forms and against each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import InputError
from headgate.workload.arrivals import (
    MarkovModulatedPoisson,
    draw_items,
    expected_repeat_share,
    index_of_dispersion,
    poisson_arrivals,
    repeat_share,
    solve_zipf_exponent,
)

BURSTY = MarkovModulatedPoisson.of_mean(50.0, burst_factor=4.0, calm_dwell_s=2.0, burst_dwell_s=0.5)

exponents = st.floats(0.0, 3.0)
shares = st.floats(0.0, 0.9)


@given(st.integers(2, 500), st.integers(2, 2000), exponents, shares)
def test_the_solved_exponent_gives_the_ratio_it_was_solved_for(
    n_items: int, n_requests: int, exponent: float, one_time_share: float
) -> None:
    """Every ratio that some exponent gives is reached again by the exponent solved for it."""
    wanted = expected_repeat_share(n_items, n_requests, exponent, one_time_share=one_time_share)
    solved = solve_zipf_exponent(n_items, n_requests, wanted, one_time_share=one_time_share)
    reached = expected_repeat_share(n_items, n_requests, solved, one_time_share=one_time_share)
    assert reached == pytest.approx(wanted, abs=1e-9)


@given(st.integers(1, 300), st.integers(2, 1000), exponents, shares)
def test_skew_never_makes_a_stream_repeat_less(
    n_items: int, n_requests: int, exponent: float, one_time_share: float
) -> None:
    """The expected share of repeats grows with the exponent; bisection rests on it."""
    flat, steep = (
        expected_repeat_share(n_items, n_requests, s, one_time_share=one_time_share)
        for s in (exponent, exponent + 0.25)
    )
    assert steep >= flat - 1e-12


def test_a_ratio_out_of_reach_is_refused_with_the_range_that_is_not() -> None:
    """20,000 requests over 3,000 items repeat in 85 % of cases at least, however even they are."""
    with pytest.raises(InputError, match=r"it can be 0\.850 to 1\.000"):
        solve_zipf_exponent(3000, 20_000, 0.45)


@pytest.mark.parametrize("seed", range(5))
def test_a_drawn_stream_repeats_as_expected(seed: int) -> None:
    """The stream's own share of repeats lies within 5 standard errors of the expectation."""
    s = solve_zipf_exponent(3000, 20_000, 0.45, one_time_share=0.44)
    items = draw_items(20_000, 3000, s, np.random.default_rng(seed), one_time_share=0.44)
    # The number of distinct items varies less than if each were there by a coin of its own.
    assert repeat_share(items.tolist()) == pytest.approx(0.45, abs=5 * np.sqrt(3000) / 2 / 20_000)


@given(st.integers(1, 50), st.integers(1, 300), exponents, st.floats(0.0, 1.0), st.integers(0, 9))
def test_queries_asked_once_are_asked_once(
    n_items: int, n_requests: int, exponent: float, one_time_share: float, seed: int
) -> None:
    """They are numbered after the repeated items, in order, and are exactly their share."""
    rng = np.random.default_rng(seed)
    items = draw_items(n_requests, n_items, exponent, rng, one_time_share=one_time_share)
    once = items[items >= n_items]
    assert once.tolist() == list(range(n_items, n_items + round(one_time_share * n_requests)))
    assert len(items) == n_requests
    assert items.min() >= 0


def test_the_most_popular_item_is_the_first() -> None:
    """Ranks are item numbers: counts fall from item to item where the law is steep."""
    items = draw_items(20_000, 5, 1.5, np.random.default_rng(3))
    counts = np.bincount(items, minlength=5)
    assert all(a > b for a, b in itertools.pairwise(counts.tolist()))


@pytest.mark.parametrize(
    ("n_requests", "share"), [(0, 0.0), (10, -0.1), (10, 1.1), (10, float("nan"))]
)
def test_impossible_streams_are_refused(n_requests: int, share: float) -> None:
    """No requests, or a share that is none."""
    with pytest.raises(InputError, match="asked once"):
        draw_items(n_requests, 5, 1.0, np.random.default_rng(0), one_time_share=share)


def test_an_empty_stream_has_no_share_of_repeats() -> None:
    """Nothing asked is an error, not a ratio of 0 or 1."""
    with pytest.raises(InputError, match="repeats nothing"):
        repeat_share([])


def test_poisson_arrivals_have_their_rate_and_no_bursts() -> None:
    """100,000 gaps have a mean of 1/rate within 1 %, and counts an index of dispersion near 1."""
    at_s = poisson_arrivals(100_000, 20.0, np.random.default_rng(1))
    assert at_s[-1] / 100_000 == pytest.approx(1 / 20.0, rel=0.01)
    assert index_of_dispersion(at_s, 1.0) == pytest.approx(1.0, abs=0.1)


def test_equal_rates_make_no_bursts() -> None:
    """With one rate in both states the process is the Poisson process drawn from the same seed."""
    flat = MarkovModulatedPoisson.of_mean(
        20.0, burst_factor=1.0, calm_dwell_s=3.0, burst_dwell_s=1.0
    )
    assert flat.limiting_index_of_dispersion == 1.0
    np.testing.assert_allclose(
        flat.arrivals(1000, np.random.default_rng(2)),
        poisson_arrivals(1000, 20.0, np.random.default_rng(2)),
    )


def test_bursty_arrivals_have_the_mean_rate_and_the_dispersion_of_the_closed_form() -> None:
    """Over 4,000 switches the rate is within 4 %, and long windows disperse as the limit says."""
    at_s = BURSTY.arrivals(500_000, np.random.default_rng(4))
    assert len(at_s) / at_s[-1] == pytest.approx(50.0, rel=0.04)
    # A window of 40 s holds 16 cycles; the index is then close to, and still below, its limit.
    measured = index_of_dispersion(at_s, 40.0)
    assert measured == pytest.approx(BURSTY.limiting_index_of_dispersion, rel=0.25)


@given(st.floats(0.1, 1e4), st.floats(1.0, 50.0), st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_a_process_of_a_mean_rate_has_that_mean_rate(
    rate: float, factor: float, calm_s: float, burst_s: float
) -> None:
    """Whatever the burst: the mean is as asked, the rates differ by the factor."""
    process = MarkovModulatedPoisson.of_mean(
        rate, burst_factor=factor, calm_dwell_s=calm_s, burst_dwell_s=burst_s
    )
    assert process.mean_rate_per_s == pytest.approx(rate)
    assert process.burst_rate_per_s == pytest.approx(factor * process.calm_rate_per_s)
    assert process.limiting_index_of_dispersion >= 1.0


@given(st.integers(1, 500), st.integers(0, 20))
def test_arrivals_ascend_from_zero_and_depend_on_the_seed_alone(n: int, seed: int) -> None:
    """One seed, one log; no request before the log begins or before the one before it."""
    first, again = (BURSTY.arrivals(n, np.random.default_rng(seed)) for _ in range(2))
    assert first.tolist() == again.tolist()
    assert len(first) == n
    assert first[0] >= 0
    assert np.all(np.diff(first) >= 0)


def test_even_arrivals_disperse_less_than_poisson() -> None:
    """A metronome has the same count in every window."""
    assert index_of_dispersion(np.arange(0.05, 100.0, 0.1), 1.0) == 0.0


@pytest.mark.parametrize("values", [(0.0, 1.0, 1.0, 1.0), (1.0, 1.0, float("nan"), 1.0)])
def test_a_process_needs_positive_rates_and_times(values: tuple[float, ...]) -> None:
    """A state that lasts no time or brings no request is refused."""
    with pytest.raises(InputError, match="must be positive and finite"):
        MarkovModulatedPoisson(*values)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_is_positive(rate: float) -> None:
    """No requests would ever, or all would at once, arrive."""
    with pytest.raises(InputError, match="per second"):
        poisson_arrivals(10, rate, np.random.default_rng(0))


def test_dispersion_needs_two_windows() -> None:
    """One window has no variance."""
    with pytest.raises(InputError, match="do not fill two windows"):
        index_of_dispersion(np.array([0.1, 1.9]), 1.0)
