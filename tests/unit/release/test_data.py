"""Contracts on data: the same rule at every n, and never a pass with too little of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.objects import Action, Axis, Bound, Contract, Verdict
from headgate.release import judge_age, judge_drift
from headgate.theory.divergence import ks_distance

DAY_S = 86_400.0


def contract(metric: str, limit: float, **changes: object) -> Contract:
    given = {"on_breach": Action.ROLLBACK, "min_n": 200, **changes}
    return Contract(
        metric,
        Axis.QUALITY,
        Bound.AT_MOST,
        limit,
        rationale="why",
        escalation="command:page",
        rollback_candidate="previous",
        **given,  # type: ignore[arg-type]  # a test's own keywords
    )


DRIFT = contract("drift", 0.2)


def lengths(n: int, *, seed: int, shift: float = 0.0) -> NDArray[np.float64]:
    """Lengths of texts: lognormal, whole characters, moved by ``shift`` standard deviations."""
    drawn = np.random.default_rng(seed).normal(4 + 0.6 * shift, 0.6, n)
    return np.ceil(np.exp(drawn))


@pytest.mark.parametrize(("n", "trials"), [(200, 300), (2_000, 100), (200_000, 3)])
def test_two_samples_of_the_same_are_not_called_different(n: int, trials: int) -> None:
    """No false alarm at 200 rows, at 2,000 or at 200,000: the rule does not change with n."""
    verdicts = {
        judge_drift(DRIFT, lengths(n, seed=2 * i), lengths(n, seed=2 * i + 1)).verdict
        for i in range(trials)
    }
    assert Verdict.FAIL not in verdicts
    assert verdicts == ({Verdict.UNKNOWN} if n == 200 else {Verdict.PASS})


def test_a_difference_that_does_not_matter_is_no_drift_however_many_rows_show_it() -> None:
    """A shift of 0.05 standard deviations is beyond any doubt at 200,000 rows, and small."""
    current, reference = lengths(200_000, seed=1, shift=0.05), lengths(200_000, seed=2)
    assert ks_distance(current, reference).low > 0
    assert judge_drift(DRIFT, current, reference).verdict is Verdict.PASS


@pytest.mark.parametrize("n", [200, 2_000, 20_000])
def test_a_planted_shift_is_found_at_every_n(n: int) -> None:
    """Two standard deviations: most of the texts are longer than almost all of before."""
    result = judge_drift(DRIFT, lengths(n, seed=1, shift=2.0), lengths(n, seed=2))
    assert result.verdict is Verdict.FAIL
    assert result.low > 0.2
    assert "beyond 0.2" in result.because
    assert result.n == n


def test_fewer_rows_than_required_tell_nothing() -> None:
    """Whatever they look like, and on whichever side they are."""
    far, near = np.full(199, 1e6), np.ones(5_000)
    assert judge_drift(DRIFT, far, near).verdict is Verdict.UNKNOWN
    assert judge_drift(DRIFT, near, far).verdict is Verdict.UNKNOWN
    assert judge_drift(contract("drift", 0.2, min_n=199), far, near).verdict is Verdict.FAIL


def test_a_breach_that_only_warns_is_a_warning() -> None:
    """As everywhere: the verdict is the contract's own."""
    warns = contract("drift", 0.2, on_breach=Action.WARN)
    far, near = np.full(2_000, 9.0), np.ones(2_000)
    assert judge_drift(warns, far, near).verdict is Verdict.WARN
    assert judge_age(contract("age", DAY_S, on_breach=Action.WARN), 2 * DAY_S).verdict is (
        Verdict.WARN
    )


@pytest.mark.parametrize(
    ("age_s", "verdict"),
    [
        (0.0, Verdict.PASS),
        (30 * DAY_S, Verdict.PASS),
        (30 * DAY_S + 1, Verdict.FAIL),
        (float("inf"), Verdict.FAIL),
        (-1.0, Verdict.INVALID),
        (float("nan"), Verdict.INVALID),
    ],
)
def test_data_may_be_so_old_and_no_older(age_s: float, verdict: Verdict) -> None:
    """What is of tomorrow, or of no day at all, is a broken measurement and no pass."""
    assert judge_age(contract("age", 30 * DAY_S), age_s).verdict is verdict


def test_the_bounds_hold_the_true_distance() -> None:
    """Of uniform samples moved by 0.3 it is 0.3; the bounds miss it less often than promised."""
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(300):
        found = ks_distance(rng.uniform(0.3, 1.3, 400), rng.uniform(0.0, 1.0, 400), level=0.9)
        missed += not found.low <= 0.3 <= found.high
    assert missed <= 30


def test_the_distance_is_symmetric_and_knows_no_unit() -> None:
    """It is of ranks: seconds or milliseconds, lengths or their logarithms."""
    a, b = lengths(500, seed=1, shift=1.0), lengths(300, seed=2)
    assert ks_distance(a, b) == ks_distance(b, a)
    assert ks_distance(np.log(a), np.log(b)) == ks_distance(a, b)
    assert ks_distance(a, a).value == 0.0


@pytest.mark.parametrize("broken", [[], [float("nan")], [[1.0]]])
def test_a_sample_that_is_none_has_no_distance(broken: list[float]) -> None:
    """Nothing, no number, and no row of numbers."""
    with pytest.raises(ValueError, match="observation"):
        ks_distance(broken, [1.0])
