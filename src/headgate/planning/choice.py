"""Which batching budget, instance plan and cache serve a workload most cheaply within its promise.

A cost model ranks the whole grid (the batcher on the length mix that the cache lets through); the
simulator then tries the best of it, cheapest prediction first; last it is asked how long the winner
of these may hold requests back for company, and whether one more engine, of all cores, would answer
a lone request sooner.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from headgate.batching import forecast
from headgate.caching import GenerationCache, make_policy
from headgate.dataplane import DataPlane
from headgate.objects import BatchingSpec, BatchInvariance, CacheSpec
from headgate.planning.capacity import keeps_promise, max_rate, rate_per_s, scale_to_rate
from headgate.planning.joint import EQUAL, Arm, Cost, Entrant, Joint, Told
from headgate.planning.policies import LOAD, Policies, Trial
from headgate.planning.simulate import SimulationResult, simulate
from headgate.scheduling import InstancePlan
from headgate.theory.quantile import quantile
from headgate.workload import BatchTimeModel, Request, ServiceCurve

__all__ = ["BATCHING_GRID", "WAITS", "PlanChoice", "Skipped", "choose", "predict_costs"]

BATCHING_GRID: tuple[BatchingSpec, ...] = (
    BatchingSpec(max_requests=1),
    *(
        BatchingSpec(max_requests=size, max_padded_tokens=tokens)
        for size, tokens in ((8, 256), (8, 512), (16, 512), (16, 1024), (32, 1024), (32, 2048))
    ),
)
"""Budgets to try where the caller names none."""
WAITS = (1 / 16, 1 / 8, 1 / 4)
"""Shares of the p95 limit for which requests may be held back."""
_GIVE_UP_ABOVE = 1.5
"""The cost model is not so wrong that what it predicts this far above the best could win."""
_NOTHING_S = 1e-9
"""A cache that answers everything leaves no cost; its logarithm must be one."""
_SAME_RATE = 1.04
"""Two highest rates, each known to 2 %, are no different within this."""
_QUIET = 0.1
"""Share of the highest rate at which most requests have the machine to themselves."""
_SOONER = 0.9
"""An engine more is worth its memory where it takes at least a tenth off their median."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A candidate that was not simulated, and why."""

    candidate: Policies
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


def choose(
    workload: Sequence[Request],
    curves: Mapping[InstancePlan, ServiceCurve],
    *,
    p95_limit_s: float,
    takes: Mapping[InstancePlan, BatchTimeModel] | None = None,
    batching: Sequence[BatchingSpec] = BATCHING_GRID,
    caches: Sequence[CacheSpec] = (CacheSpec(),),
    value_bytes: int = 0,
    batch_invariance: BatchInvariance = BatchInvariance.EXACT,
    waits: Sequence[float] = WAITS,
    trials: int = 8,
    capacity_requests: int = 5000,
) -> PlanChoice:
    """The cheapest candidate that holds ``p95_limit_s``.

    ``curves``: what policies are told of service times, of one instance under each plan with all
    its instances busy; ``takes``: what calls really take, where that is more. ``waits``: shares of
    the limit to hold requests back for, shortest first. ``trials``: how many candidates to
    simulate at most, waits apart. ``capacity_requests``: how much of the workload the search for
    the highest rate replays, its end; twice as many before that fill the cache.
    """
    takes = takes or curves
    if not workload or not curves:
        raise ValueError("a choice needs a workload and at least one service curve")
    predicted, skipped = predict_costs(workload, takes, batching, caches, value_bytes)
    tests = _Tests(
        before=workload[-3 * capacity_requests : -capacity_requests],
        replayed=workload[-capacity_requests:],
        curves=curves,
        takes=takes,
        p95_limit_s=p95_limit_s,
        value_bytes=value_bytes,
        batch_invariance=batch_invariance,
    )
    search = _search(predicted, trials)
    tried: dict[Policies, Trial] = {}
    while asked := search.ask():
        (candidate,) = (a.arm.policies for a in asked if a.arm is not None)
        seconds = predicted[candidate]
        trial = tests.full(candidate, 0.8 / seconds if seconds > 0 else rate_per_s(workload))
        tried[candidate] = trial
        stopped_by = () if trial.refused is None else ("latency_p95",)
        cost = Cost(math.log(trial.provisioned_machine_s)) if trial.refused is None else None
        search.tell([Told(asked[0], cost, stopped_by)])
    skipped += (
        Skipped(arm.policies, predicted[arm.policies], why) for arm, why in search.untried.items()
    )
    found = search.found.best
    best = None if found is None else tried[found.policies]
    binding, patient = None, []
    if best is None:
        binding = min(tried.values(), key=lambda t: t.p95_s).refused
    else:
        patient = tests.waiting(best, waits)
        best = _least_attributed([best, *patient])
        if best in patient:  # its rate is only known to be no lower
            best = tests.full(best.candidate, best.max_rate_per_s)
        if (lone := tests.lone(best)) is not None:
            patient.append(lone)
            best = lone
    return PlanChoice(best, (*tried.values(), *patient), tuple(skipped), binding)


