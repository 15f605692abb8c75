"""Intervals against scipy, published values and their own definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from headgate.theory.intervals import (
    normal_quantile,
    paired_binary_interval,
    paired_mean_interval,
    t_interval,
    wilson_interval,
)


def test_t_interval_is_scipys() -> None:
    """Without floors the t interval is that of scipy.stats.ttest_1samp."""
    values = np.random.default_rng(1).normal(3, 2, 40)
    ours = t_interval(list(values))
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.90)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_the_order_of_values_does_not_matter_to_the_last_bit() -> None:
    """Sorted up, down or shuffled, the bounds are identical floats."""
    values = np.random.default_rng(3).normal(3, 2, 500)
    bounds = {
        (i.low, i.high)
        for i in (t_interval(list(v)) for v in (values, np.sort(values), np.sort(values)[::-1]))
    }
    assert len(bounds) == 1


def test_paired_interval_is_scipys() -> None:
    """The paired interval is that of scipy.stats.ttest_rel, candidate first."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 1, 30), rng.normal(1, 1, 30)
    ours = paired_mean_interval(list(a), list(b), level=0.975)
    theirs = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_a_constant_sample_is_as_wide_as_a_score_interval_without_events() -> None:
    """The floor gives z^2/n, which Wilson's interval approaches from below."""
    ours = t_interval([1.0] * 2000, largest=1.0)
    wilson = wilson_interval(2000, 2000)
    assert 1 - ours.low == pytest.approx(1 - wilson.low, rel=0.005)


def test_the_known_spread_is_a_floor() -> None:
    """A spread known from elsewhere widens a sample that is too calm, and never narrows one."""
    calm, wild = [1.0, 1.1] * 4, [0.0, 9.0] * 4
    assert t_interval(calm, least_sd=1.0).low == pytest.approx(
        1.05 - stats.t.ppf(0.95, 7) / math.sqrt(8)
    )
    assert t_interval(wild, least_sd=1.0) == t_interval(wild)


@pytest.mark.parametrize("n", [1, 5, 50, 1000])
def test_wilson_is_scipys(n: int) -> None:
    """Wilson's interval is that of scipy.stats.binomtest, at both ends too."""
    for successes in {0, 1, n // 2, n}:
        theirs = stats.binomtest(successes, n).proportion_ci(0.90, method="wilson")
        ours = wilson_interval(successes, n)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(
    ("gained", "lost", "n", "low", "high"),
    [
        # Fagerland, Lydersen and Laake (2014), airway reactivity.
        (1, 7, 21, -0.517, -0.026),
        # No discordant pair: +-z^2/(n + z^2).
        (0, 0, 44, -0.0803, 0.0803),
        # All pairs gained: (n - z^2)/(n + z^2) to 1.
        (10, 0, 10, 0.4449, 1.0),
    ],
)
def test_tango_is_the_published_interval(
    gained: int, lost: int, n: int, low: float, high: float
) -> None:
    """Tango's interval has its published bounds, and its closed forms at the edges."""
    interval = paired_binary_interval(gained, lost, n, level=0.975)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=6e-4)


def test_tango_solves_its_equation() -> None:
    """At its bounds the score statistic, with the likelihood maximised numerically, is +-z."""
    gained, lost, n = 9, 21, 300
    interval = paired_binary_interval(gained, lost, n)
    for d, sign in ((interval.low, 1), (interval.high, -1)):
        q = np.linspace(max(0.0, -d), (1 - d) / 2, 2_000_001)[1:-1]
        likelihood = (
            gained * np.log(q + d) + lost * np.log(q) + (n - gained - lost) * np.log1p(-2 * q - d)
        )
        best = q[likelihood.argmax()]
        score = (gained - lost - n * d) / math.sqrt(n * (2 * best + d * (1 - d)))
        assert score == pytest.approx(sign * normal_quantile(0.95), abs=1e-3)


def test_tango_never_has_zero_width_and_holds_its_estimate() -> None:
    """Whatever the counts, low < high, and the estimate lies between."""
    for n in (1, 2, 30, 5000):
        for gained in {0, 1, n // 2, n}:
            for lost in {0, 1, n // 3, n - gained}:
                if gained + lost <= n:
                    interval = paired_binary_interval(gained, lost, n)
                    assert -1 <= interval.low < interval.high <= 1
                    assert interval.low <= interval.value <= interval.high


@pytest.mark.parametrize(
    "call",
    [
        lambda: t_interval([1.0]),
        lambda: t_interval([1.0, math.nan]),
        lambda: t_interval([1.0, math.inf]),
        lambda: t_interval([1.0, 2.0], largest=-1.0),
        lambda: paired_mean_interval([1.0, 2.0], [1.0]),
        lambda: wilson_interval(3, 2),
        lambda: wilson_interval(0, 0),
        lambda: paired_binary_interval(2, 2, 3),
        lambda: paired_binary_interval(-1, 0, 3),
        lambda: normal_quantile(1.0),
    ],
)
def test_what_is_outside_the_valid_range_is_refused(call: object) -> None:
    """Each formula refuses what its docstring excludes, with a ValueError."""
    with pytest.raises(ValueError, match=r"."):
        call()  # type: ignore[operator]  # parametrised lambdas
