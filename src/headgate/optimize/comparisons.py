"""Everything that the winner is held against: naive, tuned, itself without each optimization.

All of it in virtual time, by the same pricing, and the replay's own requests to check it by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

from headgate import amounts
from headgate.optimize.chains import Chain
from headgate.optimize.job import Job
from headgate.optimize.pricing import NO_CACHE, ONE_AT_A_TIME, Offer, Priced, Pricer, Replayed
from headgate.optimize.stages import Baseline, Certificate, Plans
from headgate.planning import BASELINE, BUILDS
from headgate.scheduling import InstancePlan

__all__ = ["Comparisons", "Without", "compare", "naive_price"]


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
    tuned, without = _tuned(plans, unique), _leave_one_out(plans, cores=job.cores)
    # Those with the most to search come first, so that nobody waits for one of them at the end.
    prices = iter(
        pricer.all(
            [
                *tuned,
                pricer.price(plans.offer, unique, name=f"{plans.offer.name}, no repeats"),
                naive_price(pricer, baseline, unique, name="naive, no repeats"),
                naive_price(pricer, baseline, "workload", name="naive"),
                *(leave.price for leave in without),
            ]
        )
    )
    tuned_unique = tuple(islice(prices, len(tuned)))
    winner_unique, naive_unique, naive_workload = islice(prices, 3)
    replay = certificate.replay
    return Comparisons(
        naive_unique=naive_unique,
        tuned_unique=tuned_unique,
        winner_unique=winner_unique,
        naive_workload=naive_workload,
        winner_workload=plans.chosen,
        without=tuple(
            Without(leave.optimization, priced, leave.instead)
            for leave, priced in zip(without, prices, strict=True)
        ),
        current_replayed=pricer.replayed(
            naive_workload, replay.current, name="the replay of the baseline"
        ),
        candidate_replayed=pricer.replayed(
            plans.chosen, replay.candidate, name="the replay of the winner"
        ),
    )


def naive_price(pricer: Pricer, baseline: Baseline, workload: str, *, name: str) -> Chain[Priced]:
    """What a user pays without us: one request at a time on all cores, and no cache."""
    offer = _restricted(pricer.offers[BASELINE], InstancePlan(baseline.build.threads, 1))
    return pricer.price(offer, workload, name=name, batching=ONE_AT_A_TIME)


def _tuned(plans: Plans, unique: str) -> list[Chain[Priced]]:
    """fp32 on every engine that can run it with the best batching and instances: what an expert
    would run."""
    offers = plans.pricer.offers
    return [
        plans.pricer.price(offers[name], unique, name=f"tuned {name}, no repeats")
        for name in (BASELINE, "fp32_openvino")
        if name in offers
    ]


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """An optimization to be left out, and what is to be priced then."""

    optimization: str
    price: Chain[Priced]
    instead: str


def _leave_one_out(plans: Plans, *, cores: int) -> list[_LeftOut]:
    """Everything else stays as it was chosen."""
    chosen, pricer = plans.chosen, plans.pricer
    spec, plan = chosen.choice.variant, chosen.choice.curve.plan
    fixed = _restricted(plans.offer, plan)

    def price(offer: Offer, name: str, **change: object) -> Chain[Priced]:
        policies = {"batching": (spec.batching,), "caches": (spec.cache,), "waits": (), **change}
        return pricer.price(offer, "workload", name=f"without {name}", **policies)  # type: ignore[arg-type]

    rows = [
        _LeftOut("batching", price(fixed, "batching", batching=ONE_AT_A_TIME), "one at a time"),
        _LeftOut("caching", price(fixed, "caching", caches=NO_CACHE), "no cache"),
    ]
    for optimization, offer in _plainer(plans):
        without = price(_restricted(offer, plan), optimization)
        engine = offer.builds[plan].engine
        other = f", on {engine}" if engine != plans.offer.builds[plan].engine else ""
        rows.append(_LeftOut(optimization, without, offer.name + other))
    default = InstancePlan(cores, 1)
    rows.append(
        _LeftOut(
            "hardware-aware scheduling",
            price(_restricted(plans.offer, default), "hardware-aware scheduling"),
            f"one instance of {amounts.counted(cores, 'thread')}"
            + (", which is what was chosen" if plan == default else ""),
        )
    )
    return rows


def _plainer(plans: Plans) -> list[tuple[str, Offer]]:
    """What the winner is without quantization, and without distillation, where that was made."""
    offers = plans.pricer.offers
    found = []
    for optimization, name in BUILDS[plans.offer.name].without.items():
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
