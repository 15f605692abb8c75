"""Tests and power against scipy, statsmodels' published examples and direct simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from headgate.theory.significance import (
    holm,
    mcnemar_exact,
    paired_binary_interval,
    power_paired_binary,
    power_paired_mean,
    required_n_paired_mean,
    t_interval,
)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    """McNemar's exact p is scipy's binomial test of the discordant pairs."""
    for gained, lost in ((1, 7), (0, 5), (12, 12), (30, 44), (3, 0)):
        p = stats.binomtest(gained, gained + lost, 0.5).pvalue
        assert mcnemar_exact(gained, lost) == pytest.approx(p, rel=1e-12)
    assert mcnemar_exact(0, 0) == 1.0


def test_holm_steps_down() -> None:
    """Adjusted p-values keep the order of the input, never fall, and stop at 1."""
    assert holm([0.9, 0.001, 0.5, 0.02]) == pytest.approx((1.0, 0.004, 1.0, 0.06))
    assert holm([]) == ()


def test_holm_rejects_what_the_procedure_rejects() -> None:
    """p' <= alpha is what comparing p_(i) with alpha/(m-i+1) until the first failure rejects."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        p = rng.uniform(0, 0.1, 6)
        rejected = set()
        for step, i in enumerate(np.argsort(p)):
            if p[i] > 0.05 / (6 - step):
                break
            rejected.add(int(i))
        assert {i for i, x in enumerate(holm(list(p))) if x <= 0.05} == rejected


@pytest.mark.parametrize(
    ("n", "discordance", "margin"), [(400, 0.04, 0.02), (1250, 0.06, 0.02), (300, 0.0, 0.02)]
)
def test_binary_power_is_what_simulation_finds(n: int, discordance: float, margin: float) -> None:
    """Stated and simulated power of Tango's interval agree within 3 points."""
    rng = np.random.default_rng(5)
    shares = [discordance / 2, discordance / 2, 1 - discordance]
    passed = [
        paired_binary_interval(int(g), int(lost), n).low > -margin
        for g, lost, _ in rng.multinomial(n, shares, size=2000)
    ]
    stated = power_paired_binary(n, discordance=discordance, margin=margin)
    assert np.mean(passed) == pytest.approx(stated, abs=0.03)


@pytest.mark.parametrize(
    ("n", "sd", "largest"), [(8, 0.02, 0.0), (12, 0.03, 0.0), (300, 0.15, 1.0), (150, 0.02, 1.0)]
)
def test_mean_power_is_what_simulation_finds(n: int, sd: float, largest: float) -> None:
    """Stated and simulated power of the t interval agree within 3 points, floor included."""
    rng = np.random.default_rng(6)
    passed = [
        t_interval(list(rng.normal(0, sd, n)), largest=largest).low > -0.02 for _ in range(2000)
    ]
    stated = power_paired_mean(n, sd=sd, margin=0.02, largest=largest)
    assert np.mean(passed) == pytest.approx(stated, abs=0.03)


def test_required_n_is_the_least_that_reaches_the_power() -> None:
    """One pair fewer than required falls short of the power, and required reaches it."""
    n = required_n_paired_mean(sd=0.1, margin=0.02, largest=1.0)
    assert n is not None
    assert power_paired_mean(n, sd=0.1, margin=0.02, largest=1.0) >= 0.8
    assert power_paired_mean(n - 1, sd=0.1, margin=0.02, largest=1.0) < 0.8


def test_a_candidate_that_truly_breaches_needs_no_n() -> None:
    """Where the true loss reaches the margin, no number of pairs is enough, and power is alpha."""
    assert required_n_paired_mean(sd=1, margin=0.02, difference=-0.02) is None
    at_margin = power_paired_mean(500, sd=1, margin=0.02, difference=-0.02)
    assert at_margin == pytest.approx(0.05, abs=1e-6)


def test_the_noncentral_t_does_not_break_where_it_is_certain() -> None:
    """Effects of a thousand and a billion spreads have power 1, and their losses power 0."""
    for sd in (1e-3, 1e-9, 0.0):
        assert power_paired_mean(8, sd=sd, margin=1.0) == 1
        assert power_paired_mean(8, sd=sd, margin=-1.0) == 0


@pytest.mark.parametrize("sd", [0.0, 1e-9, 1e-3])
def test_a_spread_of_almost_nothing_is_a_step(sd: float) -> None:
    """With (nearly) no spread the floor alone decides: power is 0 below its n and 1 above."""
    assert power_paired_mean(100, sd=sd, margin=0.02, largest=1.0) == pytest.approx(0, abs=1e-9)
    assert power_paired_mean(180, sd=sd, margin=0.02, largest=1.0) == pytest.approx(1, abs=1e-9)


def test_impossible_assumptions_are_refused() -> None:
    """A difference larger than the discordance, or too few pairs, is a ValueError."""
    with pytest.raises(ValueError, match="discordance"):
        power_paired_binary(100, discordance=0.01, margin=0.02, difference=0.05)
    with pytest.raises(ValueError, match="2 pairs"):
        power_paired_mean(1, sd=1, margin=1)
    with pytest.raises(ValueError, match="p-value"):
        holm([1.2])
