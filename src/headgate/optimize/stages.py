"""The stages of the main job, one function each, in the order in which they run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from headgate.engines import load
from headgate.engines.protocols import datatype_of
from headgate.engines.signature import model_inputs
from headgate.ledger import Store
from headgate.objects import (
    Axis,
    BatchingSpec,
    BatchInvariance,
    Bound,
    Build,
    CacheSpec,
    Contract,
    Decision,
    Release,
    Variant,
)
from headgate.optimize.blocks import SpeedBlocks
from headgate.optimize.evidence import ABOUT_TWO, KEPT_INDEX, gather
from headgate.optimize.forecasts import Forecast
from headgate.optimize.gate import judge_candidate
from headgate.optimize.holdout import spending
from headgate.optimize.job import Job
from headgate.optimize.kept_index import KeptIndex, measure_kept_index
from headgate.optimize.load import Replay, measure_load, measure_shell
from headgate.optimize.making import CANNOT_BE_MADE, Maker, make_build
from headgate.optimize.measure import (
    Invariance,
    MeasuredCurve,
    measure_invariance,
    measure_quality,
)
from headgate.optimize.pricing import Offer, Priced, Pricer, measured_offers
from headgate.optimize.quality import QualitySamples
from headgate.optimize.recorder import Recorded
from headgate.optimize.rules import in_force, rules_named
from headgate.planning import BUILDS, CANDIDATES
from headgate.quantization.certificate import SpeedClaim
from headgate.release import Rule
from headgate.runtime.decisions import decided
from headgate.runtime.servable import Servable

__all__ = [
    "Baseline",
    "Certificate",
    "Plans",
    "Tried",
    "certify",
    "is_alone",
    "judge_server",
    "measure_baseline",
    "most_allowed",
    "open_pricer",
    "p95_limit_s",
]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a user has without us: fp32, ONNX Runtime, one request at a time, no cache; or the
    server that is theirs."""

    build: Build
    quality: QualitySamples
    quality_run: Recorded
    invariance: Invariance
    curve: MeasuredCurve
    servable: Servable
    version: str
    """Artifact version of the servable."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One candidate build: measured and judged, or the reason why not."""

    name: str
    forecast: Forecast
    build: Build | None = None
    quality: QualitySamples | None = None
    quality_run: Recorded | None = None
    invariance: Invariance | None = None
    decision: Decision | None = None
    decision_run: Recorded | None = None
    speed: SpeedBlocks | None = None
    """Of the last time that it was measured side by side with the baseline."""
    skipped: str = ""
    """Why it was not made, or not measured to the end; of an accepted one, why it does not win."""
    kept: KeptIndex | None = None
    """What it finds in the baseline's index; None where there is no index."""
    claim: SpeedClaim | None = None
    """How fast it is beside the baseline, as it was judged."""
    asked_more: float = 0.0
    """Of a cascade: how much more of the workload escalates than of the items it was timed on."""
    memory: tuple[int, Recorded] | None = None
    """Bytes at the peak of a process that serves it; None where it was not weighed."""

    @property
    def accepted(self) -> bool:
        return self.decision is not None and self.decision.accepted


@dataclass(frozen=True, slots=True)
class Plans:
    """What the winner runs with, and how everything else is priced beside it."""

    pricer: Pricer
    offer: Offer
    chosen: Priced
    """On the workload, with a cache if it pays."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The winner's own decision: on the split that did not choose it, and under real load."""

    build: Build
    servable: Servable
    version: str
    decision: Decision
    run: Recorded
    replay: Replay
    split: str
    invariance: Invariance
    against: str
    """``baseline``, or the generation that was current: ``generation 1``."""
    current: Servable
    """What it was judged against."""
    kept: KeptIndex | None
    """What it finds in current's index; None where there is no index."""
    rule: Rule
    late: tuple[str, ...] = ()
    """What was measured by another rule than the decision's, in the words of ``in_force``."""


def measure_baseline(job: Job) -> Baseline:
    """Quality, batch invariance and service times of the model as it is."""
    build = job.source.build
    job.register_build(build)
    quality, run = measure_quality(
        job.recorder,
        build,
        job.behaviour,
        dataset=job.inputs.versions["evaluate"],
        split="evaluate",
    )
    invariance = measure_invariance(job.recorder, build, job.behaviour, items=job.queries)
    ((curve,),) = job.curves([[(build, 1)]])
    variant = Variant("baseline", build.version, 1, BatchingSpec(max_requests=1), CacheSpec())
    servable, version = job.servable(build, variant, curve, invariance)
    return Baseline(build, quality, run, invariance, curve, servable, version)


