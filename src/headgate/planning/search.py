"""Which batching budget, instance plan and cache serve a workload most cheaply within its promise.

Ask and tell: ``Search`` says what to try next and is told what came out; it runs nothing itself.
``choose`` is the loop around it: a cost model ranks the whole grid (the batcher on the length mix
that the cache lets through), the simulator then tries the best of it.

Two costs of one request, in seconds of the whole machine and in money:

- *attributed*: the machine seconds that were spent on it; idle time is somebody else's;
- *provisioned*: the machine seconds that pass per request when machines are loaded as far as the
  p95 promise allows: what the bill says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headgate.batching import forecast
from headgate.caching import make_policy
from headgate.dataplane import DataPlane
from headgate.objects import BatchingSpec, BatchInvariance, CacheSpec, Variant
from headgate.planning.capacity import max_rate, rate_per_s, scale_to_rate
from headgate.planning.simulate import Noise, simulate
from headgate.scheduling import InstancePlan
from headgate.workload import Request, ServiceCurve

__all__ = ["BATCHING_GRID", "Candidate", "PlanChoice", "Search", "Skipped", "Trial", "choose"]

BATCHING_GRID: tuple[BatchingSpec, ...] = (
    BatchingSpec(max_requests=1),
    *(
        BatchingSpec(max_requests=size, max_padded_tokens=tokens)
        for size, tokens in ((8, 256), (8, 512), (16, 512), (16, 1024), (32, 1024), (32, 2048))
    ),
)
"""Budgets to try where the caller names none."""

_EQUAL = 1.01
"""Costs within a percent are equal; the simpler plan wins."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One point of the grid: everything about a variant but its build."""

    plan: InstancePlan
    batching: BatchingSpec
    cache: CacheSpec

    def variant(self, name: str, build: str) -> Variant:
        """The variant that it makes of a build (of ``plan.threads`` threads)."""
        return Variant(name, build, self.plan.instances, self.batching, self.cache)

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

    candidate: Candidate
    predicted_machine_s: float
    """Per request, by the cost model alone."""
    max_rate_per_s: float
    """Of one machine within the p95 limit; 0 where no rate holds it."""
    machines: int
    """Needed for the workload's rate; 0 where no number helps."""
    p95_s: float
    """At the workload's rate, shared by ``machines``; at the lowest rate tried where none helps."""
    hit_ratio: float
    utilisation: float
    padding_share: float
    attributed_machine_s: float
    """Per request."""
    provisioned_machine_s: float
    """Per request: 1 / max_rate_per_s, +inf where no rate holds the limit."""
    attributed_cost: float
    provisioned_cost: float
    refused: str | None
    """Why it cannot be chosen, or None."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A candidate that was not simulated, and why."""

    candidate: Candidate
    predicted_machine_s: float
    why: str


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """The outcome, with everything that was looked at."""

    best: Trial | None
    trials: tuple[Trial, ...]
    skipped: tuple[Skipped, ...]
    binding: str | None
    """The constraint that stands in the way where nothing is feasible."""


