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
from headgate.config import Item
from headgate.objects import BatchingSpec, BatchInvariance, Build, CacheSpec
from headgate.optimize.job import Job
from headgate.optimize.load import DRAIN_S, ShellCost, Side
from headgate.optimize.measure import MeasuredCurve
from headgate.optimize.plan import Choice, Outcome, choose_variant, simulate_variant
from headgate.planning import BATCHING_GRID, LOAD, WAITS
from headgate.scheduling import InstancePlan, instance_plans

__all__ = ["CACHES", "NO_CACHE", "ONE_AT_A_TIME", "Offer", "Priced", "Pricer", "measured_offers"]

NO_CACHE = (CacheSpec(),)
CACHES = (
    *NO_CACHE,
    *(CacheSpec(policy, mib << 20) for mib in (1, 4, 16, 64) for policy in ("lru", "s3fifo")),
)
ONE_AT_A_TIME = (BatchingSpec(max_requests=1),)


@dataclass(frozen=True, slots=True)
class Offer:
    """A build under every instance plan that may serve it, with the curve of each."""

    name: str
    builds: Mapping[InstancePlan, Build]
    curves: tuple[MeasuredCurve, ...]


def measured_offers(job: Job, builds: Sequence[Build]) -> Mapping[str, Offer]:
    """Each of ``builds`` under every instance plan of this machine, all curves measured in turn."""
    plans = instance_plans(job.cores)
    versions = [{p: replace(build, threads=p.threads) for p in plans} for build in builds]
    groups = [[(by_plan[p], p.instances) for by_plan in versions] for p in plans]
    of_builds = zip(*job.curves(groups), strict=True)
    return {
        build.name: Offer(build.name, by_plan, curves)
        for build, by_plan, curves in zip(builds, versions, of_builds, strict=True)
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

    @property
    def attributed_s(self) -> float:
        """Machine seconds that a request uses."""
        return self.outcome.busy_machine_s_per_request

    @property
    def provisioned_s(self) -> float:
        """Machine seconds that pass per request on machines loaded up to the promise."""
        rate = self.choice.max_rate_per_s
        return 1 / rate if rate else float("inf")


@dataclass(frozen=True)
class Pricer:
    """Prices offers for one job, all by the same rules."""

    job: Job
    shell: ShellCost
    p95_limit_s: float
    batch_invariance: BatchInvariance
    offers: Mapping[str, Offer]
    """By name: the winner, the baseline, and what the winner is held against."""

    def price(
        self,
        offer: Offer,
        workload: str,
        *,
        name: str,
        batching: Sequence[BatchingSpec] = BATCHING_GRID,
        caches: Sequence[CacheSpec] = NO_CACHE,
        waits: Sequence[float] = WAITS,
    ) -> Priced:
        """The cheapest policies for ``offer`` on ``workload`` (``workload`` or ``unique``).

        With and without a cache are searched apart, because hits cost shell time too.
        """
        cached = [c for c in caches if c.capacity_bytes]
        plain = [c for c in caches if not c.capacity_bytes]
        priced = [
            self._price(offer, workload, name, batching, group, waits)
            for group in (cached, plain)
            if group
        ]
        return min(priced, key=lambda p: p.provisioned_s)

    def _price(
        self,
        offer: Offer,
        workload: str,
        name: str,
        batching: Sequence[BatchingSpec],
        caches: Sequence[CacheSpec],
        waits: Sequence[float],
    ) -> Priced:
        version = self.job.inputs.versions[workload]
        cached = caches[0].capacity_bytes > 0
        hits = self._hits if cached else 0.0
        # At its highest rate a machine is never idle.
        crowd_s = self.shell.cpu_s(self.shell.crowd_per_s, new_share=1 - hits)
        choice = choose_variant(
            self.job.recorder,
            offer.builds,
            offer.curves,
            [self._beside(c, crowd_s, hits) for c in offer.curves],
            name=name,
            workload=version,
            preprocess=self.job.config.preprocess,
            p95_limit_s=self.p95_limit_s,
            batch_invariance=self.batch_invariance,
            caches=caches,
            batching=batching,
            waits=waits,
            value_bytes=self.job.value_bytes,
        )
        build = offer.builds[choice.curve.plan]
        rate_per_s = LOAD * choice.max_rate_per_s
        shell_s = self.shell.cpu_s(rate_per_s, new_share=1 - hits)
        outcome = simulate_variant(
            self.job.recorder,
            build,
            choice.variant,
            choice.curve,
            self._beside(choice.curve, shell_s, hits),
            workload=version,
            preprocess=self.job.config.preprocess,
            cores=self.job.cores,
            batch_invariance=self.batch_invariance,
            value_bytes=self.job.value_bytes,
            rate_per_s=rate_per_s or None,
            detail=name,
        )
        return Priced(name, choice, build, outcome, shell_s / self.job.cores)

    def replayed(self, priced: Priced, side: Side, *, name: str) -> Outcome:
        """What was sent to one side of a replay, segment by segment, at its rate.

        The load generator runs on the same cores as the server: the CPU time that it took slows
        engines as the shell's does, and costs nothing. What is left out: the scatter of service
        times around their median (a tenth either way moves p95 by 3 to 8 %), and that threads
        wait for a core, so tails are predicted too short where all cores are busy.
        """
        variant, curve = priced.choice.variant, priced.choice.curve
        hits = self._hits if variant.cache.capacity_bytes else 0.0
        shell_s = self.shell.cpu_s(side.rate_per_s, new_share=1 - hits)
        takes = self._beside(curve, shell_s, hits)
        slower = self._beside(takes, side.generator_cpu_s_per_request, hits)
        outcome = simulate_variant(
            self.job.recorder,
            priced.build,
            variant,
            curve,
            takes,
            workload=self.job.inputs.versions["workload"],
            preprocess=self.job.config.preprocess,
            cores=self.job.cores,
            batch_invariance=self.batch_invariance,
            value_bytes=self.job.value_bytes,
            rate_per_s=side.rate_per_s,
            segments=[s.sent for s in side.segments],
            warm_up=side.before,
            drain_s=DRAIN_S,
            handover_s=self.shell.handover_s,
            beside_s=slower.curve.item_s - takes.curve.item_s,
            detail=name,
        )
        return outcome.later_by(self.shell.request_latency_s(new_share=1 - hits))

    @cached_property
    def _hits(self) -> float:
        """The share of the workload that a cache without bounds would answer."""
        return ideal_hit_ratio([*map(_identity, self.job.inputs.workload.items)])

    def _beside(self, curve: MeasuredCurve, cpu_s: float, hits: float) -> MeasuredCurve:
        """``curve`` while every request, the share ``hits`` of them too, takes ``cpu_s`` of the
        same cores."""
        return curve.with_shell(cpu_s, cores=self.job.cores, hits_per_miss=hits / (1 - hits))


def _identity(item: Item) -> str | bytes:
    return item if isinstance(item, str) else item.tobytes()
