"""What serving costs, in virtual time: one way of pricing for all that is compared.

A price is that of a build on a workload with the best of a grid of policies, at 0.7 of the rate
that still holds the p95 promise. Engine time comes from measured curves, the shell's from real
servers; both count in *machine seconds*, seconds of all effective cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from headgate.caching import ideal_hit_ratio
from headgate.objects import BatchingSpec, BatchInvariance, Build, CacheSpec
from headgate.optimize.chains import Chain, follow, follow_all
from headgate.optimize.job import Job
from headgate.optimize.load import DRAIN_S, ShellCost, Side
from headgate.optimize.measure import MeasuredCurve
from headgate.optimize.plan import Choice, Outcome, choose_variant, simulate_variant
from headgate.optimize.served import identity
from headgate.planning import BATCHING_GRID, LOAD, WAITS
from headgate.scheduling import InstancePlan, instance_plans

__all__ = [
    "CACHES",
    "NO_CACHE",
    "ONE_AT_A_TIME",
    "Offer",
    "Priced",
    "Pricer",
    "Replayed",
    "measured_offers",
]

NO_CACHE = (CacheSpec(),)
CACHES = tuple(
    CacheSpec(policy, mib << 20) for mib in (1, 4, 16, 64) for policy in ("lru", "s3fifo")
)
ONE_AT_A_TIME = (BatchingSpec(max_requests=1),)
_WORTH_HELPERS = 1000
"""Requests of the workload. An offer is priced on each some fifty times; below that a helper takes
longer to start than it saves."""
_MOST_PROCESSES = 4
"""A helper takes some 300 MiB."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A build under every instance plan that may serve it, with the curve of each."""

    name: str
    builds: Mapping[InstancePlan, Build]
    curves: tuple[MeasuredCurve, ...]
    batch_invariance: BatchInvariance


def measured_offers(
    job: Job, builds: Sequence[tuple[Build, BatchInvariance]]
) -> Mapping[str, Offer]:
    """Each of ``builds`` under every instance plan of this machine, all curves measured in turn."""
    plans = instance_plans(job.cores)
    versions = [{p: replace(build, threads=p.threads) for p in plans} for build, _ in builds]
    groups = [[(by_plan[p], p.instances) for by_plan in versions] for p in plans]
    of_builds = zip(*job.curves(groups), strict=True)
    return {
        build.name: Offer(build.name, by_plan, curves, invariance)
        for (build, invariance), by_plan, curves in zip(builds, versions, of_builds, strict=True)
    }


@dataclass(frozen=True, slots=True)
class Priced:
    """An offer on a workload: what was chosen, and what it costs."""

    name: str
    choice: Choice
    build: Build
    outcome: Outcome
    shell_s: float
    """Machine seconds of a request outside of engines, at the rate that was simulated."""
    batch_invariance: BatchInvariance

    @property
    def attributed_s(self) -> float:
        """Machine seconds that a request uses."""
        return self.outcome.busy_machine_s_per_request

    @property
    def provisioned_s(self) -> float:
        """Machine seconds that pass per request on machines loaded up to the promise."""
        rate = self.choice.max_rate_per_s
        return 1 / rate if rate else float("inf")


@dataclass(frozen=True, slots=True)
class Replayed:
    """A replay as predicted, to be held against what it measured."""

    outcome: Outcome
    """Its busy time is that of engines alone."""
    cpu_machine_s: float
    """CPU seconds of the server's process for a request, as a share of all cores. Less than it is
    charged, since an engine call holds its cores for as long as it lasts and computes on them for
    less."""


