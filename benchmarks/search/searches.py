"""Three ways to look for the cheapest arm: together, one choice after the other, and at random."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.search.table import PLAIN, PLAN_S, QUALITY, World
from headgate.optimize.entrants import Caches, arms_of, mended_of, open_search
from headgate.planning import BASELINE, MENDED, Arm, Asked, Level, Told

__all__ = ["Ended", "at_random", "everything", "one_after_the_other", "together"]

Measure = Callable[[Asked[Caches]], Told[Caches]]


@dataclass(frozen=True, slots=True)
class Ended:
    """Where a search ended, and what that took."""

    build: str
    """Empty where it ended without a winner."""
    cost: float
    """Machine seconds a request, as recorded."""
    served: float
    """The same with what is tried of that arm last: waits, and an engine for lone requests."""
    evaluations: int
    simulated: int
    """Those of them that are an arm in the simulator."""
    seconds: float
    """Of the machine."""


def together(world: World, measure: Measure | None = None) -> Ended:
    """As ``optimize`` does: its own search, with its own parameters."""
    search = open_search(world.entrants(), budget_s=None, spent_s=0.0)
    while asked := search.ask():
        told = [(measure or world.measure)(a) for a in asked]
        search.tell(told)
        for t in told:
            if (t.asked.level, t.asked.build) == (Level.FULL, PLAIN) and QUALITY in t.stopped_by:
                assert t.cost is not None
                search.join(
                    {MENDED.name: mended_of(search.entrants[PLAIN], t.cost)}, arms_of([MENDED.name])
                )
    return _ended(world, search.found.best, search.told)


def one_after_the_other(world: World) -> Ended:
    """Every build that no contract forbids is measured wholly, the accepted one that is fastest in
    blocks is taken, the model's own where none is faster, and policies are searched for that one.
    """
    told = [world.measure(a) for a in _wholly(world.permitted)]
    measured = [t for t in told if t.asked.level is Level.FULL and t.asked.build in world.allowed]
    logs = {BASELINE: 0.0, **{t.asked.build: _log(t) for t in measured}}
    fastest = min(logs, key=logs.__getitem__)
    plans = [world.measure(Asked(Level.PLAN, a.build, a)) for a in arms_of([fastest])]
    best = min((t for t in plans if t.ok), key=_log, default=None)
    return _ended(world, None if best is None else best.asked.arm, [*told, *plans])


def at_random(world: World, evaluations: int) -> Ended:
    """Arms of the grid in any order, their builds measured wholly, until as much is spent."""
    arms = [(b, c) for b in world.permitted for c in world.at.arms[b]]
    known: set[str] = set()
    spent, tried, best = 0, 0, (math.inf, "", math.inf)
    for i in np.random.default_rng(world.seed).permutation(len(arms)):
        build, cost = arms[i]
        price = 1 if build in known else 1 + _whole(world, build)
        if spent + price > evaluations:
            break
        spent += price
        tried += 1
        known.add(build)
        if build in world.allowed and math.isfinite(cost):
            best = min(best, (world.log(build, cost), build, cost))
    return Ended(best[1], best[2], best[2], spent, tried, _whole_s(world, known) + PLAN_S * tried)


def everything(world: World, builds: Collection[str]) -> Ended:
    """What trying all of ``builds`` takes: each wholly, and every arm of each."""
    arms = sum(len(world.at.arms[b]) for b in builds)
    spent = sum(_whole(world, b) for b in builds) + arms
    return Ended("", math.inf, math.inf, spent, arms, _whole_s(world, builds) + PLAN_S * arms)


def _wholly(builds: Iterable[str]) -> list[Asked[Caches]]:
    """Trials of each but for its arms. Of the model's own build nothing else is to be found out."""
    levels = (Level.PILOT, Level.FULL)
    return [Asked(level, b) for b in builds if b != BASELINE for level in levels]


def _whole(world: World, build: str) -> int:
    """Evaluations of a build alone: it is scored once, and a repair is made of ten trials."""
    if build == BASELINE:
        return 0
    repaired = world.evaluations(Asked(Level.PILOT, build)) if build == MENDED.name else 0
    return 1 + repaired


def _whole_s(world: World, builds: Collection[str]) -> float:
    """Of making each, judging it, and measuring its curves."""
    trials = _wholly(builds)
    made = {a.build for a in trials}
    return sum(world.measure(a).seconds for a in trials) + world.once_s(made, builds)


def _ended(world: World, best: Arm[Caches] | None, told: Iterable[Told[Caches]]) -> Ended:
    trials = [*told]
    made = {t.asked.build for t in trials if t.asked.level is Level.PILOT}
    plans = [t.asked for t in trials if t.asked.level is Level.PLAN]
    once_s = world.once_s(made, {a.build for a in plans})
    cost, served, _ = (math.inf, math.inf, 0) if best is None else world.at.chosen[best]
    return Ended(
        "" if best is None else best.build,
        cost,
        served,
        sum(world.evaluations(t.asked) for t in trials),
        sum(map(world.evaluations, plans)),
        sum(t.seconds for t in trials) + once_s,
    )


def _log(told: Told[Caches]) -> float:
    assert told.cost is not None
    return told.cost.log
