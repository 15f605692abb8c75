"""How much a variant can take: the highest rate at which its p95 promise still holds.

Found by bisection over simulations of the workload, sped up or slowed down as a whole, so that
bursts, lengths and repeats stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headgate.dataplane import DataPlane
from headgate.planning.simulate import Noise, SimulationResult, simulate
from headgate.theory.quantile import quantile
from headgate.workload import BatchTimeModel, Request

__all__ = ["Capacity", "keeps_promise", "max_rate", "rate_per_s", "scale_to_rate"]

_SLOWER = (1 / 2, 1 / 4, 1 / 64)
"""Shares of a first guess that failed. At the last, requests hardly meet: a promise that fails
there fails at any rate."""


def rate_per_s(requests: Sequence[Request]) -> float:
    """Arrivals a second between the first and the last. Raises ``ValueError`` for less than two
    moments."""
    span_s = requests[-1].arrived_at_s - requests[0].arrived_at_s if requests else 0.0
    if span_s <= 0:
        raise ValueError("a rate needs requests at two moments at least")
    return (len(requests) - 1) / span_s


def scale_to_rate(requests: Sequence[Request], target_per_s: float) -> list[Request]:
    """The same requests at another rate: all gaps stretched alike, deadlines as long as before.

    >>> a, b = scale_to_rate([Request(0, b"a", 1, 0.0), Request(1, b"b", 1, 2.0)], 4.0)
    >>> b.arrived_at_s
    0.25
    """
    stretch = rate_per_s(requests) / target_per_s
    start_s = requests[0].arrived_at_s
    scaled = []
    for r in requests:
        at_s = start_s + (r.arrived_at_s - start_s) * stretch
        deadline_s = None if r.deadline_s is None else at_s + r.deadline_s - r.arrived_at_s
        scaled.append(
            Request(r.id, r.key, r.tokens, at_s, r.tenant, deadline_s, r.group, r.priority)
        )
    return scaled


@dataclass(frozen=True, slots=True, eq=False)
class Capacity:
    """The highest rate that was found to hold, and the evidence."""

    rate_per_s: float
    """0 where the promise does not hold at any rate."""
    result: SimulationResult
    """At ``rate_per_s``; at the lowest rate tried where none holds."""
    simulations: int


def keeps_promise(result: SimulationResult, rate_per_s: float, *, p95_limit_s: float) -> bool:
    """Whether the promise holds at ``rate_per_s``, and would go on holding.

    That is: nothing is refused, the work that arrives takes less than the time in which it arrives
    (rho < 1: a short workload could otherwise pass on what a queue can store), and p95 is within
    the limit, over all requests and over the later half, when queues and caches have filled.
    """
    n = result.requests
    return (
        result.rejected == 0
        and result.device_busy_s * rate_per_s < result.instances * n
        and result.p95_s <= p95_limit_s
        and quantile(result.latencies_s[n // 2 :], 0.95) <= p95_limit_s
    )


def max_rate(
    make_plane: Callable[[], DataPlane],
    requests: Sequence[Request],
    service: BatchTimeModel,
    *,
    p95_limit_s: float,
    first_guess_per_s: float,
    make_noise: Callable[[], Noise] | None = None,
    value_bytes: int = 0,
    tolerance: float = 0.02,
) -> Capacity:
    """The highest rate, within ``tolerance``, at which ``keeps_promise``.

    Where a cache answers everything there is none: then it is ``first_guess_per_s``.
    Give a workload that lasts many times ``p95_limit_s`` at the rates in question.

    Each simulation has a fresh plane and a fresh noise stream; give equal seeds, so that rates
    are compared on equal luck.
    """
    simulations = 0

    def at(rate: float) -> SimulationResult:
        nonlocal simulations
        simulations += 1
        noise = make_noise() if make_noise is not None else None
        return simulate(
            make_plane(),
            scale_to_rate(requests, rate),
            service,
            noise=noise,
            value_bytes=value_bytes,
        )

    def holds(result: SimulationResult, rate: float) -> bool:
        return keeps_promise(result, rate, p95_limit_s=p95_limit_s)

    low = high = first_guess_per_s
    best = at(low)
    if holds(best, low):
        if not best.device_busy_s:
            return Capacity(low, best, simulations)  # a cache has it all: no rate is too high
        while holds(result := at(high := high * 1.5), high):
            low, best = high, result
    else:
        for share in _SLOWER:
            low = first_guess_per_s * share
            if holds(best := at(low), low):
                break
            high = low
        else:
            return Capacity(0.0, best, simulations)
    while high / low > 1 + tolerance:
        middle = (low * high) ** 0.5
        result = at(middle)
        if holds(result, middle):
            low, best = middle, result
        else:
            high = middle
    return Capacity(low, best, simulations)