def judge_server(
    job: Job, rule: Rule, server: Baseline, speed: SpeedBlocks
) -> tuple[Decision, Recorded]:
    """The gate on a server that is not ours, by the promises that it can keep or break alone.

    What is relative to a current release says nothing of it. Its cost is not known, since seconds
    on the wire are not seconds of a machine: a contract on that stays unknown.
    """
    version = server.build.version
    alone = tuple(c for c in job.contracts if is_alone(c))
    quality = (server.quality, server.quality_run)
    evidence = gather(
        job.recorder,
        alone,
        candidate=version,
        dataset=job.inputs.versions["evaluate"],
        workload=job.inputs.versions["workload"],
        quality=(quality, quality),
        invariance=server.invariance,
        speed=lambda metric: (
            speed.samples(server.build.name, metric, price_per_s=0.0)
            if metric.startswith("latency_")
            else None
        ),
        speed_run=speed.run,
        own=job.own,
    )
    return judge_candidate(
        job.recorder,
        candidate=version,
        current=version,
        rule=replace(rule, contracts=alone, tried=1),
        samples=evidence.samples,
        measurements=evidence.measurements,
        detail="the server alone",
    )


def is_alone(contract: Contract) -> bool:
    """Whether a build keeps or breaks it by itself, whatever else there is."""
    metric = contract.metric.removeprefix("worst_slice_")
    about_two = metric in ABOUT_TWO or metric.endswith(KEPT_INDEX)
    return not contract.bound.needs_current and not about_two


def p95_limit_s(contracts: Sequence[Contract], speed: SpeedBlocks, *, load: float) -> float:
    """What the plan must keep: the tightest of the contracts on ``latency_p95``.

    ``at_most`` is itself the limit. A bound relative to current is taken from the baseline's p95 at
    ``load`` of its capacity, since that is where the gate compares the two: times the ratio, or
    plus the margin. Without any such contract, ten times the baseline's p95 for a lone request: a
    stated default.
    """
    loaded_s = speed.loaded_p95_s(load)
    most = [most_allowed(c, loaded_s) for c in contracts if c.metric == "latency_p95"]
    limits = [limit_s for limit_s in most if limit_s is not None]
    return min(limits, default=10 * speed.baseline_p95_s)


def most_allowed(contract: Contract, current: float) -> float | None:
    """What the metric may be, at most, beside a ``current`` value; None where there is no most."""
    return {
        Bound.AT_MOST: contract.limit,
        Bound.NOT_ABOVE_CURRENT_BY: current + contract.limit,
        Bound.RATIO_AT_MOST: current * contract.limit,
    }.get(contract.bound)


def open_pricer(
    job: Job,
    baseline: Baseline,
    contenders: Sequence[Tried],
    tried: Sequence[Tried],
    limit_s: float,
) -> Pricer:
    """What prices ``contenders`` by one measure: their curves, and those of what a winner is held
    against, taken in turn."""
    cached = replace(baseline.servable.variant, name="cached", cache=CacheSpec("lru", 1 << 24))
    servable, version = job.servable(baseline.build, cached, baseline.curve, baseline.invariance)
    shell = measure_shell(
        job.recorder,
        servable,
        version,
        workload=job.inputs.versions["workload"],
        tensor=_tensor(job, baseline.build),
    )
    builds = {
        t.build.name: (t.build, t.invariance.invariance)
        for t in contenders
        if t.build is not None and t.invariance is not None
    }
    beside = _beside(job, baseline, contenders, tried)
    offers = measured_offers(job, [*({b.name: (b, i) for b, i in beside} | builds).values()])
    return Pricer(job, shell, limit_s, offers)


def _beside(
    job: Job, baseline: Baseline, contenders: Sequence[Tried], tried: Sequence[Tried]
) -> list[tuple[Build, BatchInvariance]]:
    """What a winner is held against: fp32 on every engine that runs it, and the candidates that
    lack one of its optimizations. A build that was not measured counts as the baseline does."""
    known = baseline.invariance.invariance
    maker = Maker.of(job)
    named = dict.fromkeys(["fp32_openvino"] if "openvino" in job.profile.libraries else [])
    for contender in contenders:
        named |= dict.fromkeys(BUILDS[contender.name].without.values())
    measured = {t.name: t for t in tried}
    builds = [(baseline.build, known)]
    for name in named:
        t = measured.get(name)
        if t is not None and t.build is not None and t.invariance is not None:
            builds.append((t.build, t.invariance.invariance))
        elif name in CANDIDATES:
            with contextlib.suppress(*CANNOT_BE_MADE):  # it is for comparison only
                build = make_build(name, maker)
                load(build, job.store.path_of).close()
                builds.append((build, known))
    return builds


