"""A recorded workload: the truth of every build and arm, and what measuring them would show.

What is measured depends on a seed and on what is measured, never on the order: who asks again is
told the same, and every search of one seed has the same luck.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from benchmarks.search.builds import BASELINE, BUILDS, ONE
from benchmarks.search.record import BATCHING, CACHES, TABLE, VALUE_BYTES
from benchmarks.search.workloads import WORKLOADS
from headgate.planning import (
    Arm,
    Asked,
    Cost,
    Entrant,
    Level,
    Policies,
    Told,
    predict_costs,
)
from headgate.theory.intervals import paired_binary_interval

__all__ = ["EVALUATIONS", "QUALITY", "SECONDS", "Recorded", "World", "recorded"]

EVALUATIONS = {Level.PILOT: 0.2, Level.FULL: 1.0, Level.PLAN: 1.0}
"""What a trial counts for: a pilot takes a fifth of the items and a third of the blocks."""
SECONDS = {Level.PILOT: 4.0, Level.FULL: 15.0, Level.PLAN: 2.0}
"""On the reference machine, beside making the build."""
QUALITY = "recall"
_ITEMS, _PILOT_ITEMS = 1300, 260
_BLOCKS = {Level.PILOT: 3, Level.FULL: 9}
_BLOCK_SD = 0.1
_PLAN_SD = 0.01
_FORECAST_SD = 0.25
"""Of the logarithm of a forecast speed, about its truth."""


@dataclass(frozen=True)
class Recorded:
    """One workload: what everything costs."""

    name: str
    costs: Mapping[Arm[Policies], float]
    """Machine seconds a request; +inf where no rate holds the promise."""
    predicted: Mapping[Arm[Policies], float]
    """Logarithm of what the cost model makes of the policies, on the baseline's curves; arms that
    it says do not pay are not in it."""

    def loss(self, build: str) -> float:
        """The truth."""
        at, of = WORKLOADS[self.name], BUILDS[build]
        student = at.student_gain if build.startswith("student") else 0.0
        return of.loss - student + (at.int8_loss if build.endswith("int8_static") else 0.0)

    def block_log(self, build: str) -> float:
        """What a batch takes, over what the baseline's takes; the truth, as a logarithm."""
        length = round(WORKLOADS[self.name].median_tokens)
        taken, baseline = (BUILDS[b].curves[ONE].predict_s(16, length) for b in (build, BASELINE))
        return math.log(taken / baseline)


@cache
def recorded() -> Mapping[str, Recorded]:
    """The table, by workload."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return {at: _of(at, builds) for at, builds in table.items()}


def _of(at: str, builds: Mapping[str, list[float | None]]) -> Recorded:
    grid = [
        Policies(plan, batching, cache)
        for plan in BUILDS[BASELINE].curves
        for batching in BATCHING
        for cache in CACHES
    ]
    model, _ = predict_costs(
        WORKLOADS[at].requests(), BUILDS[BASELINE].curves, BATCHING, CACHES, VALUE_BYTES
    )
    simplest_first = sorted(grid, key=lambda p: (p.complexity, p.plan))
    cost_of = {
        Arm(build, p, p.family): math.inf if c is None else c
        for build, costs in builds.items()
        for p, c in zip(grid, costs, strict=True)
    }
    arms = [Arm(build, p, p.family) for p in simplest_first for build in builds]
    return Recorded(
        at,
        {arm: cost_of[arm] for arm in arms},
        {a: math.log(model[a.policies]) for a in arms if a.policies in model},
    )


@dataclass(frozen=True)
class World:
    """What measuring a recorded workload shows, with one seed's luck."""

    at: Recorded
    seed: int

    def measure(self, asked: Asked[Policies]) -> Told[Policies]:
        """One trial."""
        if asked.arm is not None:
            cost = self.at.costs[asked.arm]
            if math.isinf(cost):
                return Told(asked, None, ("latency_p95",), seconds=SECONDS[Level.PLAN])
            off = float(self._rng("plan", str(asked.arm)).normal(0, _PLAN_SD))
            told = Cost(math.log(cost) + off)
            return Told(asked, told, seconds=SECONDS[Level.PLAN])
        n = _BLOCKS[asked.level]
        noise = self._rng(asked.level.name, asked.build).normal(0, _BLOCK_SD, n)
        told = Cost(self.at.block_log(asked.build) + float(noise.mean()), _BLOCK_SD / math.sqrt(n))
        seconds = SECONDS[asked.level]
        if asked.level is Level.PILOT:
            seconds += BUILDS[asked.build].making_s
        return Told(asked, told, self._stopped_by(asked), seconds=seconds)

    def entrants(self) -> dict[str, Entrant]:
        """Every build, as it is forecast."""
        return {
            build: Entrant(
                Cost(
                    self.at.block_log(build)
                    + float(self._rng("forecast", build).normal(0, _FORECAST_SD)),
                    _FORECAST_SD,
                ),
                pilot_s=of.making_s + SECONDS[Level.PILOT],
                full_s=SECONDS[Level.FULL],
                ruled_out=of.ruled_out,
            )
            for build, of in BUILDS.items()
        }

    def _stopped_by(self, asked: Asked[Policies]) -> tuple[str, ...]:
        """A pilot stops what is shown to lose too much, a full measurement what is not shown to
        lose little enough; the error is shared by all builds."""
        margin, level = WORKLOADS[self.at.name].margin, 1 - 0.05 / len(BUILDS)
        pilot, rest = self._flips[asked.build]
        if asked.level is Level.PILOT:
            gained, lost = pilot
            seen = paired_binary_interval(gained, lost, _PILOT_ITEMS, level=level)
            return (QUALITY,) if seen.high < -margin else ()
        gained, lost = (a + b for a, b in zip(pilot, rest, strict=True))
        seen = paired_binary_interval(gained, lost, _ITEMS, level=level)
        return () if seen.low > -margin else (QUALITY,)

    @cached_property
    def _flips(self) -> Mapping[str, tuple[tuple[int, int], tuple[int, int]]]:
        """Build -> (gained, lost) among the pilot's items, and among the others."""
        return {build: self._drawn(build) for build in BUILDS}

    def _drawn(self, build: str) -> tuple[tuple[int, int], tuple[int, int]]:
        loss = self.at.loss(build)
        discordant = max(BUILDS[build].discordance, abs(loss))
        shares = [(discordant - loss) / 2, (discordant + loss) / 2, 1 - discordant]
        rng = self._rng("flips", build)
        first, rest = (rng.multinomial(n, shares) for n in (_PILOT_ITEMS, _ITEMS - _PILOT_ITEMS))
        return (int(first[0]), int(first[1])), (int(rest[0]), int(rest[1]))

    def _rng(self, *what: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *"\0".join((self.at.name, *what)).encode()])

    @cached_property
    def optimum(self) -> float:
        """Logarithm of the least true cost among all that trying everything would accept."""
        accepted = {
            b
            for b, of in BUILDS.items()
            if not of.ruled_out and self.measure(Asked(Level.FULL, b)).ok
        }
        return min(math.log(c) for arm, c in self.at.costs.items() if arm.build in accepted)
