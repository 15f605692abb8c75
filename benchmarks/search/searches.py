"""Three ways to look for the cheapest arm: together, one choice after the other, and at random."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.search.builds import BUILDS
from benchmarks.search.table import EVALUATIONS, World
from headgate.planning import Arm, Asked, Cost, Entrant, Joint, Level, Policies, Told

__all__ = ["Ended", "at_random", "everything", "one_after_the_other", "together"]

Measure = Callable[[Asked[Policies]], Told[Policies]]

_MARGIN = math.log(1.25)
"""By which policies may change the ratio of two arms, beyond what the cost model says."""
_POLICY_MARGIN = math.log(1.5)
_TODAYS_PLANS = 3


@dataclass(frozen=True, slots=True)
class Ended:
    """Where a search ended, and what that took."""

    best: Arm[Policies] | None
    evaluations: float
    seconds: float


def together(world: World, measure: Measure | None = None) -> Ended:
    """The joint search."""
    search = Joint(world.entrants(), world.at.predicted, policy_margin=_MARGIN)
    while asked := search.ask():
        search.tell([(measure or world.measure)(a) for a in asked])
    return _ended(search.found.best, search.told)


def one_after_the_other(world: World) -> Ended:
    """As it was: every build is measured wholly, the accepted one that is fastest in blocks is
    taken, and policies are searched for that one."""
    told = [world.measure(Asked(Level.FULL, build)) for build in BUILDS]
    accepted = [t for t in told if t.ok and not BUILDS[t.asked.build].ruled_out]
    if not accepted:
        return _ended(None, told)
    fastest = min(accepted, key=_log).asked.build
    arms = {a: log for a, log in world.at.predicted.items() if a.build == fastest}
    search = Joint(
        {fastest: Entrant(Cost(0.0), accepted=True)},
        arms,
        policy_margin=_POLICY_MARGIN,
        most_plans=_TODAYS_PLANS,
    )
    while asked := search.ask():
        search.tell([world.measure(a) for a in asked])
    return _ended(search.found.best, [*told, *search.told])


def at_random(world: World, evaluations: float) -> Ended:
    """Arms in any order, each measured wholly, until as much is spent as the joint search did."""
    arms = [a for a in world.at.costs if not BUILDS[a.build].ruled_out]
    told: dict[Asked[Policies], Told[Policies]] = {}
    best: tuple[float, Arm[Policies] | None] = (math.inf, None)
    for i in np.random.default_rng(world.seed).permutation(len(arms)):
        arm = arms[i]
        trials: tuple[Asked[Policies], ...] = (
            Asked(Level.FULL, arm.build),
            Asked(Level.PLAN, arm.build, arm),
        )
        new = [a for a in trials if a not in told]
        if _count([*told.values()]) + sum(EVALUATIONS[a.level] for a in new) > evaluations:
            break
        told |= {a: world.measure(a) for a in new}
        if all(told[a].ok for a in trials):
            best = min(best, (_log(told[trials[1]]), arm), key=lambda pair: pair[0])
    return _ended(best[1], [*told.values()])


def everything(world: World) -> Ended:
    """What trying all of it takes."""
    told = [world.measure(Asked(Level.FULL, build)) for build in BUILDS]
    told += [world.measure(Asked(Level.PLAN, arm.build, arm)) for arm in world.at.costs]
    return _ended(None, told)


def _ended(
    best: Arm[Policies] | None, told: list[Told[Policies]] | tuple[Told[Policies], ...]
) -> Ended:
    made = {t.asked.build for t in told if t.asked.arm is None}
    piloted = {t.asked.build for t in told if t.asked.level is Level.PILOT}
    making_s = sum(BUILDS[build].making_s for build in made - piloted)
    return Ended(best, _count(told), making_s + sum(t.seconds for t in told))


def _count(told: list[Told[Policies]] | tuple[Told[Policies], ...]) -> float:
    return sum(EVALUATIONS[t.asked.level] for t in told)


def _log(told: Told[Policies]) -> float:
    assert told.cost is not None
    return told.cost.log