def certify(job: Job, rule: Rule, baseline: Baseline, plans: Plans) -> Certificate:
    """Judges the chosen variant on the holdout split and under real load.

    Raises ``Refused`` (reason ``holdout_spent``) where the holdout may certify no more.
    """
    build = plans.chosen.build
    split, dataset = rule.split, rule.dataset
    variant = plans.chosen.choice.variant
    invariance = measure_invariance(
        job.recorder,
        build,
        job.behaviour,
        items=job.queries,
        lone_threads=variant.lone_threads,
    )
    choice = plans.chosen.choice
    servable, version = job.servable(
        build,
        variant,
        choice.curve,
        invariance,
        lone_curve=choice.lone_curve,
        plan=tuple(choice.run.outputs.values()),
    )
    against, current, current_version = _current(job, baseline, version)
    recorder = (
        spending(job, rule, candidate=version, current=current_version)
        if split == "holdout"
        else job.recorder
    )
    ours = measure_quality(
        recorder,
        build,
        job.behaviour,
        dataset=dataset,
        split=split,
        instances=variant.instances,
    )
    known = split == "evaluate" and current.build.version == baseline.build.version
    theirs = (
        (baseline.quality, baseline.quality_run)
        if known
        else measure_quality(recorder, current.build, job.behaviour, dataset=dataset, split=split)
    )
    replay = measure_load(
        recorder,
        current=current,
        candidate=servable,
        versions=(current_version, version),
        workload=job.inputs.versions["workload"],
        seconds=job.config.replay.seconds,
        blocks=job.config.replay.blocks,
        load=job.config.replay.load,
        most_per_s=_most_per_s(job.contracts, choice.max_rate_per_s),
        cores=job.cores,
        tensor=_tensor(job, build),
    )
    kept = measure_kept_index(
        job.recorder,
        task=job.config.task,
        candidate=version,
        dataset=dataset,
        quality=(ours, theirs),
        invariance=invariance,
    )
    price = job.config.prices.device_second
    evidence = gather(
        job.recorder,
        job.contracts,
        candidate=version,
        dataset=dataset,
        workload=job.inputs.versions["workload"],
        quality=(ours, theirs),
        kept=kept.scored if kept is not None else None,
        invariance=invariance,
        speed=lambda metric: replay.samples(metric, price_per_s=price),
        speed_run=replay.run,
        own=job.own,
    )
    registered = _in_force(job, rule, ours[1], replay.run)
    late = rule.late(registered)
    decision, decided = judge_candidate(
        job.recorder,
        candidate=version,
        current=current_version,
        rule=rule,
        samples=evidence.samples,
        measurements=evidence.measurements,
        in_force=registered,
        before=rules_named(job.store, [registered[what] for what in late]),
        void=replay.void,
        detail=f"{variant.name} on {split} and under load",
    )
    return Certificate(
        build,
        servable,
        version,
        decision,
        decided,
        replay,
        split,
        invariance,
        against,
        current,
        kept,
        rule,
        late,
    )


def _most_per_s(contracts: Sequence[Contract], planned_per_s: float) -> float | None:
    """Up to which rate the candidate is planned to keep ``latency_p95``; None where no plan does,
    or it is not promised ``at_most``.

    A latency that is promised beside current is one of servers that are loaded alike, each by its
    capacity. Where a cache answers all of a workload the plan's rate is a guess.
    """
    latencies = [c for c in contracts if c.axis is Axis.LATENCY]
    if any(c.bound.needs_current for c in latencies):
        return None
    promised = any((c.metric, c.bound) == ("latency_p95", Bound.AT_MOST) for c in latencies)
    return planned_per_s if promised and planned_per_s else None


def _in_force(job: Job, rule: Rule, answers: Recorded, load: Recorded) -> Mapping[str, str | None]:
    """Without a holdout nothing is sealed: who declares a contract may have seen the samples that
    it then judges, and the report says so."""
    if rule.split != "holdout":
        return {}
    return in_force(job.store, rule, answers=answers.entry, load=load.entry)


def _current(job: Job, baseline: Baseline, candidate: str) -> tuple[str, Servable, str]:
    """What the candidate would replace: the current release, or the baseline before any.

    A candidate that is already current is held against what it replaced, as when it was promoted.
    """
    history = [release for _, release in job.store.history(job.config.endpoint)]
    if history and history[-1].variant == candidate:
        replaced = _replaced(job.store, history)
        history = [release for release in history if release.variant == replaced]
    if not history or history[-1].variant == baseline.version:
        return "baseline", baseline.servable, baseline.version
    servable = Servable.load(job.store, history[-1].variant)
    return f"generation {history[-1].generation}", servable, history[-1].variant


def _replaced(store: Store, history: Sequence[Release]) -> str | None:
    """What the variant of the last of ``history`` was judged against, the last time that it was."""
    variant = history[-1].variant
    entries = (r.decision for r in reversed(history) if r.variant == variant and r.decision)
    entry = next(entries, None)
    return None if entry is None else decided(store, store.get(entry)).current


def _tensor(job: Job, build: Build) -> Mapping[str, str] | None:
    """Name and V2 datatype of the model's input; None where callers send text."""
    if build.tokenizer is not None:
        return None
    spec = model_inputs(build, job.store.path_of)[0]
    return {"name": spec.name, "datatype": datatype_of(spec.dtype)}
