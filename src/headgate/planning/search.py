"""What to try next, of a finite grid of plans: ask and tell, nothing is run here.

Two costs of one request, in seconds of the whole machine:

- *provisioned*: the machine seconds that pass per request when machines are loaded as far as the
  p95 promise allows: what the bill says, and what decides;
- *attributed*: the machine seconds that were spent on it at ``LOAD`` of that rate; idle time is
  somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headgate.objects import BatchingSpec, CacheSpec, Variant
from headgate.scheduling import InstancePlan

__all__ = ["EQUAL", "LOAD", "Policies", "Search", "Trial"]

LOAD = 0.7
"""Share of the highest rate within the promise at which attributed cost is taken."""
EQUAL = 1.01
"""Costs within a percent are equal; the simpler plan wins."""


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


class Search:
    """Ask and tell over a finite grid, cheapest prediction first, nothing twice.

    Each instance plan's best comes before any plan's second best: the cost model knows
    throughput, not latency, and one plan may not hold the promise at all.

    A candidate whose *prediction* is more than ``give_up_above`` times the cheapest feasible
    outcome is not asked for: the model is not that wrong.
    """

    def __init__(
        self, predicted_machine_s: Mapping[Policies, float], *, give_up_above: float = 1.5
    ) -> None:
        self.predicted_machine_s = dict(predicted_machine_s)
        self.give_up_above = give_up_above
        self._trials: dict[Policies, Trial] = {}
        ranked = sorted(
            self.predicted_machine_s,
            key=lambda c: (self.predicted_machine_s[c], c.complexity, c.plan),
        )
        firsts: dict[InstancePlan, Policies] = {}
        for candidate in ranked:
            firsts.setdefault(candidate.plan, candidate)
        self._queue = [*firsts.values(), *(c for c in ranked if firsts[c.plan] is not c)]
        self._asked: set[Policies] = set()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All that was told, in order."""
        return tuple(self._trials.values())

    @property
    def untried(self) -> tuple[Policies, ...]:
        """Candidates that were never asked for, cheapest prediction first."""
        return tuple(c for c in self._queue if c not in self._asked)

    @property
    def best(self) -> Trial | None:
        """The simplest of the feasible trials within 1 % of the cheapest provisioned cost."""
        feasible = [t for t in self._trials.values() if t.refused is None]
        if not feasible:
            return None
        least = min(t.provisioned_machine_s for t in feasible)
        equal = [t for t in feasible if t.provisioned_machine_s <= least * EQUAL]
        return min(
            equal, key=lambda t: (t.candidate.complexity, t.provisioned_machine_s, t.candidate.plan)
        )

    def ask(self) -> Policies | None:
        """What to try next; None when nothing worth trying is left."""
        best = self.best
        for candidate in self._queue:
            if candidate in self._asked:
                continue
            predicted = self.predicted_machine_s[candidate]
            if best and predicted > self.give_up_above * best.provisioned_machine_s:
                continue
            self._asked.add(candidate)
            return candidate
        return None

    def tell(self, trial: Trial) -> None:
        """What came out. Raises ``ValueError`` for what was not asked for, or told before."""
        if trial.candidate not in self._asked or trial.candidate in self._trials:
            raise ValueError(f"not asked for, or told before: {trial.candidate}")
        self._trials[trial.candidate] = trial
