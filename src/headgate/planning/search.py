"""Which batching budget, instance plan and cache serve a workload most cheaply within its promise.

Ask and tell: ``Search`` says what to try next and is told what came out; it runs nothing itself.
``choose`` is the loop around it: a cost model ranks the whole grid (the batcher on the length mix
that the cache lets through), the simulator then tries the best of it. Last it asks whether the
winner of these may hold requests back for company, and for how long.

Two costs of one request, in seconds of the whole machine:

- *provisioned*: the machine seconds that pass per request when machines are loaded as far as the
  p95 promise allows: what the bill says, and what decides;
- *attributed*: the machine seconds that were spent on it at ``LOAD`` of that rate; idle time is
  somebody else's. Holding requests back spends some of the promise on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from headgate.batching import forecast
from headgate.caching import GenerationCache, make_policy
from headgate.dataplane import DataPlane
from headgate.objects import BatchingSpec, BatchInvariance, CacheSpec, Variant
from headgate.planning.capacity import max_rate, rate_per_s, scale_to_rate
from headgate.planning.simulate import simulate
from headgate.scheduling import InstancePlan
from headgate.workload import Request, ServiceCurve

__all__ = [
    "BATCHING_GRID",
    "LOAD",
    "WAITS",
    "Candidate",
    "PlanChoice",
    "Search",
    "Skipped",
    "Trial",
    "choose",
]

BATCHING_GRID: tuple[BatchingSpec, ...] = (
    BatchingSpec(max_requests=1),
    *(
        BatchingSpec(max_requests=size, max_padded_tokens=tokens)
        for size, tokens in ((8, 256), (8, 512), (16, 512), (16, 1024), (32, 1024), (32, 2048))
    ),
)
"""Budgets to try where the caller names none."""

LOAD = 0.7
"""Share of the highest rate within the promise at which attributed cost is taken."""
WAITS = (1 / 16, 1 / 8, 1 / 4)
"""Shares of the p95 limit for which requests may be held back."""
_EQUAL = 1.01
"""Costs within a percent are equal; the simpler plan wins."""
_KEPT_RATE = 1.04
"""Two highest rates, each known to 2 %, are no different within this."""


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
    p95_s: float
    """At ``LOAD`` of that rate; at the lowest rate tried where none holds."""
    attributed_machine_s: float
    """Per request, at the same rate."""
    provisioned_machine_s: float
    """Per request: 1 / max_rate_per_s, +inf where no rate holds the limit."""
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
    batching: Sequence[BatchingSpec] = BATCHING_GRID,
    caches: Sequence[CacheSpec] = (CacheSpec(),),
    value_bytes: int = 0,
    batch_invariance: BatchInvariance = BatchInvariance.EXACT,
    trials: int = 8,
    capacity_requests: int = 5000,
) -> PlanChoice:
    """The cheapest candidate that holds ``p95_limit_s``.

    ``curves``: service times of one instance under each plan, measured with all its instances
    busy. ``trials``: how many candidates to simulate at most, waits apart. ``capacity_requests``:
    how much of the workload the search for the highest rate replays, its end; twice as many
    before that fill the cache.
    """
    if not workload or not curves:
        raise ValueError("a choice needs a workload and at least one service curve")
    cores = max(plan.cores for plan in curves)
    predicted, skipped = _predict(workload, curves, batching, caches, value_bytes, cores)
    before = workload[-3 * capacity_requests : -capacity_requests]
    replayed = workload[-capacity_requests:]

    def planes(candidate: Candidate) -> Callable[[], DataPlane]:
        """Makers of fresh planes whose caches have seen the workload so far."""
        variant, curve = candidate.variant("candidate", "build"), curves[candidate.plan]
        return lambda: DataPlane.of(
            variant,
            curve,
            batch_invariance=batch_invariance,
            cache=_warm_cache(candidate.cache, before, value_bytes),
        )

    def run(candidate: Candidate, guess_per_s: float) -> Trial:
        make_plane, curve = planes(candidate), curves[candidate.plan]
        capacity = max_rate(
            make_plane,
            replayed,
            curve,
            p95_limit_s=p95_limit_s,
            first_guess_per_s=guess_per_s,
            value_bytes=value_bytes,
        )
        highest, result, refused = capacity.rate_per_s, capacity.result, None
        if highest:
            loaded = scale_to_rate(replayed, LOAD * highest)
            result = simulate(make_plane(), loaded, curve, value_bytes=value_bytes)
        else:
            refused = (
                f"latency_p95: {result.p95_s:.4g} s even at the lowest rate tried, "
                f"above the limit of {p95_limit_s:.4g} s"
            )
        return Trial(
            candidate=candidate,
            predicted_machine_s=predicted.get(candidate, 0.0),
            max_rate_per_s=highest,
            p95_s=result.p95_s,
            attributed_machine_s=result.busy_s_per_request * candidate.plan.threads / cores,
            provisioned_machine_s=1.0 / highest if highest else math.inf,
            refused=refused,
        )

    search = Search(predicted)
    while len(search.trials) < trials and (asked := search.ask()) is not None:
        seconds = predicted[asked]
        search.tell(run(asked, 0.8 / seconds if seconds > 0 else rate_per_s(workload)))
    skipped += (
        Skipped(c, predicted[c], "predicted to cost more than those that were tried")
        for c in search.untried
    )
    if search.best is None:
        return PlanChoice(None, search.trials, tuple(skipped), _binding(search.trials))
    patient = [
        run(c, search.best.max_rate_per_s) for c in _waiting(search.best.candidate, p95_limit_s)
    ]
    best = _most_patient_that_pays(search.best, patient)
    return PlanChoice(best, (*search.trials, *patient), tuple(skipped), None)


def _predict(
    workload: Sequence[Request],
    curves: Mapping[InstancePlan, ServiceCurve],
    batching: Sequence[BatchingSpec],
    caches: Sequence[CacheSpec],
    value_bytes: int,
    cores: int,
) -> tuple[dict[Candidate, float], list[Skipped]]:
    """Machine seconds a request at saturation, by the cost model, and what cannot pay."""
    predicted: dict[Candidate, float] = {}
    skipped: list[Skipped] = []
    for cache in caches:
        lengths = _miss_lengths(workload, cache, value_bytes)
        miss_share = len(lengths) / len(workload)
        for plan, curve in curves.items():
            for spec in batching:
                gain = forecast(curve, spec, lengths[:2000] or [1])
                candidate = Candidate(plan, spec, cache)
                seconds = miss_share / gain.batched_per_s * plan.threads / cores
                if spec.max_requests > 1 and not gain.pays and len(batching) > 1:
                    skipped.append(Skipped(candidate, seconds, gain.reason))
                else:
                    predicted[candidate] = seconds
    return predicted, skipped


def _waiting(candidate: Candidate, p95_limit_s: float) -> list[Candidate]:
    """The same, allowed to hold requests back for shares of the promise."""
    if candidate.batching.max_requests == 1:
        return []
    return [
        replace(candidate, batching=replace(candidate.batching, max_wait_s=share * p95_limit_s))
        for share in WAITS
    ]


def _most_patient_that_pays(impatient: Trial, patient: Sequence[Trial]) -> Trial:
    """The least attributed cost that gives up no rate for it, as far as rates are known.

    Of waits whose costs differ by less than a percent, the shortest.
    """
    allowed = [
        t
        for t in (impatient, *patient)
        if t.provisioned_machine_s <= impatient.provisioned_machine_s * _KEPT_RATE
    ]
    least = min(t.attributed_machine_s for t in allowed)
    return next(t for t in allowed if t.attributed_machine_s <= least * _EQUAL)


def _warm_cache(
    spec: CacheSpec, seen: Sequence[Request], value_bytes: int
) -> GenerationCache | None:
    """A cache that has answered ``seen``; None where the plan has no cache."""
    if spec.capacity_bytes == 0:
        return None
    policy = make_policy(spec)
    cache = GenerationCache(policy, generation=0)
    for r in seen:
        if cache.lookup(r.key, tenant=r.tenant, generation=0, now_s=r.arrived_at_s) is None:
            cache.insert(
                r.key, True, value_bytes, tenant=r.tenant, generation=0, now_s=r.arrived_at_s
            )
    return cache


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
    closest = min(trials, key=lambda t: t.p95_s)
    assert closest.refused is not None
    return closest.refused
