"""Plans in virtual time: what to run a build with, and what a variant costs on a workload.

Turns a workload into the data plane's requests and drives the policies that will serve it, with
measured service-time curves. Knows nothing of sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.caching import request_key
from headgate.config import load_workload
from headgate.dataplane import DataPlane
from headgate.objects import (
    CASCADE,
    BatchingSpec,
    BatchInvariance,
    Build,
    CacheSpec,
    Variant,
    canonical,
    parse,
)
from headgate.optimize.cascades import ESCALATED, asked_escalations, escalated_items
from headgate.optimize.chains import Chain
from headgate.optimize.measure import MeasuredCurve, build_inputs, slower
from headgate.optimize.recorder import Asked, Call, Output, Recorded, transformation
from headgate.optimize.served import served_codec
from headgate.planning import BATCHING_GRID, WAITS, SimulationResult, choose, simulate
from headgate.runtime.servable import build_from_json, curve_from_json, variant_from_json
from headgate.scheduling import InstancePlan
from headgate.workload import BatchTimeModel, CascadeTimes, Request

__all__ = ["Choice", "Outcome", "choose_variant", "simulate_variant"]

_QUANTILES = (*(i / 200 for i in range(1, 200)), 0.999)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to run a build with, and the search behind it."""

    variant: Variant
    curve: MeasuredCurve
    lone_curve: MeasuredCurve | None
    """Of the engine for lone requests, where the variant has one."""
    trials: int
    binding: str | None
    """What stands in the way where nothing was feasible; the variant is then the simplest."""
    max_rate_per_s: float
    """Of one machine, within the p95 limit."""
    run: Recorded


@dataclass(frozen=True, slots=True)
class Outcome:
    """A variant on a workload, in virtual time. Machine seconds are of all effective cores."""

    requests: int
    rate_per_s: float
    busy_machine_s_per_request: float
    hit_ratio: float
    padding_share: float
    utilisation: float
    mean_batch: float
    p50_s: float
    p95_s: float
    p99_s: float
    rejected: int
    quantiles: tuple[tuple[float, float], ...]
    run: Recorded

    def later_by(self, seconds: float) -> Outcome:
        """The same, every request taking ``seconds`` more: the way through the shell."""
        return replace(
            self,
            p50_s=self.p50_s + seconds,
            p95_s=self.p95_s + seconds,
            p99_s=self.p99_s + seconds,
            quantiles=tuple((q, t + seconds) for q, t in self.quantiles),
        )


_Sizes = tuple[NDArray[np.float64], tuple[bytes, ...], tuple[int, ...]]
_KNOWN: dict[tuple[str, str | None, int, str | None], _Sizes] = {}


def _workload(call: Call, build: Build) -> _Sizes:
    """Gaps, keys and lengths of a workload; tokenized once a process, since all are digests."""
    known = (call.u["workload"], build.tokenizer, build.max_tokens, build.preprocess)
    if known not in _KNOWN:
        log = load_workload(call.path("workload"))
        codec = served_codec(
            build, call.store.path_of, preprocess=call.c["preprocess"], root=call.root
        )
        encoded = codec.encode(log.items, truncate=True)
        keys = tuple(
            request_key(tenant="", build="", parameters={}, content=e.identity) for e in encoded
        )
        gaps_s = np.diff(log.at_s, prepend=log.at_s[0])
        _KNOWN[known] = gaps_s, keys, tuple(e.length for e in encoded)
    return _KNOWN[known]


def _requests(
    sizes: _Sizes, first: int, last: int, *, stretch: float = 1.0, start_s: float = 0.0
) -> list[Request]:
    """Requests ``first`` to ``last``, the last not included, as the data plane sees them.

    The first arrives at ``start_s``, the others after the workload's own gaps, ``stretch`` times
    as long. Beyond its end the workload begins anew.
    """
    gaps_s, keys, tokens = sizes
    indices = np.arange(first, last) % len(keys)
    at_s = start_s + stretch * np.cumsum(np.append(0.0, gaps_s[indices[1:]]))
    return [
        Request(id=i, key=keys[k], tokens=tokens[k], arrived_at_s=at)
        for i, (k, at) in enumerate(zip(indices.tolist(), at_s.tolist(), strict=True))
    ]


@transformation("plan.choose")
def plan_choose(call: Call) -> Mapping[str, Output]:
    """The cheapest batching, instances and cache within the p95 promise."""
    c = call.c
    build = build_from_json(c["build"])
    call.progress(0.0, f"{build.name}: batching, instances and cache in virtual time")
    curves = {
        InstancePlan(p["threads"], p["instances"]): curve_from_json(p["curve"]) for p in c["plans"]
    }
    sizes = _workload(call, build)
    takes = {
        InstancePlan(p["threads"], p["instances"]): _times(call, sizes, p["takes"])
        for p in c["plans"]
    }
    choice = choose(
        _requests(sizes, 0, len(sizes[0])),
        curves,
        takes=takes,
        waits=c["waits"],
        p95_limit_s=c["p95_limit_s"],
        caches=[CacheSpec(**s) for s in c["caches"]],
        value_bytes=c["value_bytes"],
        batch_invariance=BatchInvariance(c["batch_invariance"]),
        trials=c["trials"],
        batching=[BatchingSpec(**s) for s in c["batching"]],
        capacity_requests=c["capacity_requests"],
    )
    return {"choice": Output(canonical(choice), "plan", "json PlanChoice")}


