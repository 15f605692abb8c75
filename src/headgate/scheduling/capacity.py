"""The analytic floor of capacity: how many instances before anything is simulated.

M/M/c without batching: Poisson arrivals, exponential service, one queue. Batching lowers what is
needed and bursts raise it; the simulator (``planning``) knows both. Fewer instances than the
offered load is never enough.
"""

from __future__ import annotations

import math

from headgate.errors import ConfigError
from headgate.theory.queueing import erlang_c

__all__ = ["least_instances", "square_root_staffing"]


def square_root_staffing(offered_load: float, *, beta: float = 1.0) -> int:
    """``N = ceil(R + beta * sqrt(R))`` instances for ``R = lambda * S`` erlangs.

    ``beta`` is the quality of service: near 0 almost everybody waits, at 2 almost nobody
    (Halfin and Whitt, 1981).

    >>> square_root_staffing(100.0, beta=1.0)
    110
    """
    if offered_load < 0 or beta < 0:
        raise ConfigError(f"load and beta must not be negative, got {offered_load} and {beta}")
    return max(1, math.ceil(offered_load + beta * math.sqrt(offered_load)))


def least_instances(arrival_rate_per_s: float, service_s: float, *, p95_wait_s: float) -> int:
    """Fewest instances whose M/M/c queue keeps 95 % of the waits within ``p95_wait_s``.

    ``P(W > t) = C(c, a) * exp(-(c/S - lambda) * t)``, with Erlang's C and ``a = lambda * S``.

    >>> least_instances(8.0, 0.1, p95_wait_s=1.4), least_instances(8.0, 0.1, p95_wait_s=1.3)
    (1, 2)
    """
    if arrival_rate_per_s < 0 or service_s <= 0 or p95_wait_s < 0:
        raise ConfigError("a rate and a wait must not be negative, and a service takes time")
    load = arrival_rate_per_s * service_s
    instances = math.floor(load) + 1  # the fewest that are stable
    while (
        erlang_c(instances, load)
        * math.exp(-(instances / service_s - arrival_rate_per_s) * p95_wait_s)
        > 0.05
    ):
        instances += 1
    return instances