def _search(predicted: Mapping[Policies, float], trials: int) -> Joint[Policies]:
    """Of policies for one build."""
    build = ""
    simplest_first = sorted(predicted, key=lambda c: (c.complexity, c.plan))
    return Joint(
        {build: Entrant(Cost(0.0), accepted=True)},
        {Arm(build, c, c.family): math.log(max(predicted[c], _NOTHING_S)) for c in simplest_first},
        policy_margin=math.log(_GIVE_UP_ABOVE),
        most_plans=trials,
    )


@dataclass(frozen=True)
class _Tests:
    """Candidates on the end of the workload, behind caches that the rest has filled."""

    before: Sequence[Request]
    replayed: Sequence[Request]
    curves: Mapping[InstancePlan, ServiceCurve]
    takes: Mapping[InstancePlan, BatchTimeModel]
    p95_limit_s: float
    value_bytes: int
    batch_invariance: BatchInvariance

    def full(self, candidate: Policies, first_guess_per_s: float) -> Trial:
        """The highest rate of ``candidate`` within the promise, and its cost at a share of it."""
        capacity = max_rate(
            lambda: self._plane(candidate),
            self.replayed,
            self.takes[candidate.plan],
            p95_limit_s=self.p95_limit_s,
            first_guess_per_s=first_guess_per_s,
            value_bytes=self.value_bytes,
        )
        if capacity.rate_per_s:
            return self._trial(candidate, capacity.rate_per_s)
        p95_s = capacity.result.p95_s
        return Trial(
            candidate=candidate,
            max_rate_per_s=0.0,
            p95_s=p95_s,
            attributed_machine_s=math.inf,
            provisioned_machine_s=math.inf,
            refused=f"latency_p95: {p95_s:.4g} s even at the lowest rate tried, "
            f"above the limit of {self.p95_limit_s:.4g} s",
        )

    def waiting(self, impatient: Trial, waits: Sequence[float]) -> list[Trial]:
        """The same candidate with every wait that loses it no rate, the shortest first."""
        spec = impatient.candidate.batching
        if spec.max_requests == 1:
            return []
        highest = impatient.max_rate_per_s
        found = []
        for share in waits:
            patient = replace(spec, max_wait_s=share * self.p95_limit_s)
            candidate = replace(impatient.candidate, batching=patient)
            rates = (highest, highest / _SAME_RATE)
            if rate := next((r for r in rates if self._keeps(candidate, r)), None):
                found.append(self._trial(candidate, rate))
        return found

    def lone(self, without: Trial) -> Trial | None:
        """The same with an engine more, for a request that has the machine to itself: if it answers
        sooner where most are alone, costs no more at ``LOAD``, and loses no rate."""
        plan = without.candidate.plan
        whole = _whole(without.candidate)
        if plan == whole or whole not in self.curves:
            return None
        candidate = replace(without.candidate, lone_threads=whole.threads)
        highest = without.max_rate_per_s
        rates = (highest, highest / _SAME_RATE)
        rate = next((r for r in rates if self._keeps(candidate, r)), None)
        if rate is None:
            return None
        trial = self._trial(candidate, rate)
        if self._run_s(candidate, rate) >= _SOONER * self._run_s(without.candidate, rate):
            return None
        return trial if trial.attributed_machine_s <= without.attributed_machine_s * EQUAL else None

    def _run_s(self, candidate: Policies, highest_per_s: float) -> float:
        """The median latency of those that no cache answers, at a quiet hour; 0 without any."""
        result = self._at(candidate, _QUIET * highest_per_s)
        ran = result.latencies_s[result.sources == "engine"]
        return quantile(ran, 0.5) if len(ran) else 0.0

    def _trial(self, candidate: Policies, highest_per_s: float) -> Trial:
        result = self._at(candidate, LOAD * highest_per_s)
        cores = max(plan.cores for plan in self.curves)
        return Trial(
            candidate=candidate,
            max_rate_per_s=highest_per_s,
            p95_s=result.p95_s,
            attributed_machine_s=result.busy_s_per_request * candidate.plan.threads / cores,
            provisioned_machine_s=1.0 / highest_per_s,
        )

    def _keeps(self, candidate: Policies, rate: float) -> bool:
        return keeps_promise(self._at(candidate, rate), rate, p95_limit_s=self.p95_limit_s)

    def _at(self, candidate: Policies, rate: float) -> SimulationResult:
        return simulate(
            self._plane(candidate),
            scale_to_rate(self.replayed, rate),
            self.takes[candidate.plan],
            lone_service=self.takes[_whole(candidate)] if candidate.lone_threads else None,
            value_bytes=self.value_bytes,
        )

    def _plane(self, candidate: Policies) -> DataPlane:
        return DataPlane.of(
            candidate.variant("candidate", "build"),
            self.curves[candidate.plan],
            lone_service=self.curves[_whole(candidate)] if candidate.lone_threads else None,
            batch_invariance=self.batch_invariance,
            cache=_filled(candidate.cache, self.before, self.value_bytes),
        )