@transformation("plan.simulate")
def plan_simulate(call: Call) -> Mapping[str, Output]:
    """A variant on a workload at a rate, or on segments of it as a replay sends them.

    Each segment begins at its own time 0 on an idle plane, ``drain_s`` after the last one was
    answered, and what was asked during ``warm_up`` is in the cache: the same requests, one after
    another. The plane is told ``curve``. Engine calls take and cost what ``takes`` says, and beside
    that, free of charge, ``handover_s`` each and ``beside_s`` for each request in it; likewise the
    lone instance's. It holds the cores of all others while it runs, and is charged for them.
    """
    c = call.c
    build, variant = build_from_json(c["build"]), variant_from_json(c["variant"])
    curve = curve_from_json(c["curve"])
    lone = c.get("lone")  # older records have none
    sizes = _workload(call, build)
    takes = _times(call, sizes, c["takes"], slower_s=c["beside_s"])
    n, span_s = len(sizes[0]), float(sizes[0].sum())
    stretch = (n - 1) / span_s / c["rate_per_s"] if c["rate_per_s"] else 1.0
    plane = DataPlane.of(
        variant,
        curve,
        lone_service=curve_from_json(lone["curve"]) if lone else None,
        batch_invariance=BatchInvariance(c["batch_invariance"]),
    )
    lone_takes = _times(call, sizes, lone["takes"], slower_s=c["beside_s"]) if lone else None
    now_s = 0.0

    def run(first: int, last: int) -> SimulationResult:
        nonlocal now_s
        requests = _requests(sizes, first, last, stretch=stretch, start_s=now_s)
        result = simulate(
            plane,
            requests,
            takes,
            lone_service=lone_takes,
            value_bytes=c["value_bytes"],
            handover_s=c["handover_s"],
        )
        # A timer may outlast the answers that it was set for; the plane's time never goes back.
        now_s += result.makespan_s + max(c["drain_s"], variant.batching.max_wait_s)
        return result

    for first, last in c["warm_up"]:
        for i in range(first, last):
            run(i, i + 1)
    before = plane.stats()
    results = [run(first, last) for first, last in c["segments"] or [(0, n)]]
    after = plane.stats()
    batches, batched = (
        after.batches - before.batches,
        after.batched_requests - before.batched_requests,
    )
    padded = after.padded_tokens - before.padded_tokens
    latencies = np.concatenate([r.latencies_s for r in results])
    sources = np.concatenate([r.sources for r in results])
    busy_s = sum(r.device_busy_s for r in results)
    others = (variant.instances - 1) * (after.lone_batches - before.lone_batches)
    charged_s = busy_s - (batches + others) * c["handover_s"] - (batched + others) * c["beside_s"]
    passed_s = sum(r.makespan_s for r in results)
    answered = after.answered - before.answered

    def latency_s(q: float) -> float:
        return float(np.quantile(latencies, q, method="inverted_cdf"))

    body = {
        "requests": len(latencies),
        "rate_per_s": len(latencies) / passed_s if passed_s else 0.0,
        "busy_machine_s_per_request": charged_s * build.threads / c["cores"] / max(answered, 1),
        "hit_ratio": float(np.isin(sources, ("cache", "twin")).mean()),
        "padding_share": 1 - (after.tokens - before.tokens) / padded if padded else 0.0,
        "utilisation": busy_s / (variant.instances * passed_s) if passed_s else 0.0,
        "mean_batch": batched / batches if batches else 0.0,
        "p50_s": latency_s(0.5),
        "p95_s": latency_s(0.95),
        "p99_s": latency_s(0.99),
        "rejected": int(np.isinf(latencies).sum()),
        "quantiles": [(q, latency_s(q)) for q in _QUANTILES],
    }
    return {"outcome": Output(canonical(body), "samples", "json Outcome")}


def _times(
    call: Call, sizes: _Sizes, takes: Mapping[str, Any], *, slower_s: float = 0.0
) -> BatchTimeModel:
    """What calls take, from what is stored (``MeasuredCurve.takes``): a curve, or the two of a
    cascade, whose teacher runs for those requests that escalate. ``slower_s``: so much more for
    every request in a call."""
    if "student" not in takes:
        return slower(curve_from_json(takes), slower_s)
    _, keys, _ = sizes
    escalated = escalated_items(call.store.read(call.u[ESCALATED]))
    return CascadeTimes(
        slower(curve_from_json(takes["student"]), slower_s),
        curve_from_json(takes["teacher"]),
        float(escalated.mean()),
        frozenset(key for key, asked in zip(keys, escalated, strict=True) if asked),
    )