@dataclass(frozen=True)
class Pricer:
    """Prices offers for one job, all by the same rules."""

    job: Job
    shell: ShellCost
    p95_limit_s: float
    offers: Mapping[str, Offer]
    """By name: the builds that may win, the baseline, and what a winner is held against."""

    def price(
        self,
        offer: Offer,
        workload: str,
        *,
        name: str,
        batching: Sequence[BatchingSpec] = BATCHING_GRID,
        caches: Sequence[CacheSpec] = NO_CACHE,
        waits: Sequence[float] = WAITS,
    ) -> Chain[Priced]:
        """The cheapest policies for ``offer`` on ``workload`` (``workload`` or ``unique``).

        ``caches``: all with a capacity, or all without: hits cost shell time too.
        """
        version = self.job.inputs.versions[workload]
        cached = caches[0].capacity_bytes > 0
        hits = self._hits if cached else 0.0
        largest = max(b.max_requests for b in batching)
        choice = yield from choose_variant(
            self.job.store.read,
            offer.builds,
            offer.curves,
            [self._at_capacity(c, largest, hits) for c in offer.curves],
            name=name,
            workload=version,
            preprocess=self.job.config.preprocess,
            p95_limit_s=self.p95_limit_s,
            batch_invariance=offer.batch_invariance,
            caches=caches,
            batching=batching,
            waits=waits,
            value_bytes=self.job.value_bytes,
        )
        build = offer.builds[choice.curve.plan]
        rate_per_s = LOAD * choice.max_rate_per_s
        shell_s = self.shell.cpu_s(rate_per_s, new_share=1 - hits)
        lone = choice.lone_curve
        outcome = yield from simulate_variant(
            self.job.store.read,
            build,
            choice.variant,
            choice.curve,
            self._beside(choice.curve, shell_s, hits),
            lone=(lone, self._beside(lone, shell_s, hits)) if lone else None,
            workload=version,
            preprocess=self.job.config.preprocess,
            cores=self.job.cores,
            batch_invariance=offer.batch_invariance,
            value_bytes=self.job.value_bytes,
            rate_per_s=rate_per_s or None,
            detail=name,
        )
        return Priced(
            name, choice, build, outcome, shell_s / self.job.cores, offer.batch_invariance
        )

    def all(self, prices: Sequence[Chain[Priced]]) -> list[Priced]:
        """What ``prices`` come to, several at a time where that pays."""
        requests = len(self.job.inputs.workload.items)
        processes = min(self.job.cores, _MOST_PROCESSES) if requests >= _WORTH_HELPERS else 1
        return follow_all(self.job.recorder, prices, processes=processes)

    def replayed(self, priced: Priced, side: Side, *, name: str) -> Replayed:
        """What was sent to one side of a replay, segment by segment, at its rate.

        What the shell does while engines stand idle between two calls delays nobody twice; the rest
        of it, and the load generator on the same cores, slow engines. What is left out: the scatter
        of service times around their median (a tenth either way moves p95 by 3 to 8 %), and that
        threads wait for a core, so tails are predicted too short where all cores are busy. How many
        requests share an engine call is taken from the simulation at 0.7 of the highest rate.
        """
        variant, curve, cores = priced.choice.variant, priced.choice.curve, self.job.cores
        lone = priced.choice.lone_curve
        hits = self._hits if variant.cache.capacity_bytes else 0.0
        shell_s = self.shell.cpu_s(side.rate_per_s, new_share=1 - hits)
        calls_per_request = (1 - hits) / max(priced.outcome.mean_batch, 1.0)
        contends_s = max(shell_s - self.shell.handover_s * calls_per_request, 0.0)
        beside = self._beside(curve, contends_s + side.generator_cpu_s_per_request, hits)
        simulation = simulate_variant(
            self.job.store.read,
            priced.build,
            variant,
            curve,
            curve,
            lone=(lone, lone) if lone else None,
            workload=self.job.inputs.versions["workload"],
            preprocess=self.job.config.preprocess,
            cores=cores,
            batch_invariance=priced.batch_invariance,
            value_bytes=self.job.value_bytes,
            rate_per_s=side.rate_per_s,
            segments=[s.sent for s in side.segments],
            warm_up=side.before,
            drain_s=DRAIN_S,
            handover_s=self.shell.handover_s,
            beside_s=beside.curve.item_s - curve.curve.item_s,
            detail=name,
        )
        outcome = follow(self.job.recorder, simulation)
        computes = curve.cores_used / curve.plan.threads
        return Replayed(
            outcome.later_by(self.shell.request_latency_s(new_share=1 - hits)),
            outcome.busy_machine_s_per_request * computes + shell_s / cores,
        )

    @cached_property
    def _hits(self) -> float:
        """The share of the workload that a cache without bounds would answer."""
        return ideal_hit_ratio([*map(identity, self.job.inputs.workload.items)])

    def _at_capacity(self, curve: MeasuredCurve, largest: int, hits: float) -> MeasuredCurve:
        """``curve`` beside the shell, near the highest rate that its engines can take.

        The rate is a guess, from batches of at most 8 items of a middling length; the shell's time
        goes with its logarithm, so that half as much again changes little.
        """
        lengths = self.job.lengths
        size = min(largest, 8)
        call_s = curve.curve.predict_s(size, lengths[(len(lengths) - 1) // 2])
        rate_per_s = curve.plan.instances * size / call_s / (1 - hits)
        return self._beside(curve, self.shell.cpu_s(rate_per_s, new_share=1 - hits), hits)

    def _beside(self, curve: MeasuredCurve, cpu_s: float, hits: float) -> MeasuredCurve:
        """``curve`` while every request, the share ``hits`` of them too, takes ``cpu_s`` of the
        same cores."""
        return curve.with_shell(cpu_s, cores=self.job.cores, hits_per_miss=hits / (1 - hits))
