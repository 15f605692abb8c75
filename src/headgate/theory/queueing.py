"""Queues in steady state: load, Little's law, and mean waits in closed form.

Rates are per second, times in seconds. *Wait* is the time in the queue, before service begins;
add the mean service time for the time in the system. First come, first served, one unlimited queue,
Poisson arrivals. Knows nothing of batches, bursts or deadlines: those are simulated.
"""

from __future__ import annotations

import math

from headgate.errors import Unstable
from headgate.theory._domain import require

__all__ = [
    "erlang_c",
    "littles_law_in_flight",
    "md1_mean_wait_s",
    "mg1_mean_wait_s",
    "mm1_mean_wait_s",
    "mm1_time_quantile_s",
    "mm1_wait_quantile_s",
    "mmc_mean_wait_s",
    "utilisation",
]


def utilisation(arrival_rate_per_s: float, service_rate_per_s: float, *, servers: int = 1) -> float:
    """``rho = lambda / (c*mu)``, for ``0 <= rho < 1``; raises ``Unstable`` from 1 on.

    lambda requests a second arrive, each of ``servers`` (c) serves mu a second.

    >>> utilisation(8.0, 10.0)
    0.8
    """
    require(
        0 <= arrival_rate_per_s < math.inf and 0 < service_rate_per_s < math.inf,
        f"rates are finite, got {arrival_rate_per_s} arrivals and {service_rate_per_s} served a "
        "second",
    )
    require(servers >= 1, f"a queue has at least one server, got {servers}")
    rho = arrival_rate_per_s / (servers * service_rate_per_s)
    if rho >= 1:
        raise Unstable(
            f"{arrival_rate_per_s:g} requests a second arrive and "
            f"{servers * service_rate_per_s:g} can be served (rho = {rho:.3g})",
            fix="serve faster, add instances, or admit fewer requests",
        )
    return rho


def littles_law_in_flight(arrival_rate_per_s: float, mean_time_s: float) -> float:
    """``L = lambda * W``: mean requests in flight (Little, 1961).

    W is the mean time in the system. Holds for any stationary system, whatever its order of
    service or its distributions.

    Textbook: 10 customers an hour who stay half an hour.

    >>> littles_law_in_flight(10 / 3600, 1800.0)
    5.0
    """
    require(
        0 <= arrival_rate_per_s < math.inf and 0 <= mean_time_s < math.inf,
        "a rate and a time are finite and at least 0",
    )
    return arrival_rate_per_s * mean_time_s


def erlang_c(servers: int, offered_load: float) -> float:
    """Probability that an arrival must wait in M/M/c (Erlang, 1917).

    ``C(c, a) = B / (1 - rho*(1 - B))`` with ``a = lambda/mu`` (erlangs), ``rho = a/c`` and Erlang's
    B by its recursion ``B(0) = 1, B(k) = a*B(k-1) / (k + a*B(k-1))``, which cannot overflow.

    Textbook: 2 servers, a = 1: ``1/3``; one server: ``rho``.

    >>> erlang_c(2, 1.0)
    0.33333
    >>> erlang_c(1, 0.8)
    0.8
    """
    rho = utilisation(offered_load, 1.0, servers=servers)
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered_load * blocked / (k + offered_load * blocked)
    return blocked / (1 - rho * (1 - blocked))


def mm1_mean_wait_s(arrival_rate_per_s: float, service_rate_per_s: float) -> float:
    """``W_q = rho / (mu - lambda)``: mean wait in M/M/1.

    Textbook: lambda = 8, mu = 10 a second.

    >>> mm1_mean_wait_s(8.0, 10.0)
    0.4
    """
    rho = utilisation(arrival_rate_per_s, service_rate_per_s)
    return rho / (service_rate_per_s - arrival_rate_per_s)


def mmc_mean_wait_s(arrival_rate_per_s: float, service_rate_per_s: float, servers: int) -> float:
    """``W_q = C(c, lambda/mu) / (c*mu - lambda)``: mean wait in M/M/c.

    Textbook: lambda = 1, mu = 1, c = 2: ``1/3``.

    >>> mmc_mean_wait_s(1.0, 1.0, 2)
    0.33333
    """
    utilisation(arrival_rate_per_s, service_rate_per_s, servers=servers)
    waits = erlang_c(servers, arrival_rate_per_s / service_rate_per_s)
    return waits / (servers * service_rate_per_s - arrival_rate_per_s)


def mg1_mean_wait_s(arrival_rate_per_s: float, mean_service_s: float, squared_cv: float) -> float:
    """``W_q = rho * S * (1 + cv^2) / (2*(1 - rho))``: mean wait in M/G/1.

    The Pollaczek-Khinchine formula (1930, 1932). S is the mean service time, ``squared_cv`` its
    variance over ``S^2``: 0 where constant, 1 where exponential.

    >>> mg1_mean_wait_s(8.0, 0.1, squared_cv=1.0)  # as in M/M/1
    0.4
    """
    require(mean_service_s > 0, f"a service takes time, got {mean_service_s} s")
    require(0 <= squared_cv < math.inf, f"a squared cv is at least 0, got {squared_cv}")
    rho = utilisation(arrival_rate_per_s, 1 / mean_service_s)
    return rho * mean_service_s * (1 + squared_cv) / (2 * (1 - rho))


def md1_mean_wait_s(arrival_rate_per_s: float, service_rate_per_s: float) -> float:
    """``W_q = rho / (2*mu*(1 - rho))``: mean wait in M/D/1, half of that in M/M/1.

    >>> md1_mean_wait_s(8.0, 10.0)
    0.2
    """
    rho = utilisation(arrival_rate_per_s, service_rate_per_s)
    return rho / (2 * service_rate_per_s * (1 - rho))


def mm1_wait_quantile_s(arrival_rate_per_s: float, service_rate_per_s: float, q: float) -> float:
    """Quantile ``q`` of the wait in M/M/1: ``max(0, ln(rho / (1-q)) / (mu - lambda))``.

    From ``P(W_q > t) = rho * exp(-(mu - lambda)*t)``; 0 where at most a share q waits at all.

    >>> mm1_wait_quantile_s(8.0, 10.0, 0.95)  # ln(16) / 2
    1.38629
    """
    require(0 <= q < 1, f"a quantile lies in 0 <= q < 1, got {q}")
    rho = utilisation(arrival_rate_per_s, service_rate_per_s)
    if rho <= 1 - q:
        return 0.0
    return math.log(rho / (1 - q)) / (service_rate_per_s - arrival_rate_per_s)


def mm1_time_quantile_s(arrival_rate_per_s: float, service_rate_per_s: float, q: float) -> float:
    """Quantile ``q`` of the time in the M/M/1 system: ``-ln(1-q) / (mu - lambda)``.

    >>> mm1_time_quantile_s(8.0, 10.0, 0.95)  # ln(20) / 2
    1.49787
    """
    require(0 <= q < 1, f"a quantile lies in 0 <= q < 1, got {q}")
    utilisation(arrival_rate_per_s, service_rate_per_s)
    return -math.log1p(-q) / (service_rate_per_s - arrival_rate_per_s)
