"""All of a variant but its build, and what simulating it came to.

Two costs of one request, in seconds of the whole machine:

- *provisioned*: the machine seconds that pass per request when machines are loaded as far as the
  p95 promise allows: what the bill says, and what decides;
- *attributed*: the machine seconds that were spent on it at ``LOAD`` of that rate; idle time is
  somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass

from headgate.objects import BatchingSpec, CacheSpec, Variant
from headgate.scheduling import InstancePlan

__all__ = ["LOAD", "Policies", "Trial"]

LOAD = 0.7
"""Share of the highest rate within the promise at which attributed cost is taken."""


@dataclass(frozen=True, slots=True)
class Policies:
    """One point of the grid: everything about a variant but its build."""

    plan: InstancePlan
    batching: BatchingSpec
    cache: CacheSpec
    lone_threads: int = 0

    def variant(self, name: str, build: str) -> Variant:
        """The variant that it makes of a build (of ``plan.threads`` threads)."""
        return Variant(
            name,
            build,
            self.plan.instances,
            self.batching,
            self.cache,
            lone_threads=self.lone_threads,
        )

    @property
    def family(self) -> tuple[InstancePlan, bool]:
        """What the cost model is wrong about together: it knows throughput, not latency. One plan
        may not hold the promise at all, and where batches are too slow one at a time may."""
        return self.plan, self.batching.max_requests > 1

    @property
    def complexity(self) -> tuple[int, int, int]:
        """For ties: memory first, then the size of batches."""
        return (
            self.cache.capacity_bytes,
            self.batching.max_padded_tokens if self.batching.max_requests > 1 else 0,
            self.batching.max_requests,
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate, simulated. Machine seconds are seconds of all effective cores."""

    candidate: Policies
    max_rate_per_s: float
    """Of one machine within the p95 limit; 0 where no rate holds it."""
    p95_s: float
    """At ``LOAD`` of that rate; at the lowest rate tried where none holds."""
    attributed_machine_s: float
    """Per request, at the same rate."""
    provisioned_machine_s: float
    """Per request: 1 / max_rate_per_s, +inf where no rate holds the limit."""
    refused: str | None = None
    """Why it cannot be chosen, or None."""
