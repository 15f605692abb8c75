"""Which build under which policies to look at next, and how closely: ask and tell, nothing is run.

An *arm* is a candidate build under policies. Knowledge comes in levels, each dearer than the one
before: a *forecast* is free, a *pilot* looks at a build briefly, a *full* measurement is what the
gate judges on the split that chooses, a *plan* is an arm on the workload in virtual time. What is
learnt of a build holds for all of its arms.

The search drops what cannot win. A build is dropped when a promise is shown to be broken, or when
it costs more than an accepted one beyond doubt: beyond the noise of both (one-sided, the error
shared by all builds: Bonferroni) and beyond ``policy_margin``, by which two builds' costs may
change with policies. What is left is measured by halves, the cheaper half first (successive
halving: Jamieson and Talwalkar, AISTATS 2016), so that an accepted cheap build spares the dearer
half. A build may join late, where what was found of another gives rise to it.

Arms of accepted builds are planned last. How far a plan is from what was predicted is the error of
its build and that of its family of policies, added up. So the first build is planned under every
family, which tells what each is worth on this workload, and of any other build the first plan tells
how far it is off. What is then predicted to be dearer than the best plan is not planned.

A budget is kept by beginning nothing that is not expected to fit into what is left of it. What is
begun is finished.

All state follows from what was told, in order: who tells a new search the same is asked the same.
The winner was chosen by noisy numbers; whether it keeps its promises, the certificate decides.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from headgate.theory.intervals import normal_quantile

__all__ = ["EQUAL", "Arm", "Asked", "Cost", "Entrant", "Found", "Joint", "Level", "Told"]

P = TypeVar("P", bound=Hashable)

EQUAL = 1.01
"""Costs within a percent are equal; the arm that was named first, the simplest, wins."""
_WAVE = 20.0
"""Builds that take this many times longer to find out about than the quickest wait for those: what
they can still save is known better then."""


class Level(IntEnum):
    """How closely something was looked at."""

    FORECAST = 0
    PILOT = 1
    FULL = 2
    PLAN = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What is known of a cost: its natural logarithm, and the standard error of that."""

    log: float
    se: float = 0.0


@dataclass(frozen=True, slots=True)
class Entrant:
    """A candidate build before the search."""

    cost: Cost
    """The forecast, in a unit that all entrants share."""
    pilot_s: float = 0.0
    """What a pilot is expected to take, with making the build."""
    full_s: float = 0.0
    """What is then left to find out, plans included."""
    shared: str = ""
    """What it is made of that others are made of too, by name; making that takes ``shared_s``,
    once for all."""
    shared_s: float = 0.0
    ruled_out: str = ""
    """Why it is not looked at, where that is known for nothing."""
    accepted: bool = False
    """It keeps its promises: nothing is left to find out but plans."""