def choose_variant(
    read: Callable[[str], bytes],
    builds: Mapping[InstancePlan, Build],
    curves: Sequence[MeasuredCurve],
    takes: Sequence[MeasuredCurve],
    *,
    name: str,
    workload: str,
    preprocess: str | None,
    p95_limit_s: float,
    batch_invariance: BatchInvariance,
    caches: Sequence[CacheSpec],
    value_bytes: int,
    batching: Sequence[BatchingSpec] = BATCHING_GRID,
    waits: Sequence[float] = WAITS,
    trials: int = 3,
    capacity_requests: int = 2000,
) -> Chain[Choice]:
    """The cheapest way to serve a build (one per instance plan: threads are the build's).

    ``read`` gives the content of an artifact.
    ``curves`` are the engines' own, ``takes`` those with what else a request takes.
    ``preprocess``: the endpoint's own (``module:function``); it decides lengths and what is equal.
    """
    first = next(iter(builds.values()))
    u = yield from _inputs(first, workload, preprocess)
    done = yield Asked(
        plan_choose,
        u=u,
        c={
            "build": first,
            "preprocess": preprocess,
            "plans": [
                {
                    "threads": m.plan.threads,
                    "instances": m.plan.instances,
                    "curve": m.curve,
                    "takes": t.takes,
                }
                for m, t in zip(curves, takes, strict=True)
            ],
            "waits": list(waits),
            "p95_limit_s": p95_limit_s,
            "caches": list(caches),
            "value_bytes": value_bytes,
            "batch_invariance": batch_invariance,
            "batching": list(batching),
            "trials": trials,
            "capacity_requests": capacity_requests,
        },
        detail=name,
    )
    body: dict[str, Any] = parse(read(done.outputs["choice"]))
    best = body["best"]
    if best is None:
        plan = curves[-1].plan
        variant = Variant(name, builds[plan].version, plan.instances, BatchingSpec(), CacheSpec())
        rate = 0.0
    else:
        chosen = best["candidate"]
        plan = InstancePlan(**chosen["plan"])
        variant = variant_from_json(
            {
                "name": name,
                "build": builds[plan].version,
                "instances": plan.instances,
                "batching": chosen["batching"],
                "cache": chosen["cache"],
                "lone_threads": chosen["lone_threads"],
            }
        )
        rate = float(best["max_rate_per_s"])
    curve = next(m for m in curves if m.plan == plan)
    whole = InstancePlan(variant.lone_threads, 1) if variant.lone_threads else None
    lone = next((m for m in curves if m.plan == whole), None)
    return Choice(variant, curve, lone, len(body["trials"]), body["binding"], rate, done)


def simulate_variant(
    read: Callable[[str], bytes],
    build: Build,
    variant: Variant,
    curve: MeasuredCurve,
    takes: MeasuredCurve,
    *,
    lone: tuple[MeasuredCurve, MeasuredCurve] | None,
    workload: str,
    preprocess: str | None,
    cores: int,
    batch_invariance: BatchInvariance,
    value_bytes: int,
    rate_per_s: float | None = None,
    segments: Sequence[tuple[int, int]] = (),
    warm_up: Sequence[tuple[int, int]] = (),
    drain_s: float = 0.0,
    handover_s: float = 0.0,
    beside_s: float = 0.0,
    detail: str = "",
) -> Chain[Outcome]:
    """``variant`` on a workload, or on ranges [first, last) of it: see ``plan_simulate``.

    ``read`` gives the content of an artifact.
    ``lone``: ``curve`` and ``takes`` of its lone engine, where it has one.
    ``rate_per_s`` stretches the workload as a whole, whatever part of it is taken.
    """
    u = yield from _inputs(build, workload, preprocess)
    done = yield Asked(
        plan_simulate,
        u=u,
        c={
            "build": build,
            "preprocess": preprocess,
            "variant": variant,
            "curve": curve.curve,
            "takes": takes.takes,
            "lone": {"curve": lone[0].curve, "takes": lone[1].takes} if lone else None,
            "cores": cores,
            "batch_invariance": batch_invariance,
            "value_bytes": value_bytes,
            "rate_per_s": rate_per_s,
            "segments": list(segments),
            "warm_up": list(warm_up),
            "drain_s": drain_s,
            "handover_s": handover_s,
            "beside_s": beside_s,
        },
        detail=detail or variant.name,
    )
    body = parse(read(done.outputs["outcome"]))
    body["quantiles"] = tuple(map(tuple, body["quantiles"]))
    return Outcome(**body, run=done)


def _inputs(build: Build, workload: str, preprocess: str | None) -> Chain[dict[str, str]]:
    """``u`` of a plan; of a cascade with who escalates on this workload."""
    u = build_inputs(build, workload=workload)
    if build.engine == CASCADE:
        done = yield asked_escalations(build, workload=workload, preprocess=preprocess)
        u[ESCALATED] = done.outputs[ESCALATED]
    return u
