"""A recorded workload: the truth of every build and arm, and what measuring them would show.

What is measured depends on a seed and on what is measured, never on the order: who asks again is
told the same, and every search of one seed has the same luck. Costs on the workload are those of a
seed's own table: the recorded ones, each build's off by the error of its curves. Trying everything
would read the same table, and its least is what a search is held against.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from benchmarks.search.builds import ITEMS, Build, Curves, family
from benchmarks.search.record import KINDS, made_by, table_of
from benchmarks.search.workloads import WORKLOADS
from headgate.optimize.as_it_is import entrant_as_it_is
from headgate.optimize.entrants import PILOT_BLOCKS, Caches, cost_of, entrant_of
from headgate.optimize.forecasts import Figure, Forecast
from headgate.optimize.rules import CHOOSING_BLOCKS
from headgate.optimize.stages import Tried
from headgate.planning import BASELINE, CANDIDATES, MENDED, Arm, Asked, Cost, Entrant, Level, Told
from headgate.quantization import INT8_STATIC
from headgate.quantization.repair import BUDGET
from headgate.theory.intervals import Range, paired_binary_interval

__all__ = ["AS_IT_IS", "PLAIN", "PLAN_S", "QUALITY", "Recorded", "World", "recorded"]

QUALITY = "recall"
PLAIN = INT8_STATIC.name
AS_IT_IS = entrant_as_it_is(Tried(BASELINE, Forecast(BASELINE, "", "", (), "")))
"""The model's own build, whose answers keep every promise here."""
_SCORING_S, _PILOT_S, _BLOCKS_S, _CURVES_S, PLAN_S = 5.0, 4.0, 10.0, 3.0, 2.0
"""On the reference machine: the evaluation split; class and three blocks; nine blocks; a build's
curves; an arm on the workload."""
_BLOCKS = {Level.PILOT: PILOT_BLOCKS, Level.FULL: CHOOSING_BLOCKS}
_BLOCK_SD = 0.1
"""Of the logarithm of two builds' times in a block, where it was not measured."""
_CURVE_SD = 0.05
"""Of the logarithm of two builds' curves at one shape: 0.02 to 0.07 in five runs of the
quickstart."""
_FORECAST_SD = 0.15
"""Of a preview's speed; its 90 % interval is 1.64 times as wide to each side."""


@dataclass(frozen=True)
class Recorded:
    """One workload: what everything costs."""

    name: str
    baseline: Curves
    builds: Mapping[str, Build]
    """The candidates, and the model's own."""
    arms: Mapping[str, tuple[float, ...]]
    """Build -> machine seconds a request of each of its arms; +inf where no rate holds the
    promise."""
    chosen: Mapping[Arm[Caches], tuple[float, float, int]]
    """What ``choose`` comes to: machine seconds on the same grid, those as it would be served, and
    how many arms it simulated."""
    made_by: Mapping[str, str]
    """Digests of the code that made it."""

    @property
    def made_by_other(self) -> list[str]:
        """What of that is other code by now."""
        return [part for part, now in made_by(self.name).items() if self.made_by.get(part) != now]

    def loss(self, build: str) -> float:
        """The truth."""
        at, of = WORKLOADS[self.name], self.builds[build]
        student = at.student_gain if build.startswith("student") else 0.0
        int8 = {PLAIN: 1.0, f"student3_{PLAIN}": 1.0, MENDED.name: 0.2}.get(build, 0.0)
        return of.loss - student + int8 * at.int8_loss

    def block_log(self, build: str) -> float:
        """What a batch takes, over what the baseline's takes; the truth, as a logarithm."""
        if (blocks := self.builds[build].blocks) is not None:
            return blocks[0]
        length = round(WORKLOADS[self.name].median_tokens)
        plan = [*self.baseline][-1]
        curves = self.builds[build].curves[plan], self.baseline[plan]
        taken_s, baseline_s = (curve.predict_s(16, length) for curve in curves)
        return math.log(taken_s / baseline_s)


@cache
def recorded() -> Mapping[str, Recorded]:
    """The table, by workload."""
    return {name: _of(name) for name in WORKLOADS if table_of(name).exists()}


def _of(name: str) -> Recorded:
    table = json.loads(table_of(name).read_text(encoding="utf-8"))
    of = family(WORKLOADS[name].family)
    return Recorded(
        name,
        of.baseline,
        of.builds,
        {build: tuple(map(_cost, row["arms"])) for build, row in table["builds"].items()},
        {
            Arm(build, caches, caches): (_cost(on_grid), _cost(served), tried)
            for build, row in table["builds"].items()
            for caches, (on_grid, served, tried) in zip(KINDS, row["chosen"], strict=True)
        },
        table["made_by"],
    )


