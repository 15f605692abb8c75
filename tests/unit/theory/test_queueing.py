"""Closed forms of queues against each other, and at the edge of stability."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import InputError, Unstable
from headgate.theory import queueing as q


def test_erlang_c_is_its_series() -> None:
    """The recursion gives what Erlang's sum of a^k/k! gives."""
    for c in (1, 2, 5, 20):
        a = 0.85 * c
        tail = a**c / math.factorial(c) / (1 - a / c)
        head = sum(a**k / math.factorial(k) for k in range(c))
        assert q.erlang_c(c, a) == pytest.approx(tail / (head + tail), rel=1e-12)


def test_erlang_c_of_many_servers_does_not_overflow() -> None:
    """2,000 servers at 95 % load give a probability, where a^c/c! would overflow."""
    assert 0 < q.erlang_c(2000, 1900.0) < 1


@given(st.floats(0.01, 0.99), st.floats(0.1, 1000.0))
def test_special_cases_agree(rho: float, mu: float) -> None:
    """M/M/c with one server is M/M/1; M/G/1 is M/M/1 at cv 1 and M/D/1 at cv 0."""
    lam = rho * mu
    assert q.mmc_mean_wait_s(lam, mu, 1) == pytest.approx(q.mm1_mean_wait_s(lam, mu))
    assert q.mg1_mean_wait_s(lam, 1 / mu, 1.0) == pytest.approx(q.mm1_mean_wait_s(lam, mu))
    assert q.mg1_mean_wait_s(lam, 1 / mu, 0.0) == pytest.approx(q.md1_mean_wait_s(lam, mu))


def test_the_quantiles_solve_their_tail() -> None:
    """P(W > quantile) is 1 - q; where fewer wait than that the quantile is 0."""
    lam, mu = 9.0, 10.0
    t = q.mm1_wait_quantile_s(lam, mu, 0.95)
    assert 0.9 * math.exp(-(mu - lam) * t) == pytest.approx(0.05)
    assert q.mm1_wait_quantile_s(1.0, 100.0, 0.95) == 0.0
    assert q.mm1_wait_quantile_s(0.0, 100.0, 0.95) == 0.0
    assert math.exp(-(mu - lam) * q.mm1_time_quantile_s(lam, mu, 0.95)) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "call",
    [
        lambda: q.utilisation(10.0, 10.0),
        lambda: q.utilisation(20.0, 10.0, servers=2),
        lambda: q.erlang_c(2, 2.0),
        lambda: q.mm1_mean_wait_s(11.0, 10.0),
        lambda: q.mmc_mean_wait_s(20.0, 10.0, 2),
        lambda: q.md1_mean_wait_s(10.0, 10.0),
        lambda: q.mg1_mean_wait_s(10.0, 0.1, 1.0),
        lambda: q.mm1_wait_quantile_s(10.0, 10.0, 0.5),
        lambda: q.mm1_time_quantile_s(10.0, 10.0, 0.5),
    ],
)
def test_a_full_queue_is_unstable(call: object) -> None:
    """At rho >= 1 every formula says Unstable, and none returns a number."""
    with pytest.raises(Unstable):
        call()  # type: ignore[operator]  # parametrised lambdas


@pytest.mark.parametrize(
    "call",
    [
        lambda: q.utilisation(-1.0, 10.0),
        lambda: q.utilisation(math.nan, 10.0),
        lambda: q.utilisation(1.0, 0.0),
        lambda: q.utilisation(1.0, 1.0, servers=0),
        lambda: q.littles_law_in_flight(1.0, -1.0),
        lambda: q.mg1_mean_wait_s(1.0, 0.0, 1.0),
        lambda: q.mg1_mean_wait_s(1.0, 0.1, -1.0),
        lambda: q.mm1_wait_quantile_s(1.0, 2.0, 1.0),
    ],
)
def test_what_is_no_queue_is_refused(call: object) -> None:
    """Negative, NaN and zero rates, times and servers are refused."""
    with pytest.raises(InputError):
        call()  # type: ignore[operator]  # parametrised lambdas