def _whole(candidate: Policies) -> InstancePlan:
    """One instance of all cores that ``candidate`` has."""
    return InstancePlan(candidate.plan.cores, 1)


def _least_attributed(trials: Sequence[Trial]) -> Trial:
    """The first of those whose attributed costs are within a percent of the least."""
    least = min(t.attributed_machine_s for t in trials)
    return next(t for t in trials if t.attributed_machine_s <= least * EQUAL)


def predict_costs(
    workload: Sequence[Request],
    curves: Mapping[InstancePlan, BatchTimeModel],
    batching: Sequence[BatchingSpec],
    caches: Sequence[CacheSpec],
    value_bytes: int,
) -> tuple[dict[Policies, float], list[Skipped]]:
    """Machine seconds a request at saturation, by the cost model, and what cannot pay."""
    cores = max(plan.cores for plan in curves)
    predicted: dict[Policies, float] = {}
    skipped: list[Skipped] = []
    # Caches that are large enough let the same requests through.
    gains = functools.cache(lambda plan, spec, mix: forecast(curves[plan], spec, mix))
    for cache in caches:
        lengths = _miss_lengths(workload, cache, value_bytes)
        miss_share = len(lengths) / len(workload)
        for plan in curves:
            for spec in batching:
                gain = gains(plan, spec, lengths[:2000] or (1,))
                candidate = Policies(plan, spec, cache)
                seconds = miss_share / gain.batched_per_s * plan.threads / cores
                if spec.max_requests > 1 and not gain.pays and len(batching) > 1:
                    skipped.append(Skipped(candidate, seconds, gain.reason))
                else:
                    predicted[candidate] = seconds
    return predicted, skipped


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


def _filled(spec: CacheSpec, seen: Sequence[Request], value_bytes: int) -> GenerationCache | None:
    """A cache that has answered ``seen``; None where the plan has no cache."""
    if spec.capacity_bytes == 0:
        return None
    cache = GenerationCache(make_policy(spec), generation=0)
    for r in seen:
        if cache.lookup(r.key, tenant=r.tenant, generation=0, now_s=r.arrived_at_s) is None:
            cache.insert(
                r.key, True, value_bytes, tenant=r.tenant, generation=0, now_s=r.arrived_at_s
            )
    return cache