def _cost(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


@dataclass(frozen=True)
class World:
    """What measuring a recorded workload shows, with one seed's luck."""

    at: Recorded
    seed: int

    def measure(self, asked: Asked[Caches]) -> Told[Caches]:
        """One trial, without what is paid once for several (``once_s``)."""
        if asked.arm is not None:
            cost, _, tried = self.at.chosen[asked.arm]
            seconds = tried * PLAN_S
            if math.isinf(cost):
                return Told(asked, None, ("latency_p95",), seconds=seconds)
            return Told(asked, Cost(self.log(asked.build, cost)), seconds=seconds)
        blocks = self.at.builds[asked.build].blocks
        sd = _BLOCK_SD if blocks is None else blocks[1]
        noise = self._rng(asked.level.name, asked.build).normal(0, sd, _BLOCKS[asked.level])
        cost_ = cost_of((self.at.block_log(asked.build) + noise).tolist())
        if asked.level is Level.PILOT:
            return Told(asked, cost_, seconds=self.at.builds[asked.build].making_s + _PILOT_S)
        broken = () if self.keeps(asked.build) else (QUALITY,)
        return Told(asked, cost_, broken, seconds=_SCORING_S + _BLOCKS_S)

    def evaluations(self, asked: Asked[Caches]) -> int:
        """Looks at one build or one arm that a trial is made of. A pilot counts as one, though it
        scores nothing; that of ``int8_mixed`` makes and scores a build for each trial of the
        repair, and is taken to need all of them."""
        if asked.arm is not None:
            return self.at.chosen[asked.arm][2]
        return BUDGET if (asked.level, asked.build) == (Level.PILOT, MENDED.name) else 1

    def once_s(self, made: Iterable[str], priced: Collection[str]) -> float:
        """Training the students that ``made`` is made of, each for all of its precisions, and the
        curves of those ``priced``, for all arms of each."""
        training_s = {CANDIDATES[b].student: self.at.builds[b].training_s for b in made}
        return sum(training_s.values()) + _CURVES_S * len(priced)

    def log(self, build: str, cost: float) -> float:
        """A cost as this seed's table has it, as a logarithm."""
        return math.log(cost) + float(self._rng("curves", build).normal(0, _CURVE_SD))

    def entrants(self) -> dict[str, Entrant]:
        """The model's own build, of which all is known but plans; then every build that is named,
        as it is forecast: speed where a pilot is made of a scheme."""
        forecast = {
            name: entrant_of(self._forecast(name), scoring_s=_SCORING_S, plans_s=_CURVES_S)
            for name in self._judged
            if name != MENDED.name
        }
        return {BASELINE: AS_IT_IS, **forecast}

    def _forecast(self, name: str) -> Forecast:
        of = self.at.builds[name]
        figures = {}
        if CANDIDATES[name].student is None:
            off = float(self._rng("forecast", name).normal(0, _FORECAST_SD))
            value, width = math.exp(off - self.at.block_log(name)), math.exp(1.645 * _FORECAST_SD)
            figures["speedup"] = Figure(
                "speed", "times", Range(value, value / width, value * width)
            )
        return Forecast(
            name,
            of.ruled_out,
            "",
            (),
            "",
            figures=figures,
            making_s=of.training_s + of.making_s + _PILOT_S,
            scoring_s=_SCORING_S + _BLOCKS_S,
        )

    def keeps(self, build: str) -> bool:
        """Whether a full measurement shows that it loses little enough; the error is shared by all
        that may be judged. The model's own build loses nothing."""
        seen = paired_binary_interval(
            *self._flips[build], ITEMS, level=1 - 0.05 / len(self._judged)
        )
        return seen.low > -WORKLOADS[self.at.name].margin

    @cached_property
    def _flips(self) -> Mapping[str, tuple[int, int]]:
        """Build -> answers won, and lost."""
        return {build: self._drawn(build) for build in self.at.builds}

    def _drawn(self, build: str) -> tuple[int, int]:
        loss = self.at.loss(build)
        discordant = max(self.at.builds[build].discordance, abs(loss))
        shares = [(discordant - loss) / 2, (discordant + loss) / 2, 1 - discordant]
        gained, lost, _ = self._rng("flips", build).multinomial(ITEMS, shares)
        return int(gained), int(lost)

    def _rng(self, *what: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *"\0".join((self.at.name, *what)).encode()])

    @property
    def _judged(self) -> tuple[str, ...]:
        """What may be made and judged: everything but the model's own build."""
        return tuple(b for b in self.at.builds if b != BASELINE)

    @property
    def named(self) -> tuple[str, ...]:
        """All there is: ``int8_mixed`` only where there is something to mend."""
        return tuple(b for b in self.at.builds if b != MENDED.name or not self.keeps(PLAIN))

    @property
    def permitted(self) -> tuple[str, ...]:
        """What is left of them to try: a contract forbids the others for nothing."""
        return tuple(b for b in self.named if not self.at.builds[b].ruled_out)

    @property
    def allowed(self) -> tuple[str, ...]:
        """What trying everything would accept."""
        return tuple(b for b in self.permitted if self.keeps(b))

    @property
    def optimum(self) -> float:
        """Logarithm of the least cost in this seed's table among all arms that are accepted."""
        return min((self.log(*pair) for pair in self._feasible()), default=math.inf)

    @property
    def luckiest(self) -> float:
        """Logarithm of the recorded cost of that arm: what trying everything really ends with."""
        best = min(self._feasible(), key=lambda pair: self.log(*pair), default=None)
        return math.inf if best is None else math.log(best[1])

    def _feasible(self) -> list[tuple[str, float]]:
        return [(b, c) for b in self.allowed for c in self.at.arms[b] if math.isfinite(c)]
