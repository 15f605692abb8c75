"""Measures what the search over candidates asks for, and tells it what came out.

A pilot makes a build, looks whether its answers depend on their batch, and times it in a few
interleaved blocks. A full measurement is the evaluation split, as many blocks as the rule plans,
and the gate. A plan prices an accepted build on the workload, with the best cache or with none. An
``int8_static`` that breaks a promise of quality brings ``int8_mixed`` into the search. All of it
are recorded transformations, so that a search that was killed is told the same again and goes on
from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from headgate.errors import EngineError
from headgate.objects import CASCADE, Axis, Build, Contract, Verdict, jsonable
from headgate.optimize.admission import admit
from headgate.optimize.as_it_is import (
    as_it_is,
    breaks_cost,
    entrant_as_it_is,
    gains_nothing,
    replaces_another,
)
from headgate.optimize.blocks import SpeedBlocks, measure_beside
from headgate.optimize.certificate import escalation, speed_claim
from headgate.optimize.code import code_digest
from headgate.optimize.comparisons import naive_price
from headgate.optimize.entrants import (
    PILOT_BLOCKS,
    Caches,
    arms_of,
    cost_of,
    entrant_of,
    mended_of,
    open_search,
)
from headgate.optimize.evidence import gather
from headgate.optimize.gate import judge_candidate, lets_through
from headgate.optimize.job import Job
from headgate.optimize.kept_index import measure_kept_index
from headgate.optimize.making import CANNOT_BE_MADE, Maker, make_build
from headgate.optimize.measure import measure_invariance, measure_quality
from headgate.optimize.mending import Reference, mend
from headgate.optimize.power import Power, plan_power
from headgate.optimize.preview import Outlook
from headgate.optimize.pricing import CACHES, Priced, Pricer
from headgate.optimize.rules import CHOOSING_BLOCKS, Rules
from headgate.optimize.stages import Baseline, Plans, Tried, open_pricer, p95_limit_s
from headgate.planning import (
    BASELINE,
    CANDIDATES,
    MENDED,
    Arm,
    Asked,
    Cost,
    Found,
    Joint,
    Level,
    Told,
)
from headgate.planning.joint import EQUAL
from headgate.quantization import INT8_STATIC
from headgate.quantization.speed import LEAST_GAIN
from headgate.release import ClassLabel, judge
from headgate.scheduling import instance_plans
from headgate.theory.intervals import log_ratios

__all__ = ["Searched", "Trials", "search_candidates"]


@dataclass(frozen=True, slots=True)
class Searched:
    """What the search came to."""

    tried: tuple[Tried, ...]
    """Every candidate, in the order of headgate.yaml."""
    as_it_is: Tried | None
    """The model as it is, under policies of its own; None of a server that is not ours."""
    speed: SpeedBlocks
    """Of the baseline."""
    power: Power
    winner: Tried | None
    plans: Plans | None
    found: Found[Caches]
    previewed_s: float
    """What the previews took, of all that was spent."""
    entry: str
    """Of the ledger."""


def search_candidates(
    job: Job, rules: Rules, baseline: Baseline, outlook: Outlook, *, previewed_s: float
) -> Searched:
    """The cheapest of what is accepted, the model as it is too, by what it costs on the workload.

    ``previewed_s`` is what ``outlook`` took: it is paid for from the same budget. Where no
    accepted candidate holds the p95 promise in virtual time, it is the one that is predicted to
    cost least: the load test decides.
    """
    tried = {f.name: Tried(f.name, f) for f in outlook.forecasts}
    if not baseline.build.foreign:  # first: of what costs the same, the plainest wins
        tried = {BASELINE: as_it_is(job, baseline, rules.certify), **tried}
    trials = Trials(job, rules, baseline, tried, previewed_s, outlook.speed)
    trials.follow()
    return trials.searched()


@dataclass
class Trials:
    """Carries out what ``search`` asks for, and keeps what is known of each candidate."""

    job: Job
    rules: Rules
    baseline: Baseline
    tried: dict[str, Tried]
    previewed_s: float = 0.0
    piloted: Mapping[str, SpeedBlocks] = field(default_factory=dict)
    """What the preview timed: it need not be timed again for a pilot."""
    speed: SpeedBlocks | None = None
    power: Power | None = None

    def __post_init__(self) -> None:
        self._maker = Maker.of(self.job, failures_stand=True)
        self._plans: dict[Arm[Caches], Plans] = {}
        self._pricer: Pricer | None = None
        self._contenders: frozenset[str] = frozenset()
        curves_s = len(instance_plans(self.job.cores)) * self.baseline.curve.run.seconds
        scoring_s = self.baseline.quality_run.seconds
        self.search: Joint[Caches] = open_search(
            {
                n: entrant_as_it_is(t)
                if n == BASELINE
                else entrant_of(t.forecast, scoring_s=scoring_s, plans_s=curves_s)
                for n, t in self.tried.items()
            },
            budget_s=self.job.config.search.budget,
            spent_s=self.previewed_s,
        )

    def follow(self) -> None:
        """Until it asks no more."""
        while asked := self.search.ask():
            self.search.tell(self.round(asked))
            if self._breaks_quality(INT8_STATIC.name) and MENDED.name not in self.tried:
                self._enter_mended(self.tried[INT8_STATIC.name])

    def _breaks_quality(self, name: str) -> bool:
        """Whether it was measured wholly, and a promise of quality is not shown to be kept."""
        t = self.tried.get(name)
        return (
            t is not None
            and t.quality is not None
            and t.decision is not None
            and any(
                r.contract.axis is Axis.QUALITY and not lets_through(r) for r in t.decision.results
            )
        )

    def _enter_mended(self, plain: Tried) -> None:
        """One candidate more: what ``plain`` becomes with some layers left alone."""
        forecast = replace(
            plain.forecast, name=MENDED.name, figures={}, expected="", calibrated=False
        )
        self.tried[MENDED.name] = Tried(MENDED.name, forecast)
        entrant = mended_of(self.search.entrants[plain.name], _cost(plain))
        self.search.join({MENDED.name: entrant}, arms_of([MENDED.name]))

    def round(self, asked: Sequence[Asked[Caches]]) -> list[Told[Caches]]:
        """Trials of one level, side by side; what they took together is shared by all alike."""
        measure = {
            Level.PILOT: self._pilots,
            Level.FULL: self._wholly,
            Level.PLAN: self._planned,
        }[asked[0].level]
        before = self.job.recorder.asked
        if asked[0].level is Level.PLAN:
            self._time_baseline()
            if self.power is None:  # before its certificate: nothing but the model as it is is left
                own = self.tried[BASELINE]
                self.power = plan_power(self.job, self.rules.certify, self.baseline, [own])
        told = [*measure(asked)]
        took_s = self.job.recorder.seconds_since(before)
        return [replace(t, seconds=took_s / len(told)) for t in told]

    def searched(self) -> Searched:
        """Where it ended, in the ledger."""
        found, best = self._ended()
        tried = self._with_reasons(found)
        own = tried.pop(BASELINE, None)
        speed = self._time_baseline()
        power = self.power or Power(())  # nothing was measured that would tell
        winner, plans = self._winner(best)
        return Searched(
            tuple(tried.values()),
            own,
            speed,
            power,
            winner,
            plans,
            found,
            self.previewed_s,
            self._record(found),
        )

    def _time_baseline(self) -> SpeedBlocks:
        """Alone, where nothing was measured beside it."""
        if self.speed is None:
            self.speed = self._blocks((), CHOOSING_BLOCKS)[self.baseline.build.name]
        return self.speed

    def _pilots(self, asked: Sequence[Asked[Caches]]) -> Iterator[Told[Caches]]:
        for a in asked:
            self.tried[a.build] = self._made(self.tried[a.build])
        made = [t for a in asked if (t := self.tried[a.build]).build is not None]
        untimed = [t for t in made if t.name not in self.piloted]
        speed = {**self.piloted, **(self._blocks(untimed, PILOT_BLOCKS) if untimed else {})}
        for a in asked:
            t = self.tried[a.build]
            if t.build is None:
                yield Told(a, None, why=t.skipped)
                continue
            t = self._worth_it(replace(t, speed=speed[t.build.name]))
            if t.skipped:
                yield Told(a, None, why=t.skipped)
            else:
                t = self._judged_early(t)
                yield Told(a, _cost(t), *_stopped(t))
            self.tried[a.build] = t

    def _wholly(self, asked: Sequence[Asked[Caches]]) -> Iterator[Told[Caches]]:
        measured = [self._scored(self.tried[a.build]) for a in asked]
        speed = self._blocks([t for t in measured if t.quality is not None], CHOOSING_BLOCKS)
        self.speed = self.speed or speed[self.baseline.build.name]
        measured = [
            replace(t, speed=speed[t.build.name])
            if t.build is not None and t.quality is not None
            else t
            for t in measured
        ]
        if self.power is None:  # before the first decision
            self.power = plan_power(self.job, self.rules.certify, self.baseline, measured)
        for a, t in zip(asked, measured, strict=True):
            t = self._judged(t)
            self.tried[a.build] = t
            if t.quality is None:
                yield Told(a, None, why=t.skipped)
            else:
                yield Told(a, _cost(t), *_stopped(t))

    def _planned(self, asked: Sequence[Asked[Caches]]) -> Iterator[Told[Caches]]:
        arms = [a.arm for a in asked if a.arm is not None]
        pricer = self._open_pricer()
        priced = pricer.all(
            [
                pricer.price(
                    pricer.offers[arm.build], "workload", name=arm.build, caches=arm.policies
                )
                for arm in arms
            ]
        )
        for a, arm, price in zip(asked, arms, priced, strict=True):
            self._plans[arm] = Plans(pricer, pricer.offers[arm.build], price)
            if price.choice.binding is None:
                yield Told(a, Cost(math.log(price.provisioned_s)))
            else:
                yield Told(a, None, (self._p95_promise,), price.choice.binding)

    def _open_pricer(self) -> Pricer:
        """One for all that may still be priced, in this round or a later one: measured with other
        builds, the same curves would be other curves. Another one is for what was dropped and came
        back, with all that it is compared with: it comes back before any plan is feasible.
        """
        left_out = self.search.found.left_out
        unpriced = {arm.build for arm in self.search.arms if arm not in self._plans}
        contenders = [b for b in self.search.accepted if b in unpriced and b not in left_out]
        if self._pricer is None or not self._contenders.issuperset(contenders):
            assert self.speed is not None
            limit_s = p95_limit_s(self.job.contracts, self.speed, load=self.job.config.replay.load)
            self._pricer = open_pricer(
                self.job,
                self.baseline,
                [self.tried[b] for b in contenders],
                [*self.tried.values()],
                limit_s,
            )
            self._contenders = frozenset(contenders)
        return self._pricer

    @property
    def _p95_promise(self) -> str:
        """By name where nothing is promised and a default is kept."""
        metric = "latency_p95"
        promised = [c.describe() for c in self.job.contracts if c.metric == metric]
        return " and ".join(promised) or metric

    def _made(self, t: Tried) -> Tried:
        """Made, and its batch-invariance class known; or why not."""
        try:
            for role in CANDIDATES[t.name].learns_from:
                admit(self.job.recorder, role, self.job.inputs.versions, now=datetime.now(UTC))
            if t.name == MENDED.name:
                build, expected = self._mended()
                t = replace(t, forecast=replace(t.forecast, expected=expected))
            else:
                build = make_build(t.name, self._maker)
            self.job.register_build(build)
            invariance = measure_invariance(
                self._maker.recorder, build, self.job.behaviour, items=self.job.queries
            )
        except CANNOT_BE_MADE as error:
            # One candidate that cannot be made must not cost the others.
            return replace(t, skipped=error.what.splitlines()[0])
        return replace(t, build=build, invariance=invariance)

    def _worth_it(self, t: Tried) -> Tried:
        """Or why not: a cascade that costs what its teacher does is no candidate.

        Another build may have reasons beside its speed; a student before its teacher has none. How
        fast it is, the few items that were timed do not say: those of the workload that escalate
        do.
        """
        assert t.build is not None
        assert t.speed is not None
        if t.build.engine != CASCADE:
            return t
        try:
            share, more = escalation(self.job, t.build, t.speed)
        except EngineError as error:
            return replace(t, skipped=error.what.splitlines()[0])
        found = t.speed.speedup(t.build.name, asked_more=more)
        t = replace(t, asked_more=more)
        if found.high > LEAST_GAIN:
            return t
        return replace(
            t,
            skipped=f"not worth it: with its student asked first the model is {found.value:.2f}x "
            f"as fast as alone, {found.high:.2f}x at most, on a workload of which {share:.1%} "
            "escalate",
        )

    def _mended(self) -> tuple[Build, str]:
        """``int8_static`` with some layers left alone, and which these are."""
        baseline = self.baseline
        reference = Reference(
            baseline.build, (baseline.quality, baseline.quality_run), baseline.invariance
        )
        found = mend(self.job, self.rules.choose, reference, self._maker)
        if found.build is None:
            raise EngineError(found.because)
        return found.build, found.because

    def _scored(self, t: Tried) -> Tried:
        assert t.build is not None
        try:
            quality, run = measure_quality(
                self._maker.recorder,
                t.build,
                self.job.behaviour,
                dataset=self.job.inputs.versions["evaluate"],
                split="evaluate",
            )
        except CANNOT_BE_MADE as error:
            return replace(t, skipped=error.what.splitlines()[0])
        assert t.invariance is not None
        kept = measure_kept_index(
            self.job.recorder,
            task=self.job.config.task,
            candidate=t.build.version,
            dataset=self.job.inputs.versions["evaluate"],
            quality=((quality, run), (self.baseline.quality, self.baseline.quality_run)),
            invariance=t.invariance,
        )
        return replace(t, quality=quality, quality_run=run, kept=kept)

    def _blocks(self, beside: Sequence[Tried], n_blocks: int) -> Mapping[str, SpeedBlocks]:
        return measure_beside(
            self.job.recorder,
            self.baseline.build,
            [t.build for t in beside if t.build is not None],
            self.job.behaviour,
            items=self.job.queries,
            n_blocks=n_blocks,
            memory_bytes=self.job.profile.memory_bytes,
        )

    def _judged_early(self, t: Tried) -> Tried:
        """Decided where the class alone shows harm; times wait for as many blocks as planned."""
        assert t.invariance is not None
        label = ClassLabel("batch_invariance", t.invariance.invariance.value, t.invariance.items)
        alone = [c for c in self.job.contracts if c.metric == label.metric]
        harmed = any(judge(c, label).verdict is Verdict.FAIL for c in alone)
        return self._judged(t, alone) if harmed else t

    def _judged(self, t: Tried, contracts: Sequence[Contract] | None = None) -> Tried:
        """The gate on the evaluation split; on the evidence of ``contracts`` alone, where given."""
        if t.build is None or t.invariance is None or t.speed is None:
            return t
        if contracts is None and t.quality is None:
            return t
        job, speed, name = self.job, t.speed, t.build.name
        theirs = (self.baseline.quality, self.baseline.quality_run)
        ours = (t.quality, t.quality_run) if t.quality and t.quality_run else theirs
        evidence = gather(
            job.recorder,
            job.contracts if contracts is None else contracts,
            candidate=t.build.version,
            dataset=job.inputs.versions["evaluate"],
            workload=job.inputs.versions["workload"],
            quality=(ours, theirs),
            kept=t.kept.scored if t.kept is not None else None,
            invariance=t.invariance,
            speed=lambda metric: speed.samples(
                name, metric, price_per_s=job.config.prices.device_second
            ),
            speed_run=speed.run,
            own=job.own,
        )
        decision, run = judge_candidate(
            job.recorder,
            candidate=t.build.version,
            current=self.baseline.build.version,
            rule=self.rules.choose,
            samples=evidence.samples,
            measurements=evidence.measurements,
            detail=name,
        )
        # Now, and not for the report: asked of a cascade, it runs an engine.
        claim = speed_claim(job, t.name, t.build, speed)
        return replace(t, decision=decision, decision_run=run, claim=claim)

    def _ended(self) -> tuple[Found[Caches], Arm[Caches] | None]:
        """Where the search ended, and the arm that wins, if any.

        Where a plan of the model as it is holds the p95, only what is cheaper than the baseline as
        it is served wins, of whatever build: that stays anyway. The baseline's own build wins only
        over itself, and where it keeps the promises about cost by its price. Where no plan of any
        build holds the p95, the load test decides of the candidate that is predicted to cost least.
        """
        found = self.search.found
        held = [arm for arm, p in self._plans.items() if p.chosen.choice.binding is None]
        held.sort(key=self._costs_s)
        own = [arm for arm in self._plans if arm.build == BASELINE]
        if not {*own} & {*held}:
            first = next((arm for arm in self._plans if arm.build != BASELINE), None)
            best = found.best or first
            return replace(found, left_out=self._left_out(best, held, {})), best
        pricer = self._plans[own[0]].pricer
        served = naive_price(pricer, self.baseline, "workload", name="naive")
        (naive,) = pricer.all([served])  # wanted again for whatever wins
        why = {arm: self._why_not(arm, naive) for arm in held}
        worth = [arm for arm in held if not why[arm]]
        best = found.best if found.best in worth else next(iter(worth), None)
        may_win = {arm.build for arm in worth}
        reasons = {arm.build: why[arm] for arm in reversed(held) if arm.build not in may_win}
        # Asked only where it would win: what a job promoted must not change what it is told again.
        if best in own and (another := replaces_another(self.job, self.baseline)):
            reasons[BASELINE] = another
            best = next((arm for arm in worth if arm.build != BASELINE), None)
        return replace(found, best=best, left_out=self._left_out(best, held, reasons)), best

    def _left_out(
        self,
        best: Arm[Caches] | None,
        held: Sequence[Arm[Caches]],
        reasons: Mapping[str, str],
    ) -> dict[str, str]:
        """Build -> why it does not win beside ``best``. What was planned says more than what was
        predicted: no plan of it holds the p95, or its cheapest costs no less. ``held``: arms that
        hold it, cheapest first."""
        refused = {
            arm.build: plans.chosen.choice.binding
            for arm, plans in self._plans.items()
            if plans.chosen.choice.binding is not None
        }
        dearer: dict[str, str] = {}
        if best is not None and best in held:
            dearer = {arm.build: self._dearer_than(best, arm) for arm in reversed(held)}
        left_out = {**self.search.found.left_out, **refused, **dearer, **reasons}
        if best is not None:
            left_out.pop(best.build, None)
        return left_out

    def _dearer_than(self, best: Arm[Caches], arm: Arm[Caches]) -> str:
        ratio = self._costs_s(arm) / self._costs_s(best)
        much = f"{ratio:.2f} times as much as" if ratio > EQUAL else "within a percent of"
        policies = " under other policies" if best.build == BASELINE else ""
        return f"planned for the workload it costs {much} {best.build}{policies}"

    def _why_not(self, arm: Arm[Caches], naive: Priced) -> str:
        priced = self._plans[arm].chosen
        if why := gains_nothing(priced, naive):
            return why
        return breaks_cost(priced, naive, self.job) if arm.build == BASELINE else ""

    def _costs_s(self, arm: Arm[Caches]) -> float:
        return self._plans[arm].chosen.provisioned_s

    def _with_reasons(self, found: Found[Caches]) -> dict[str, Tried]:
        """Everybody that was not refused by the gate, and could not win, has a reason."""
        return {
            name: t
            if t.skipped or not (t.decision is None or t.accepted)
            else replace(t, skipped=found.left_out.get(name, ""))
            for name, t in self.tried.items()
        }

    def _winner(self, arm: Arm[Caches] | None) -> tuple[Tried | None, Plans | None]:
        if arm is None:
            return None, None
        return self.tried[arm.build], self._plans[arm]

    def _record(self, found: Found[Caches]) -> str:
        """The search as an entry; the one that is there where nothing about it is new."""
        said = {
            "endpoint": self.job.config.endpoint,
            "owner": self.job.config.owner.team,
            "version": code_digest("headgate.planning.joint", "headgate.optimize.searching"),
            "rule": self.rules.choose.digest,
            "budget_s": self.job.config.search.budget,
            "spent_s": found.spent_s,
            "previewed_s": self.previewed_s,
            "stopped": found.stopped,
            "binding": found.binding,
            "best": None if found.best is None else _said_of(found.best),
            "left_out": found.left_out,
            "untried": [{**_said_of(a), "why": why} for a, why in self.search.untried.items()],
            "trials": [
                {
                    "level": t.asked.level.name.lower(),
                    **({"build": t.asked.build} if t.asked.arm is None else _said_of(t.asked.arm)),
                    "cost": t.cost,
                    "stopped_by": t.stopped_by,
                    "why": t.why,
                    "seconds": t.seconds,
                }
                for t in self.search.told
            ],
        }
        body = jsonable(said)
        known = self.job.store.latest("search", endpoint=self.job.config.endpoint)
        if known is not None and known.body == body:
            return known.id
        return self.job.store.append("search", body).id


def _said_of(arm: Arm[Caches]) -> dict[str, object]:
    """On record: the build, and whether it is the arm with the best cache or the one without."""
    return {"build": arm.build, "cache": arm.policies == CACHES}


def _cost(t: Tried) -> Cost:
    """Of a batch, over what the baseline's build takes for it beside it."""
    assert t.build is not None
    assert t.speed is not None
    return cost_of(log_ratios(t.speed.per_item_s(t.build.name, asked_more=t.asked_more)))


def _stopped(t: Tried) -> tuple[tuple[str, ...], str]:
    """The promises in its way and the reason in words, of one that was judged."""
    if t.decision is None or t.decision.accepted:
        return (), ""
    broken = tuple(r.contract.describe() for r in t.decision.results if not lets_through(r))
    return broken or tuple(axis.value for axis in t.decision.missing_axes), t.decision.because
