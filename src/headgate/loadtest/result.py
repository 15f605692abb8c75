"""What a load test measured, and whether it measured anything at all.

The verdict judges the generator, never the server: a run whose requests left late, or not at the
rate that was asked for, says nothing about the server's latency and is VOID.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.loadtest.wire import NOT_SENT, Outcome
from headgate.theory.quantile import quantile

__all__ = ["LoadResult", "LoadVerdict"]

_RATE_TOLERANCE = 0.01
_LAG_FLOOR_S = 0.001
_LAG_SHARE_OF_P95 = 0.01


@dataclass(frozen=True, slots=True)
class LoadVerdict:
    """Whether the run counts. ``broken`` names each rule that did not hold, with its numbers."""

    broken: tuple[str, ...]
    scheduled_rate_per_s: float
    achieved_rate_per_s: float
    lag_p99_s: float
    """How late requests left, at the 99th percentile; infinite for one that never did."""
    lag_limit_s: float

    @property
    def void(self) -> bool:
        return bool(self.broken)

    def __str__(self) -> str:
        return "VOID: " + "; ".join(self.broken) if self.broken else "valid"


@dataclass(frozen=True, slots=True, eq=False)
class LoadResult:
    """One segment's requests; all arrays have one entry a request, in the order of the schedule.

    Times are seconds from the segment's start.
    """

    scheduled_s: NDArray[np.float64]
    sent_s: NDArray[np.float64]
    """When the request was written to its connection; NaN where it never was."""
    latencies_s: NDArray[np.float64]
    """From the *scheduled* time to the last byte of the answer; infinite where the status is not
    200."""
    answered_s: NDArray[np.float64]
    """The same whatever the status, so that refusals have a latency; infinite without an answer."""
    statuses: NDArray[np.int16]
    """HTTP status; -1 timed out, -2 connection refused or lost, -3 never sent."""
    sources: tuple[str | None, ...]
    """The answer's ``X-Headgate-Source``: engine, cache or twin."""
    duration_s: float
    generator_cpu_s: float
    server_cpu_s: float
    """CPU seconds of the process that ``Target.pid`` names, all its threads; NaN without one."""
    connections_opened: int
    waited_for_connection: int
    resent: int

    @classmethod
    def of(cls, scheduled_s: NDArray[np.float64], outcome: Outcome) -> LoadResult:
        names = (*outcome.source_names, None)  # -1, no source, is the last
        return cls(
            scheduled_s=np.asarray(scheduled_s, dtype=np.float64),
            sent_s=np.frombuffer(outcome.sent_s),
            latencies_s=np.frombuffer(outcome.latencies_s),
            answered_s=np.frombuffer(outcome.answered_s),
            statuses=np.frombuffer(outcome.statuses, dtype=np.int16),
            sources=tuple(names[i] for i in np.frombuffer(outcome.sources, dtype=np.int16)),
            duration_s=outcome.duration_s,
            generator_cpu_s=outcome.cpu_s,
            server_cpu_s=outcome.server_cpu_s,
            connections_opened=outcome.connections_opened,
            waited_for_connection=outcome.waited_for_connection,
            resent=outcome.resent,
        )

    @classmethod
    def joined(cls, results: Sequence[LoadResult]) -> LoadResult:
        """Several segments on one server as one run, laid end to end without the gaps."""
        starts = np.cumsum([0.0, *(r.duration_s for r in results[:-1])])
        return cls(
            scheduled_s=np.concatenate(
                [r.scheduled_s + t for r, t in zip(results, starts, strict=True)]
            ),
            sent_s=np.concatenate([r.sent_s + t for r, t in zip(results, starts, strict=True)]),
            latencies_s=np.concatenate([r.latencies_s for r in results]),
            answered_s=np.concatenate([r.answered_s for r in results]),
            statuses=np.concatenate([r.statuses for r in results]),
            sources=tuple(s for r in results for s in r.sources),
            duration_s=sum(r.duration_s for r in results),
            generator_cpu_s=sum(r.generator_cpu_s for r in results),
            server_cpu_s=sum(r.server_cpu_s for r in results),
            connections_opened=sum(r.connections_opened for r in results),
            waited_for_connection=sum(r.waited_for_connection for r in results),
            resent=sum(r.resent for r in results),
        )

    @property
    def n(self) -> int:
        return len(self.scheduled_s)

    @property
    def answered(self) -> int:
        """Requests with status 200."""
        return int((self.statuses == 200).sum())

    @property
    def failed(self) -> int:
        """Requests that ended in any other way; each counts with infinite latency."""
        return int(((self.statuses != 200) & (self.statuses != 0)).sum())

    @property
    def rate_per_s(self) -> float:
        """Answers per second over the whole segment."""
        return self.answered / self.duration_s

    def quantile_s(self, q: float) -> float:
        """The latency's order statistic ``inf{t : F(t) >= q}``, failures at infinity."""
        return quantile(self.latencies_s, q)

    @property
    def p95_s(self) -> float:
        return self.quantile_s(0.95)

    def verdict(self) -> LoadVerdict:
        """VOID unless the achieved rate is within 1 % of the schedule's, the schedule lag's p99
        is at most max(1 ms, 1 % of p95), and every request was sent and is accounted for."""
        broken: list[str] = []
        lag_s = np.where(np.isnan(self.sent_s), math.inf, self.sent_s - self.scheduled_s)
        lag_p99_s = quantile(lag_s, 0.99)
        p95_s = self.p95_s
        # An overloaded server has an infinite p95; it must not excuse a late generator.
        share_s = _LAG_SHARE_OF_P95 * p95_s if math.isfinite(p95_s) else 0.0
        limit_s = max(_LAG_FLOOR_S, share_s)
        scheduled, achieved = _rate(self.scheduled_s), _rate(self.sent_s)
        if abs(achieved - scheduled) > _RATE_TOLERANCE * scheduled:
            broken.append(
                f"sent {achieved:.1f} requests/s of {scheduled:.1f} scheduled, more than 1 % off"
            )
        if lag_p99_s > limit_s:
            broken.append(
                f"requests left {lag_p99_s:.4g} s late at p99, limit {limit_s:.4g} s"
                + (
                    f" ({self.waited_for_connection} waited for a free connection)"
                    if self.waited_for_connection
                    else ""
                )
            )
        unsent = int((self.statuses == NOT_SENT).sum())
        lost = self.n - self.answered - self.failed
        if unsent or lost:
            broken.append(f"of {self.n} requests {unsent} were never sent and {lost} are lost")
        return LoadVerdict(tuple(broken), scheduled, achieved, lag_p99_s, limit_s)


def _rate(times_s: NDArray[np.float64]) -> float:
    """Requests per second between the first and the last; infinite for a single instant."""
    sent = times_s[~np.isnan(times_s)]
    if len(sent) < 2:
        return math.inf if len(times_s) < 2 else 0.0
    span_s = float(sent.max() - sent.min())
    return (len(sent) - 1) / span_s if span_s else math.inf