class Search:
    """Ask and tell over a finite grid, cheapest prediction first, nothing twice.

    Each instance plan's best comes before any plan's second best: the cost model knows
    throughput, not latency, and one plan may not hold the promise at all.

    A candidate whose *prediction* is more than ``give_up_above`` times the cheapest feasible
    outcome is not asked for: the model is not that wrong.
    """

    def __init__(
        self, predicted_machine_s: Mapping[Candidate, float], *, give_up_above: float = 1.5
    ) -> None:
        self.predicted_machine_s = dict(predicted_machine_s)
        self.give_up_above = give_up_above
        self._trials: dict[Candidate, Trial] = {}
        ranked = sorted(
            self.predicted_machine_s,
            key=lambda c: (self.predicted_machine_s[c], c.complexity, c.plan),
        )
        firsts: dict[InstancePlan, Candidate] = {}
        for candidate in ranked:
            firsts.setdefault(candidate.plan, candidate)
        self._queue = [*firsts.values(), *(c for c in ranked if firsts[c.plan] is not c)]
        self._asked: set[Candidate] = set()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All that was told, in order."""
        return tuple(self._trials.values())

    @property
    def untried(self) -> tuple[Candidate, ...]:
        """Candidates that were never asked for, cheapest prediction first."""
        return tuple(c for c in self._queue if c not in self._asked)

    @property
    def best(self) -> Trial | None:
        """The simplest of the feasible trials within 1 % of the cheapest provisioned cost."""
        feasible = [t for t in self._trials.values() if t.refused is None]
        if not feasible:
            return None
        least = min(t.provisioned_machine_s for t in feasible)
        equal = [t for t in feasible if t.provisioned_machine_s <= least * _EQUAL]
        return min(
            equal, key=lambda t: (t.candidate.complexity, t.provisioned_machine_s, t.candidate.plan)
        )

    def ask(self) -> Candidate | None:
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


def choose(
    workload: Sequence[Request],
    curves: Mapping[InstancePlan, ServiceCurve],
    *,
    p95_limit_s: float,
    price_per_machine_s: float = 0.0,
    batching: Sequence[BatchingSpec] = BATCHING_GRID,
    caches: Sequence[CacheSpec] = (CacheSpec(),),
    offered_rate_per_s: float | None = None,
    max_machines: int | None = None,
    value_bytes: int = 0,
    batch_invariance: BatchInvariance = BatchInvariance.EXACT,
    make_noise: Callable[[], Noise] | None = None,
    trials: int = 8,
    capacity_requests: int = 5000,
) -> PlanChoice:
    """The cheapest candidate (provisioned) that holds ``p95_limit_s`` at the workload's rate.

    ``curves``: service times of one instance under each plan, measured with all its instances
    busy. ``offered_rate_per_s``: by default the workload's own. ``trials``: how many candidates to
    simulate at most. ``capacity_requests``: how much of the workload the search for the highest
    rate replays.
    """
    if not workload or not curves:
        raise ValueError("a choice needs a workload and at least one service curve")
    offered = offered_rate_per_s or rate_per_s(workload)
    cores = max(plan.cores for plan in curves)
    misses = {cache: _miss_lengths(workload, cache, value_bytes) for cache in caches}
    predicted: dict[Candidate, float] = {}
    skipped: list[Skipped] = []
    for plan, curve in curves.items():
        for spec in batching:
            for cache in caches:
                candidate = Candidate(plan, spec, cache)
                lengths = misses[cache]
                gain = forecast(curve, spec, lengths[:2000] or [1])
                miss_share = len(lengths) / len(workload)
                seconds = miss_share / gain.batched_per_s * plan.threads / cores
                if spec.max_requests > 1 and not gain.pays and len(batching) > 1:
                    skipped.append(Skipped(candidate, seconds, gain.reason))
                else:
                    predicted[candidate] = seconds

    def run(candidate: Candidate) -> Trial:
        curve = curves[candidate.plan]
        variant = candidate.variant("candidate", "build")

        def make_plane() -> DataPlane:
            return DataPlane.of(variant, curve, batch_invariance=batch_invariance)

        seconds = predicted[candidate]
        capacity = max_rate(
            make_plane,
            workload[:capacity_requests],
            curve,
            p95_limit_s=p95_limit_s,
            first_guess_per_s=0.8 / seconds if seconds > 0 else offered,
            make_noise=make_noise,
            value_bytes=value_bytes,
        )
        highest = capacity.rate_per_s
        machines = math.ceil(offered / highest) if highest else 0
        result = capacity.result
        if machines:
            result = simulate(
                make_plane(),
                scale_to_rate(workload, offered / machines),
                curve,
                noise=make_noise() if make_noise is not None else None,
                value_bytes=value_bytes,
            )
        attributed = result.busy_s_per_request * candidate.plan.threads / cores
        provisioned = 1.0 / highest if highest else math.inf
        refused = None
        if not highest:
            refused = (
                f"latency_p95: {capacity.result.p95_s:.4g} s even at the lowest rate tried, "
                f"above the limit of {p95_limit_s:.4g} s"
            )
        elif max_machines is not None and machines > max_machines:
            refused = (
                f"machines: {machines} needed for {offered:.4g} requests/s within "
                f"{p95_limit_s:.4g} s, {max_machines} allowed"
            )
        return Trial(
            candidate=candidate,
            predicted_machine_s=seconds,
            max_rate_per_s=highest,
            machines=machines,
            p95_s=result.p95_s,
            hit_ratio=result.stats.hit_ratio,
            utilisation=result.utilisation,
            padding_share=result.stats.padding_share,
            attributed_machine_s=attributed,
            provisioned_machine_s=provisioned,
            attributed_cost=attributed * price_per_machine_s,
            provisioned_cost=provisioned * price_per_machine_s,
            refused=refused,
        )

    search = Search(predicted)
    while len(search.trials) < trials and (asked := search.ask()) is not None:
        search.tell(run(asked))
    skipped += (
        Skipped(c, predicted[c], "predicted to cost more than those that were tried")
        for c in search.untried
    )
    best = search.best
    return PlanChoice(
        best=best,
        trials=search.trials,
        skipped=tuple(skipped),
        binding=None if best else _binding(search.trials),
    )


def _miss_lengths(
    workload: Sequence[Request], cache: CacheSpec, value_bytes: int
) -> tuple[int, ...]:
    """Tokens of the requests that the cache lets through: the stream that reaches the device."""
    if cache.capacity_bytes == 0:
        return tuple(r.tokens for r in workload)
    policy = make_policy(cache)
    lengths = []
    for r in workload:
        if policy.get(r.key, r.arrived_at_s) is None:
            policy.put(r.key, True, value_bytes, r.arrived_at_s)
            lengths.append(r.tokens)
    return tuple(lengths)


def _binding(trials: Sequence[Trial]) -> str:
    """The refusal of the trial that came closest."""
    closest = min(trials, key=lambda t: (t.machines == 0, t.machines, t.p95_s))
    assert closest.refused is not None
    return closest.refused
