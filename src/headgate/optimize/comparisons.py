"""Everything that the winner is held against: naive, tuned, itself without each optimization.

All of it in virtual time, by the same pricing, and the replay's own requests to check it by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headgate.optimize.job import Job
from headgate.optimize.pricing import NO_CACHE, ONE_AT_A_TIME, Offer, Priced, Replayed
from headgate.optimize.stages import Baseline, Certificate, Plans
from headgate.optimize.variants import BASELINE, CANDIDATES
from headgate.scheduling import InstancePlan

__all__ = ["Comparisons", "Without", "compare"]


@dataclass(frozen=True, slots=True)
class Without:
    """The winner without one optimization."""

    optimization: str
    priced: Priced
    instead: str
    """What runs in its place."""


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Prices to divide, and predictions to check."""

    naive_unique: Priced
    tuned_unique: tuple[Priced, ...]
    """On each engine; an expert takes what is cheapest by the cost that is looked at."""
    winner_unique: Priced
    naive_workload: Priced
    winner_workload: Priced
    without: tuple[Without, ...]
    current_replayed: Replayed
    candidate_replayed: Replayed


def compare(job: Job, baseline: Baseline, plans: Plans, certificate: Certificate) -> Comparisons:
    """Prices the naive and the tuned baseline, the winner, and the winner without each of five."""
    pricer, unique = plans.pricer, "unique" if "unique" in job.inputs.versions else "workload"
    offers = pricer.offers
    naive = _restricted(offers[BASELINE], InstancePlan(baseline.build.threads, 1))
    naive_workload = pricer.price(naive, "workload", name="naive", batching=ONE_AT_A_TIME)
    replay = certificate.replay
    return Comparisons(
        naive_unique=pricer.price(naive, unique, name="naive, no repeats", batching=ONE_AT_A_TIME),
        tuned_unique=_tuned(plans, unique),
        winner_unique=pricer.price(plans.offer, unique, name=f"{plans.offer.name}, no repeats"),
        naive_workload=naive_workload,
        winner_workload=plans.chosen,
        without=tuple(_leave_one_out(plans, cores=job.cores)),
        current_replayed=pricer.replayed(
            naive_workload, replay.current, name="the replay of the baseline"
        ),
        candidate_replayed=pricer.replayed(
            plans.chosen, replay.candidate, name="the replay of the winner"
        ),
    )


def _tuned(plans: Plans, unique: str) -> tuple[Priced, ...]:
    """fp32 on every engine that can run it with the best batching and instances: what an expert
    would run."""
    offers = plans.pricer.offers
    return tuple(
        plans.pricer.price(offers[name], unique, name=f"tuned {name}, no repeats")
        for name in (BASELINE, "fp32_openvino")
        if name in offers
    )


def _leave_one_out(plans: Plans, *, cores: int) -> Sequence[Without]:
    """Everything else stays as it was chosen."""
    chosen, pricer = plans.chosen, plans.pricer
    spec, plan = chosen.choice.variant, chosen.choice.curve.plan
    fixed = _restricted(plans.offer, plan)

    def priced(offer: Offer, name: str, **change: object) -> Priced:
        policies = {"batching": (spec.batching,), "caches": (spec.cache,), "waits": (), **change}
        return pricer.price(offer, "workload", name=f"without {name}", **policies)  # type: ignore[arg-type]

    rows = [
        Without("batching", priced(fixed, "batching", batching=ONE_AT_A_TIME), "one at a time"),
        Without("caching", priced(fixed, "caching", caches=NO_CACHE), "no cache"),
    ]
    for optimization, offer in _plainer(plans):
        without = priced(_restricted(offer, plan), optimization)
        engine = offer.builds[plan].engine
        other = f", on {engine}" if engine != plans.offer.builds[plan].engine else ""
        rows.append(Without(optimization, without, offer.name + other))
    default = InstancePlan(cores, 1)
    rows.append(
        Without(
            "hardware-aware scheduling",
            priced(_restricted(plans.offer, default), "hardware-aware scheduling"),
            f"one instance of {cores} threads"
            + (", which is what was chosen" if plan == default else ""),
        )
    )
    return rows


def _plainer(plans: Plans) -> list[tuple[str, Offer]]:
    """What the winner is without quantization, and without distillation, where that was made."""
    offers = plans.pricer.offers
    found = []
    for optimization, name in CANDIDATES[plans.offer.name].without.items():
        if name == "fp32_openvino" and name not in offers:
            name = BASELINE
        if name in offers:
            found.append((optimization, offers[name]))
    return found


def _restricted(offer: Offer, plan: InstancePlan) -> Offer:
    """``offer`` under one instance plan only."""
    return replace(
        offer,
        builds={plan: offer.builds[plan]},
        curves=tuple(c for c in offer.curves if c.plan == plan),
    )
