"""The event loop in virtual time: the data plane that serves, driven by predicted service times.

There is no second implementation of the request's way: the simulator delivers arrivals and
completions to a ``DataPlane`` and carries out what it asks for. What it does not know: the time
that parsing, tokenizing and the network take, and that a busy machine slows itself down, other
than through the service times that it is given.

Events of one moment: completions first, in the order in which they were started; then all
arrivals of that moment together, as the items of one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from headgate.dataplane import (
    Action,
    Answer,
    Arrived,
    DataPlane,
    Event,
    Finished,
    PlaneStats,
    Reject,
    Run,
    Wake,
    Woke,
)
from headgate.theory.quantile import quantile
from headgate.workload import BatchTimeModel, Request

__all__ = ["Noise", "SimulationResult", "exponential_noise", "lognormal_noise", "simulate"]

Noise = Callable[[], float]
"""Draws the factor by which one batch takes longer than predicted; its mean should be 1."""


def lognormal_noise(rng: np.random.Generator, sigma: float) -> Noise:
    """Factors ``exp(sigma*Z - sigma^2/2)`` of mean 1; ``sigma`` is the standard deviation of the
    logarithm, about the coefficient of variation where it is small."""
    return _blocks(lambda n: np.exp(sigma * rng.standard_normal(n) - 0.5 * sigma**2))


def exponential_noise(rng: np.random.Generator) -> Noise:
    """Exponential factors of mean 1: the M of M/M/c."""
    return _blocks(lambda n: rng.exponential(1.0, n))


def _blocks(draw: Callable[[int], NDArray[np.float64]], block: int = 1024) -> Noise:
    def factors() -> Iterable[float]:
        while True:
            yield from draw(block).tolist()

    return iter(factors()).__next__


@dataclass(frozen=True, slots=True, eq=False)
class SimulationResult:
    """What happened. Arrays have shape (requests,), in order of arrival; times in seconds."""

    latencies_s: NDArray[np.float64]
    """From arrival to answer; +inf for a request that was refused."""
    waits_s: NDArray[np.float64]
    """From arrival to the start of its batch; NaN where no batch was run for it."""
    sources: NDArray[np.str_]
    """``engine``, ``cache``, ``twin`` or ``rejected``."""
    device_busy_s: float
    """Time that instances spent on batches, summed over instances; the lone one counts as all."""
    makespan_s: float
    """From the first arrival to the last answer."""
    mean_in_flight: float
    """Integral of the plane's own gauge over the makespan: L of Little's law."""
    instances: int
    stats: PlaneStats

    @property
    def requests(self) -> int:
        return len(self.latencies_s)

    @property
    def batches(self) -> int:
        return self.stats.batches

    @property
    def hits(self) -> int:
        return self.stats.hits

    @property
    def twins(self) -> int:
        return self.stats.twins

    @property
    def rejected(self) -> int:
        return self.stats.rejected_total

    @property
    def padded_tokens(self) -> int:
        return self.stats.padded_tokens

    @property
    def utilisation(self) -> float:
        """rho: share of the makespan in which an instance was busy, 0 to 1."""
        return self.device_busy_s / (self.instances * self.makespan_s) if self.makespan_s else 0.0

    @property
    def throughput_per_s(self) -> float:
        """Answers a second over the makespan."""
        return self.stats.answered / self.makespan_s if self.makespan_s else 0.0

    @property
    def busy_s_per_request(self) -> float:
        """Instance seconds for one answered request, hits and twins counted."""
        return self.device_busy_s / self.stats.answered if self.stats.answered else 0.0

    @property
    def p50_s(self) -> float:
        return self.quantile_s(0.50)

    @property
    def p95_s(self) -> float:
        return self.quantile_s(0.95)

    @property
    def p99_s(self) -> float:
        return self.quantile_s(0.99)

    def quantile_s(self, q: float) -> float:
        """``inf{t : F(t) >= q}``, the order statistic; refused requests lie at +inf."""
        return quantile(self.latencies_s, q)


def simulate(
    plane: DataPlane,
    requests: Iterable[Request],
    service: BatchTimeModel,
    *,
    lone_service: BatchTimeModel | None = None,
    noise: Noise | None = None,
    value_bytes: int = 0,
    handover_s: float = 0.0,
) -> SimulationResult:
    """Drives an idle ``plane`` with ``requests`` until the last is answered.

    Driven again, later in its own time, it has its cache as it was left; ``stats`` count on.
    ``requests``: ascending in ``arrived_at_s``, ids distinct. ``service``: the machine's true
    service times, which need not be what the plane predicts, and ``lone_service`` those of its lone
    instance; ``noise`` multiplies each.
    ``value_bytes``: size of one answer, as the cache is charged for it. ``handover_s``: how long an
    instance is taken beyond each call, which the plane does not learn as service time.
    Raises ``ValueError`` for arrivals out of order.
    """
    heap: list[tuple[float, int, Event]] = []
    index: dict[int, int] = {}
    latencies: list[float] = []
    waits: list[float] = []
    sources: list[str] = []
    busy_s = in_flight_s = 0.0
    sequence = 0
    arriving = iter(requests)
    coming = next(arriving, None)
    start_s = coming.arrived_at_s if coming is not None else 0.0
    now_s = answered_at_s = start_s
    in_flight = 0

    while coming is not None or heap:
        events: tuple[Event, ...] | list[Event]
        before_s = now_s
        if coming is None or (heap and heap[0][0] <= coming.arrived_at_s):
            now_s, _, event = heappop(heap)
            events = (event,)
        else:
            now_s = coming.arrived_at_s
            if now_s < before_s:
                raise ValueError(f"request {coming.id} arrives before its predecessor")
            events = []
            while coming is not None and coming.arrived_at_s == now_s:
                index[coming.id] = len(latencies)
                latencies.append(float("nan"))
                waits.append(float("nan"))
                sources.append("")
                events.append(Arrived((coming,)))
                coming = next(arriving, None)
        in_flight_s += in_flight * (now_s - before_s)

        actions: list[Action] = plane.handle_all(events, now_s)
        for action in actions:
            match action:
                case Answer():
                    i = index[action.request.id]
                    latencies[i] = now_s - action.request.arrived_at_s
                    sources[i] = action.source
                    answered_at_s = now_s
                case Run():
                    batch = action.batch
                    size = batch.size
                    held, model = 1, service
                    if action.instance == plane.instances and lone_service is not None:
                        held, model = plane.instances, lone_service
                    duration_s = model.batch_s(batch)
                    if noise is not None:
                        duration_s *= noise()
                    busy_s += held * (duration_s + handover_s)
                    sequence += 1
                    values = (True,) * size
                    done = Finished(batch, action.instance, values, value_bytes, duration_s)
                    heappush(heap, (now_s + duration_s + handover_s, sequence, done))
                    for request in batch.requests:
                        waits[index[request.id]] = now_s - request.arrived_at_s
                case Reject():
                    i = index[action.request.id]
                    latencies[i] = float("inf")
                    sources[i] = "rejected"
                case Wake():
                    sequence += 1
                    heappush(heap, (max(now_s, action.at_s), sequence, Woke()))
        in_flight = plane.in_flight

    makespan_s = answered_at_s - start_s
    assert in_flight == 0, "every request was answered or refused"
    return SimulationResult(
        latencies_s=np.array(latencies),
        waits_s=np.array(waits),
        sources=np.array(sources, dtype="<U8"),
        device_busy_s=busy_s,
        makespan_s=makespan_s,
        mean_in_flight=in_flight_s / makespan_s if makespan_s else 0.0,
        instances=plane.instances,
        stats=plane.stats(),
    )
