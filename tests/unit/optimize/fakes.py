"""Values that are complete enough for the later stages of the job, none of them measured."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

from headgate.objects import (
    Action,
    Axis,
    BatchingSpec,
    BatchInvariance,
    Bound,
    Build,
    CacheSpec,
    Contract,
    Decision,
    Variant,
)
from headgate.optimize.blocks import BlockTimes, SpeedBlocks
from headgate.optimize.forecasts import Forecast
from headgate.optimize.job import Job
from headgate.optimize.measure import Invariance, MeasuredCurve
from headgate.optimize.plan import Choice, Outcome
from headgate.optimize.pricing import Priced
from headgate.optimize.quality import QualitySamples
from headgate.optimize.recorder import Recorded, Recorder
from headgate.optimize.rules import Rules
from headgate.optimize.searching import Trials
from headgate.optimize.stages import Baseline, Tried
from headgate.scheduling import InstancePlan
from headgate.workload import ServiceCurve

__all__ = [
    "RUN",
    "build",
    "contract",
    "curve",
    "decision",
    "forecast",
    "invariance",
    "priced",
    "quality",
    "speed",
    "trials_of",
    "tried",
]

RUN = Recorded("made.up", "sha256:entry", {"out": "sha256:out"}, False, 1.0, "")


def build(name: str = "fp32", **changes: object) -> Build:
    fields = {
        "task": "classify",
        "engine": "onnxruntime",
        "precision": "fp32",
        "files": {"model.onnx": f"sha256:{name}"},
        "tokenizer": None,
        "max_tokens": 1,
        "threads": 2,
    }
    return Build(name=name, **{**fields, **changes})  # type: ignore[arg-type]  # a test's own keywords


def contract(metric: str, bound: Bound, limit: float, **changes: object) -> Contract:
    axes = {
        "latency": Axis.LATENCY,
        "cost": Axis.COST,
        "device": Axis.COST,
        "batch": Axis.SAFETY,
        "worst": Axis.SAFETY,
    }
    axis = axes.get(metric.partition("_")[0], Axis.QUALITY)
    fields = {
        "rationale": "a test",
        "on_breach": Action.ROLLBACK,
        "escalation": "command:true",
        "rollback_candidate": "previous generation",
    }
    return Contract(metric, axis, bound, limit, **{**fields, **changes})  # type: ignore[arg-type]


def forecast(name: str, skip: str = "") -> Forecast:
    return Forecast(name, skip, "", (), "sha256:forecast")


def decision(action: Action, candidate: str = "sha256:candidate") -> Decision:
    return Decision(candidate, "sha256:current", "evaluate", (), action, f"it says {action.value}")


def tried(name: str, action: Action | None = Action.ACCEPT, **changes: object) -> Tried:
    """A candidate that was made and judged; with ``action`` None one that was skipped."""
    if action is None:
        return Tried(name, forecast(name, "no reason"), skipped="no reason")
    fields = {"build": build(name), "decision": decision(action), "decision_run": RUN}
    return Tried(name, forecast(name), **{**fields, **changes})  # type: ignore[arg-type]


def speed(batched_s: Mapping[str, float], *, alone_s: float = 1.0, blocks: int = 9) -> SpeedBlocks:
    """Every block the same; ten lone requests take ``alone_s`` each."""

    def times(seconds: float) -> BlockTimes:
        return BlockTimes((alone_s,) * 10, seconds)

    row = tuple(times(s) for s in batched_s.values())
    aa = (times(1.0), times(1.0))
    return SpeedBlocks(tuple(batched_s), (row,) * blocks, aa, aa, RUN)


def curve(threads: int = 2, instances: int = 1, *, item_s: float = 1e-3) -> MeasuredCurve:
    plan = InstancePlan(threads, instances)
    return MeasuredCurve(plan, ServiceCurve(1e-3, item_s, 0.0, 0.0), (), 0.8 * threads, RUN)


def quality(
    scores: Mapping[str, tuple[float | None, ...]], n: int = 400, slices: tuple[str, ...] = ()
) -> QualitySamples:
    return QualitySamples(
        tuple(f"i{k}" for k in range(n)),
        (slices,) * n,
        scores,
        tuple((float(k),) for k in range(n)),
    )


def invariance(kind: BatchInvariance = BatchInvariance.EXACT) -> Invariance:
    return Invariance(kind, 0.0, 64, RUN)


def priced(name: str, at: MeasuredCurve, cache: CacheSpec, batching: BatchingSpec) -> Priced:
    """An offer's price, as if every request took a millisecond of the machine."""
    variant = Variant(name, "sha256:build", at.plan.instances, batching, cache)
    outcome = Outcome(10, 1.0, 1e-3, 0.0, 0.0, 0.5, 1.0, 0.1, 0.2, 0.3, 0, (), RUN)
    choice = Choice(variant, at, None, 1, None, 100.0, RUN)
    return Priced(name, choice, build(name), outcome, 1e-4, BatchInvariance.EXACT)


def trials_of(
    recorder: Recorder,
    candidates: dict[str, Tried],
    *contracts: Contract,
    budget_s: float | None = None,
    previewed_s: float = 0.0,
    piloted: Mapping[str, SpeedBlocks] | None = None,
) -> Trials:
    """A search over ``candidates`` for a job of which only the recorder is real.

    Scoring one takes a second, and so does each of its two curves.
    """
    config = SimpleNamespace(
        endpoint="docs",
        task="classify",
        owner=SimpleNamespace(team="search"),
        search=SimpleNamespace(budget=budget_s),
        replay=SimpleNamespace(load=0.7),
        prices=SimpleNamespace(device_second=2e-5),
    )
    job = SimpleNamespace(
        recorder=recorder,
        store=recorder.store,
        config=config,
        contracts=contracts,
        inputs=SimpleNamespace(versions={"evaluate": "sha256:evaluate", "workload": "sha256:log"}),
        source=None,
        profile=SimpleNamespace(memory_bytes=1 << 30),
        cores=2,
        behaviour=SimpleNamespace(metrics={}),
        queries=(),
        own={},
        register_build=lambda build: None,
    )
    baseline = SimpleNamespace(
        build=build(), quality=quality({}), quality_run=RUN, invariance=invariance(), curve=curve()
    )
    rules = SimpleNamespace(choose=SimpleNamespace(digest="sha256:rule"), certify=None)
    return Trials(
        cast("Job", job),
        cast("Rules", rules),
        cast("Baseline", baseline),
        candidates,
        previewed_s,
        piloted or {},
    )
