"""The stages of the main job, one function each, in the order in which they run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from headgate.engines import load
from headgate.engines.protocols import datatype_of
from headgate.engines.signature import model_inputs
from headgate.errors import EngineError, InputError, MissingExtra
from headgate.ledger import Store
from headgate.objects import (
    BatchingSpec,
    Bound,
    Build,
    CacheSpec,
    Contract,
    Decision,
    Release,
    Variant,
)
from headgate.optimize.admission import admit
from headgate.optimize.blocks import SpeedBlocks, measure_blocks
from headgate.optimize.evidence import AGREEMENT, gather
from headgate.optimize.gate import judge_candidate
from headgate.optimize.holdout import spending
from headgate.optimize.job import Job
from headgate.optimize.load import Replay, measure_load, measure_shell
from headgate.optimize.making import Maker, make_build
from headgate.optimize.measure import (
    Invariance,
    MeasuredCurve,
    measure_invariance,
    measure_quality,
)
from headgate.optimize.mending import Mended, Reference, mend
from headgate.optimize.preview import Forecast
from headgate.optimize.pricing import CACHES, NO_CACHE, Offer, Priced, Pricer, measured_offers
from headgate.optimize.quality import QualitySamples
from headgate.optimize.recorder import Recorded
from headgate.optimize.rules import CHOOSING_BLOCKS, in_force
from headgate.planning import CANDIDATES, MENDED
from headgate.quantization import INT8_STATIC
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
    "judge_candidates",
    "judge_server",
    "make_candidates",
    "make_plans",
    "measure_baseline",
    "p95_limit_s",
    "winner_of",
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
    skipped: str = ""

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


def make_candidates(
    job: Job, rule: Rule, baseline: Baseline, forecasts: Sequence[Forecast]
) -> tuple[list[Tried], SpeedBlocks]:
    """Makes and measures every candidate that the preview did not skip; judges none.

    An ``int8_static`` that breaks a promise of quality by ``rule`` is mended, and what comes of it
    is one more. One that failed in an earlier run is not tried again, unless the run is fresh or
    the environment another.
    """
    maker = Maker(replace(job.recorder, failures_stand=True), job.source, job.inputs, job.profile)
    tried = [_measured(job, maker, f) for f in forecasts if f.name != MENDED.name]
    tried += _mended(job, rule, baseline, maker, tried, forecasts)
    made = [t.build for t in tried if t.build is not None]
    speed = measure_blocks(
        job.recorder,
        [baseline.build, *made],
        job.behaviour,
        items=job.queries,
        n_blocks=CHOOSING_BLOCKS,
    )
    return tried, speed


def judge_candidates(
    job: Job, rule: Rule, baseline: Baseline, tried: Sequence[Tried], speed: SpeedBlocks
) -> list[Tried]:
    """The gate on every candidate that was made, on the evaluation split."""
    return [_judged(job, rule, baseline, t, speed) for t in tried]


def _mended(
    job: Job,
    rule: Rule,
    baseline: Baseline,
    maker: Maker,
    tried: Sequence[Tried],
    forecasts: Sequence[Forecast],
) -> list[Tried]:
    """``int8_mixed``: where it is named, or where ``int8_static`` was made and does not hold."""
    named = next((f for f in forecasts if f.name == MENDED.name), None)
    plain = next((t for t in tried if t.name == INT8_STATIC.name and t.build is not None), None)
    if named is None and plain is None:
        return []
    forecast = replace(named or plain.forecast, name=MENDED.name)  # type: ignore[union-attr]  # one is there
    if forecast.skip:
        return [Tried(forecast.name, forecast, skipped=forecast.skip)]
    reference = Reference(
        baseline.build, (baseline.quality, baseline.quality_run), baseline.invariance
    )
    found: list[Mended] = []

    def make() -> Build:
        found.append(mend(job, rule, reference, maker))
        if found[0].build is None:
            raise EngineError(found[0].because)
        return found[0].build

    made = _seen(job, maker, forecast, make)
    if found and not found[0].needed and named is None:
        return []
    if found and found[0].build is not None:
        job.notes.append(f"{MENDED.name}: {found[0].because}.")
    return [made]


def _measured(job: Job, maker: Maker, forecast: Forecast) -> Tried:
    return _seen(job, maker, forecast, lambda: make_build(forecast.name, maker))


def _seen(job: Job, maker: Maker, forecast: Forecast, make: Callable[[], Build]) -> Tried:
    """What is made, measured; or the reason why it cannot be."""
    if forecast.skip:
        return Tried(forecast.name, forecast, skipped=forecast.skip)
    try:
        for role in CANDIDATES[forecast.name].learns_from:
            admit(job.recorder, role, job.inputs.versions, now=datetime.now(UTC))
        build = make()
        job.register_build(build)
        quality, run = measure_quality(
            maker.recorder,
            build,
            job.behaviour,
            dataset=job.inputs.versions["evaluate"],
            split="evaluate",
        )
        invariance = measure_invariance(maker.recorder, build, job.behaviour, items=job.queries)
    except (EngineError, MissingExtra, InputError) as error:
        # One candidate that cannot be made must not cost the others.
        return Tried(forecast.name, forecast, skipped=error.what.splitlines()[0])
    return Tried(forecast.name, forecast, build, quality, run, invariance)


def _judged(job: Job, rule: Rule, baseline: Baseline, tried: Tried, speed: SpeedBlocks) -> Tried:
    if tried.build is None or tried.quality is None:
        return tried
    assert tried.quality_run is not None
    assert tried.invariance is not None
    build = tried.build
    evidence = gather(
        job.recorder,
        job.contracts,
        candidate=build.version,
        dataset=job.inputs.versions["evaluate"],
        workload=job.inputs.versions["workload"],
        quality=(
            (tried.quality, tried.quality_run),
            (baseline.quality, baseline.quality_run),
        ),
        invariance=tried.invariance,
        speed=lambda metric: speed.samples(
            build.name, metric, price_per_s=job.config.prices.device_second
        ),
        speed_run=speed.run,
        own=job.own,
    )
    decision, run = judge_candidate(
        job.recorder,
        candidate=build.version,
        current=baseline.build.version,
        rule=rule,
        samples=evidence.samples,
        measurements=evidence.measurements,
        detail=build.name,
    )
    return replace(tried, decision=decision, decision_run=run)


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
    return not contract.bound.needs_current and metric not in AGREEMENT


def winner_of(tried: Sequence[Tried], speed: SpeedBlocks) -> Tried | None:
    """The cheapest of the accepted, by machine seconds a request over all blocks."""
    accepted = [t for t in tried if t.accepted and t.build is not None]

    def seconds(t: Tried) -> float:
        column = speed.names.index(t.build.name if t.build is not None else "")
        return sum(row[column].batched_s for row in speed.blocks)

    return min(accepted, key=seconds, default=None)


def p95_limit_s(contracts: Sequence[Contract], speed: SpeedBlocks, *, load: float) -> float:
    """What the plan must keep: the tightest of the contracts on ``latency_p95``.

    ``at_most`` is itself the limit. A bound relative to current is taken from the baseline's p95 at
    ``load`` of its capacity, since that is where the gate compares the two: times the ratio, or
    plus the margin. Without any such contract, ten times the baseline's p95 for a lone request: a
    stated default.
    """
    loaded_s = speed.loaded_p95_s(load)
    of = {
        Bound.AT_MOST: lambda limit: limit,
        Bound.NOT_ABOVE_CURRENT_BY: lambda limit: loaded_s + limit,
        Bound.RATIO_AT_MOST: lambda limit: loaded_s * limit,
    }
    limits = [
        of[c.bound](c.limit) for c in contracts if c.metric == "latency_p95" and c.bound in of
    ]
    return min(limits, default=10 * speed.baseline_p95_s)


def make_plans(
    job: Job, baseline: Baseline, winner: Tried, tried: Sequence[Tried], limit_s: float
) -> Plans:
    """Batching, instances and cache for the winner."""
    assert winner.build is not None
    assert winner.invariance is not None
    cached = replace(baseline.servable.variant, name="cached", cache=CacheSpec("lru", 1 << 24))
    servable, version = job.servable(baseline.build, cached, baseline.curve, baseline.invariance)
    shell = measure_shell(
        job.recorder,
        servable,
        version,
        workload=job.inputs.versions["workload"],
        tensor=_tensor(job, baseline.build),
    )
    offers = measured_offers(job, [winner.build, *_beside(job, baseline, winner, tried)])
    pricer = Pricer(job, shell, limit_s, winner.invariance.invariance, offers)
    offer = offers[winner.build.name]
    priced = pricer.all(
        [
            pricer.price(offer, "workload", name=winner.build.name, caches=caches)
            for caches in (CACHES, NO_CACHE)
        ]
    )
    return Plans(pricer, offer, min(priced, key=lambda p: p.provisioned_s))


def _beside(job: Job, baseline: Baseline, winner: Tried, tried: Sequence[Tried]) -> list[Build]:
    """What the winner is held against: fp32 on every engine that runs it, and the candidates that
    lack one of its optimizations."""
    builds = [baseline.build]
    if "openvino" in job.profile.libraries:
        maker = Maker(job.recorder, job.source, job.inputs, job.profile)
        build = make_build("fp32_openvino", maker)
        with contextlib.suppress(EngineError):  # an operator that OpenVINO does not have
            load(build, job.store.path_of).close()
            builds.append(build)
    lacking = CANDIDATES[winner.name].without.values()
    builds += [t.build for t in tried if t.build is not None and t.name in lacking]
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
    theirs = measure_quality(recorder, current.build, job.behaviour, dataset=dataset, split=split)
    replay = measure_load(
        recorder,
        current=current,
        candidate=servable,
        versions=(current_version, version),
        workload=job.inputs.versions["workload"],
        seconds=job.config.replay.seconds,
        blocks=job.config.replay.blocks,
        load=job.config.replay.load,
        cores=job.cores,
        tensor=_tensor(job, build),
    )
    price = job.config.prices.device_second
    evidence = gather(
        job.recorder,
        job.contracts,
        candidate=version,
        dataset=dataset,
        workload=job.inputs.versions["workload"],
        quality=(ours, theirs),
        invariance=invariance,
        speed=lambda metric: replay.samples(metric, price_per_s=price),
        speed_run=replay.run,
        own=job.own,
    )
    decision, decided = judge_candidate(
        job.recorder,
        candidate=version,
        current=current_version,
        rule=rule,
        samples=evidence.samples,
        measurements=evidence.measurements,
        in_force=_in_force(job, rule, ours[1], replay.run),
        void=replay.void,
        detail=f"{variant.name} on {split} and under load",
    )
    return Certificate(
        build, servable, version, decision, decided, replay, split, invariance, against
    )


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
