"""What a replay found: segments, sides, and what the gate takes of them. Knows no process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate.objects import Direction
from headgate.optimize.evidence import SPEED
from headgate.optimize.recorder import Recorded
from headgate.release import Blocks
from headgate.release.estimate import MAX_ERRORED_SHARE

__all__ = ["DRAIN_S", "Range", "Replay", "SegmentTimes", "Side", "replay_from_json"]

DRAIN_S = 0.1
"""Quiet time between two segments, after everything of the first was answered."""
Range = tuple[int, int]
"""Workload indices [first, last); those beyond its end mean that it began anew."""


@dataclass(frozen=True, slots=True)
class SegmentTimes:
    """One segment of load on one server."""

    first: int
    """Workload index of its first request."""
    requests: int
    failed: int
    duration_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    mean_s: float
    hit_share: float
    server_cpu_s: float
    """CPU seconds of the server's process, all threads."""
    generator_cpu_s: float
    """CPU seconds of the load generator, which runs beside it on the same cores."""

    @property
    def sent(self) -> Range:
        """The requests of the workload that it sent."""
        return self.first, self.first + self.requests

    def metric(self, name: str, *, cores: int, price_per_s: float) -> float:
        """A latency in seconds, or machine seconds or money for a thousand answered requests.

        A server that fails more than one request in a hundred has no latency: it is infinite.
        """
        if name.startswith("latency_"):
            if self.failed > MAX_ERRORED_SHARE * self.requests:
                return math.inf
            return float(getattr(self, name.removeprefix("latency_") + "_s"))
        answered = self.requests - self.failed
        per_1k = self.server_cpu_s / cores / answered * 1000 if answered else math.inf
        return per_1k * price_per_s if name.startswith("cost_per_") else per_1k


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two servers over the whole replay."""

    capacity_per_s: float
    """Answers a second, closed loop, many connections."""
    rate_per_s: float
    """At which it was replayed."""
    before: tuple[Range, ...]
    """What it had answered before the first segment, in order: probes and noise. A cache knows."""
    segments: tuple[SegmentTimes, ...]
    quantiles: tuple[tuple[float, float], ...]
    """Latency of all replayed requests: (share, seconds)."""
    memory_bytes: int
    """Resident memory of the server at the end."""
    void: tuple[str, ...]
    """Why the generator's verdict on itself is VOID, over all segments; empty where valid."""
    most_per_s: float | None = None
    """Up to which rate its plan keeps the p95 promise; None where that was not asked."""

    def quantile_s(self, q: float) -> float:
        """The latency that a share ``q`` of the replayed requests kept."""
        return next(t for share, t in self.quantiles if share >= q)

    @property
    def requests(self) -> int:
        return sum(s.requests for s in self.segments)

    @property
    def cpu_s_per_request(self) -> float:
        return sum(s.server_cpu_s for s in self.segments) / max(self.requests, 1)

    @property
    def generator_cpu_s_per_request(self) -> float:
        return sum(s.generator_cpu_s for s in self.segments) / max(self.requests, 1)

    @property
    def hit_share(self) -> float:
        return sum(s.hit_share * s.requests for s in self.segments) / max(self.requests, 1)


@dataclass(frozen=True, slots=True)
class Replay:
    """Both sides, and the baseline against itself before and after."""

    current: Side
    candidate: Side
    aa_before: tuple[SegmentTimes, SegmentTimes]
    aa_after: tuple[SegmentTimes, SegmentTimes]
    aa_void: tuple[str, ...]
    """What the generator holds against its own run in those."""
    cores: int
    run: Recorded

    @property
    def has_cpu_times(self) -> bool:
        """Whether both servers took time that processors count, which they do in hundredths of a
        second: of a short replay there may be none."""
        return all(side.cpu_s_per_request for side in (self.current, self.candidate))

    def samples(self, metric: str, *, price_per_s: float) -> Blocks | None:
        """The candidate's segments beside the current's, as the gate takes them."""
        if not metric.startswith(SPEED):
            return None

        def of(s: SegmentTimes) -> float:
            return s.metric(metric, cores=self.cores, price_per_s=price_per_s)

        return Blocks(
            metric=metric,
            unit="money" if metric.startswith("cost") else "s",
            direction=Direction.LOWER,
            candidate=tuple(of(s) for s in self.candidate.segments),
            current=tuple(of(s) for s in self.current.segments),
            aa_before=((of(self.aa_before[0]), of(self.aa_before[1])),),
            aa_after=((of(self.aa_after[0]), of(self.aa_after[1])),),
        )

    @property
    def void(self) -> tuple[str, ...]:
        """What the generator holds against its own run, if anything, and on which server."""
        return (
            *(f"on the current: {reason}" for reason in self.current.void),
            *(f"on the candidate: {reason}" for reason in self.candidate.void),
            *(f"on the current, against itself: {reason}" for reason in self.aa_void),
        )


def replay_from_json(body: Mapping[str, Any], *, cores: int, run: Recorded) -> Replay:
    """The artifact of a replay, read back."""
    current, candidate = (_side(s) for s in body["sides"])
    before, after = (tuple(map(_times, body[k])) for k in ("aa_before", "aa_after"))
    return Replay(
        current,
        candidate,
        before,  # type: ignore[arg-type]  # two each
        after,  # type: ignore[arg-type]
        tuple(body["aa_void"]),
        cores,
        run,
    )


def _side(body: Mapping[str, Any]) -> Side:
    return Side(
        **{
            **body,
            "before": tuple(map(tuple, body["before"])),
            "segments": tuple(map(_times, body["segments"])),
            "quantiles": tuple(map(tuple, body["quantiles"])),
            "void": tuple(body["void"]),
        }
    )


def _times(body: Mapping[str, Any]) -> SegmentTimes:
    return SegmentTimes(**body)