@dataclass(frozen=True, slots=True)
class Arm(Generic[P]):
    """A build under policies."""

    build: str
    policies: P
    family: Hashable = None
    """Policies whose forecasts are likely to be wrong together: of a build the best of each family
    is planned before any family's second best, and corrects what is predicted of the others; what
    families do to one build predicts what they do to the next."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[P]):
    """One trial: a build at a level, or an arm to be planned."""

    level: Level
    build: str
    arm: Arm[P] | None = None


@dataclass(frozen=True, slots=True)
class Told(Generic[P]):
    """What became of a trial."""

    asked: Asked[P]
    cost: Cost | None = None
    """None where there is none: it could not be made, or no rate holds the promise."""
    stopped_by: tuple[str, ...] = ()
    """Promises that stand in the way: shown to be broken by a pilot or a plan, not shown to be kept
    by a full measurement."""
    why: str = ""
    """In words, where there is no cost or something stands in the way."""
    seconds: float = 0.0
    """What finding out took."""

    @property
    def ok(self) -> bool:
        return self.cost is not None and not self.stopped_by


@dataclass(frozen=True, slots=True)
class Found(Generic[P]):
    """Where a search stands."""

    best: Arm[P] | None
    """The cheapest arm that was planned and keeps every promise; None is the baseline."""
    stopped: str
    """Why it asks no more; empty while it does."""
    binding: str | None
    """The promise that stands in the way where nothing keeps all."""
    left_out: Mapping[str, str]
    """Build -> why no more was asked of it."""
    spent_s: float
    """With what was spent before it began."""


class Joint(Generic[P]):
    """The search. ``ask`` says what to measure side by side, ``tell`` takes what came out of it.

    ``arms``: the logarithm of what policies make of the cost of their build, by a cost model;
    simpler arms come first. ``policy_margin``: how far, in logarithms, that may be wrong between
    two arms. ``budget_s``: what finding out may take, with the ``spent_s`` that it took before;
    what is accepted is planned in any case. ``plans_at_once``: arms that are planned before any is
    told, at most; ``most_plans``: in all. Plans may be in another unit than entrants, where all
    arms of a build may be planned at once.
    """

    def __init__(
        self,
        entrants: Mapping[str, Entrant],
        arms: Mapping[Arm[P], float],
        *,
        policy_margin: float,
        confidence: float = 0.95,
        budget_s: float = math.inf,
        spent_s: float = 0.0,
        plans_at_once: int = 1,
        most_plans: int | None = None,
    ) -> None:
        self.entrants: dict[str, Entrant] = {}
        self.arms: dict[Arm[P], float] = {}
        self.policy_margin = policy_margin
        self.budget_s = budget_s
        self.plans_at_once = plans_at_once
        self._alpha = 1 - confidence
        self._spent_before_s = spent_s
        self._most_plans = most_plans
        self._told: dict[Asked[P], Told[P]] = {}
        self._level: dict[str, Level] = {}
        self._cost: dict[str, Cost] = {}
        self._stopped_for: dict[str, str] = {}
        self._errors: dict[tuple[str, Hashable], list[float]] = {}
        self.join(entrants, arms)

    def join(self, entrants: Mapping[str, Entrant], arms: Mapping[Arm[P], float]) -> None:
        """Builds that are looked at from now on, and their arms."""
        for build, entrant in entrants.items():
            self.entrants[build] = entrant
            self._level[build] = Level.FULL if entrant.accepted else Level.FORECAST
            self._cost[build] = entrant.cost
            if entrant.ruled_out:
                self._stopped_for[build] = entrant.ruled_out
        self.arms |= arms
        self._z = normal_quantile(1 - self._alpha / max(len(self.entrants), 1))
        self._queue = sorted(self.arms, key=self.arms.__getitem__)  # stable: simpler ones first
        self._rank = {arm: i for i, arm in enumerate(self.arms)}
        self._firsts: dict[tuple[str, Hashable], Arm[P]] = {}
        for arm in self._queue:
            self._firsts.setdefault((arm.build, arm.family), arm)
        self._least = self._cheapest_policies()

    def ask(self) -> tuple[Asked[P], ...]:
        """What to measure next, side by side; nothing where the search has stopped.

        Asked again before it is told, it asks for the same.
        """
        left_out = self._left_out()
        open_ = [b for b in self.entrants if b not in left_out]
        piloted = [b for b in open_ if self._level[b] is Level.PILOT]
        if piloted:
            piloted.sort(key=self._predicted)
            half = piloted[: (len(piloted) + 1) // 2]
            return tuple(Asked(Level.FULL, b) for b in half)
        new = [b for b in open_ if self._level[b] is Level.FORECAST]
        if new:
            quickest_s = min(self._pilot_s(b) for b in new)
            wave = [b for b in new if self._pilot_s(b) <= _WAVE * quickest_s]
            return tuple(Asked(Level.PILOT, b) for b in wave)
        most = self.plans_at_once
        if self._most_plans is not None:
            most = min(most, self._most_plans - self._planned)
        return tuple(Asked(Level.PLAN, arm.build, arm) for arm in self._next_arms()[:most])

    def tell(self, results: Sequence[Told[P]]) -> None:
        """What came of all that was asked for. Raises ``ValueError`` for anything else."""
        asked = self.ask()
        if not results or tuple(r.asked for r in results) != asked:
            raise ValueError(f"asked for {asked}, told of {tuple(r.asked for r in results)}")
        for r in results:
            self._told[r.asked] = r
            if r.asked.arm is not None and r.ok:
                arm = r.asked.arm
                error = _log(r) - self._cost[arm.build].log - self.arms[arm]
                self._errors.setdefault((arm.build, arm.family), []).append(error)
            if r.asked.arm is None:
                self._level[r.asked.build] = r.asked.level
                if r.cost is not None:
                    self._cost[r.asked.build] = r.cost
                if not r.ok:
                    self._stopped_for[r.asked.build] = r.why or ", ".join(r.stopped_by)
        self._least = self._cheapest_policies()

    @property
    def told(self) -> tuple[Told[P], ...]:
        """All results, in order: told to a new search round by round, they make it this one."""
        return tuple(self._told.values())

    @property
    def accepted(self) -> tuple[str, ...]:
        """Builds that keep their promises as far as full measurements say, in the order given."""
        return tuple(
            b
            for b, level in self._level.items()
            if level is Level.FULL and b not in self._stopped_for
        )

    @property
    def untried(self) -> Mapping[Arm[P], str]:
        """Arms of accepted builds that were not planned, and why; cheapest prediction first."""
        enough = dict.fromkeys(self._open_arms(), "as many plans as there may be were tried")
        reasons = self._dearer_arms() | enough
        return {arm: reasons[arm] for arm in self._queue if arm in reasons}

    @property
    def found(self) -> Found[P]:
        """Where the search stands."""
        best = self._best()
        return Found(
            None if best is None else best.asked.arm,
            self._why_stopped(best),
            self._binding() if best is None else None,
            self._left_out(),
            self.spent_s,
        )

    @property
    def spent_s(self) -> float:
        """On finding out, so far."""
        return self._spent_before_s + math.fsum(r.seconds for r in self._told.values())

    @property
    def _planned(self) -> int:
        return sum(a.level is Level.PLAN for a in self._told)

    def _plan(self, arm: Arm[P]) -> Told[P] | None:
        return self._told.get(Asked(Level.PLAN, arm.build, arm))

    def _next_arms(self) -> list[Arm[P]]:
        """To be planned side by side: before anything is known those of the cheapest build, under
        all families; then one of each build, which says what to expect of its others."""
        open_ = self._open_arms()
        if not self._errors:
            return [arm for arm in open_ if arm.build == open_[0].build]
        first_of_each = {arm.build: arm for arm in reversed(open_)}
        return [arm for arm in open_ if first_of_each[arm.build] is arm]

    def _open_arms(self) -> list[Arm[P]]:
        """What may be planned: firsts of their families, then the cheapest prediction."""
        left_out, dearer, accepted = self._left_out(), self._dearer_arms(), self.accepted
        open_ = [
            arm
            for arm in self._queue
            if arm.build in accepted
            and arm.build not in left_out
            and arm not in dearer
            and self._plan(arm) is None
        ]
        return sorted(
            open_,
            key=lambda a: (self._firsts[a.build, a.family] is not a, self._arm_cost(a).log),
        )

    def _arm_cost(self, arm: Arm[P]) -> Cost:
        """As predicted, and by as much more as plans of its family cost. Where its build has none
        of them, as those of other builds cost: told by families that both have plans of, or by what
        is known of the builds themselves."""
        build, own = self._cost[arm.build], self._errors_of(arm.build)
        predicted = build.log + self.arms[arm]
        if arm.family in own:
            return Cost(predicted + own[arm.family])
        planned = {b: self._errors_of(b) for b, _ in self._errors if b != arm.build}
        others = {b: errors for b, errors in planned.items() if arm.family in errors}
        if both := [
            own[family] + errors[arm.family] - errors[family]
            for errors in others.values()
            for family in own.keys() & errors.keys()
        ]:
            return Cost(predicted + statistics.fmean(both))
        if others:
            error = statistics.fmean(errors[arm.family] for errors in others.values())
            se = math.hypot(*(self._cost[b].se for b in others)) / len(others)
            return Cost(predicted + error, math.hypot(build.se, se))
        # Where other builds have plans, and none of this family, not even its unit is known.
        return Cost(predicted, math.inf if planned else build.se)

    def _errors_of(self, build: str) -> dict[Hashable, float]:
        """Family -> by how much its plans differ from what was predicted, in the mean."""
        return {
            family: statistics.fmean(errors)
            for (name, family), errors in self._errors.items()
            if name == build
        }

    def _cheapest_policies(self) -> dict[str, float]:
        """Of each build; not in it where every plan was refused."""
        least: dict[str, float] = {}
        for arm in self._queue:
            told = self._plan(arm)
            if told is None or told.ok:
                least.setdefault(arm.build, self.arms[arm])
        return least

    def _predicted(self, build: str) -> float:
        """Of the build's cheapest arm that may be feasible."""
        return self._cost[build].log + self._least.get(build, 0.0)

    def _best(self) -> Told[P] | None:
        feasible = [r for a, r in self._told.items() if a.level is Level.PLAN and r.ok]
        least = min(map(_log, feasible), default=0.0) + math.log(EQUAL)
        equal = [r for r in feasible if _log(r) <= least]
        return min(equal, key=lambda r: self._rank[_arm(r)], default=None)

    def _left_out(self) -> dict[str, str]:
        """Builds of which nothing more is asked, and why."""
        left_out = self._stopped_for | self._dearer_builds()
        return left_out | self._beyond_budget(left_out)

    def _dearer_builds(self) -> dict[str, str]:
        """Those that cost more than an accepted one that has a plan or may still have one."""
        may_win = [b for b in self.accepted if b in self._least]
        if not may_win:
            return {}
        first = min(may_win, key=self._predicted)
        than = Cost(self._predicted(first), self._cost[first].se)
        costs = {b: Cost(self._predicted(b), self._cost[b].se) for b in self.entrants}
        return {
            b: _times(cost, than, first)
            for b, cost in costs.items()
            if b != first and b not in self._stopped_for and self._dearer(cost, than)
        }

    def _beyond_budget(self, left_out: Mapping[str, str]) -> dict[str, str]:
        """Of the others, those not begun that what is left of the budget is not expected to be
        enough for, when all that is begun is finished; the quickest come first."""
        in_ = [b for b in self.entrants if b not in left_out]
        begun = [b for b in in_ if self._level[b] is Level.PILOT]
        new = [b for b in in_ if self._level[b] is Level.FORECAST]
        left_s = self.budget_s - self.spent_s - sum(self.entrants[b].full_s for b in begun)
        beyond: dict[str, str] = {}
        shared: set[str] = set()
        for b in sorted(new, key=lambda b: self._pilot_s(b) + self.entrants[b].full_s):
            entrant = self.entrants[b]
            makes_s = entrant.pilot_s if entrant.shared in shared else self._pilot_s(b)
            if makes_s + entrant.full_s <= left_s:
                left_s -= makes_s + entrant.full_s
                shared.add(entrant.shared)
            else:
                beyond[b] = (
                    f"not tried: that takes about {makes_s + entrant.full_s:.3g} s, and of the "
                    f"budget {max(left_s, 0):.3g} s are left for it"
                )
        return beyond

    def _pilot_s(self, build: str) -> float:
        """What its pilot is expected to take, with whatever it is made of and nobody made yet."""
        entrant = self.entrants[build]
        made = {self.entrants[b].shared for b in self.entrants if self._level[b] > Level.FORECAST}
        return entrant.pilot_s + (0.0 if entrant.shared in made else entrant.shared_s)

    def _dearer_arms(self) -> dict[Arm[P], str]:
        """Arms that were not planned and cost more than the best plan."""
        best = self._best()
        if best is None or best.cost is None:
            return {}
        return {
            arm: _times(cost, best.cost, best.asked.build)
            for arm in self._queue
            if self._plan(arm) is None
            and arm.build in self.accepted
            and self._dearer(cost := self._arm_cost(arm), best.cost)
        }

    def _dearer(self, cost: Cost, than: Cost) -> bool:
        noise = self._z * math.hypot(cost.se, than.se)
        return cost.log - than.log > noise + self.policy_margin

    def _why_stopped(self, best: Told[P] | None) -> str:
        if self.ask():
            return ""
        if self._beyond_budget(self._stopped_for | self._dearer_builds()):
            return "what is left to try does not fit into the budget"
        if best is None:
            return "nothing keeps every promise"
        if self._open_arms():
            return "as many plans as there may be were tried"
        failed = {r.asked.build for r in self._told.values() if not r.ok}
        ruled_out = {b for b, entrant in self.entrants.items() if entrant.ruled_out}
        if self._dearer_arms() or self._left_out().keys() - failed - ruled_out:
            return "whatever is left is predicted to cost more"
        return "everything that is not ruled out was tried" if ruled_out else "everything was tried"

    def _binding(self) -> str | None:
        """What would have to give way: the only promise that the cheapest such candidate breaks;
        where each breaks several, the one that most break."""
        broken = [r for r in self._told.values() if r.stopped_by]
        if not broken:
            return None
        alone = [r for r in broken if len(set(r.stopped_by)) == 1]
        if alone:
            return min(alone, key=self._log_of).stopped_by[0]
        counts = Counter(promise for r in broken for promise in set(r.stopped_by))
        return min(counts, key=lambda promise: (-counts[promise], promise))

    def _log_of(self, told: Told[P]) -> float:
        arm = told.asked.arm
        return self._predicted(told.asked.build) if arm is None else self._arm_cost(arm).log


def _times(cost: Cost, than: Cost, name: str) -> str:
    factor = math.exp(cost.log - than.log)
    return f"predicted to cost {factor:.2f} times as much as {name or 'the best plan'}"


def _log(told: Told[P]) -> float:
    assert told.cost is not None
    return told.cost.log


def _arm(told: Told[P]) -> Arm[P]:
    assert told.asked.arm is not None
    return told.asked.arm
