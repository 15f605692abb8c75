"""Plans in virtual time: what to run a build with, and what a variant costs on a workload.

Turns a workload into the data plane's requests and drives the policies that will serve it, with
measured service-time curves. Knows nothing of sockets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.caching import request_key
from headgate.config import load_workload
from headgate.dataplane import DataPlane
from headgate.engines import codec_for
from headgate.ledger import Store
from headgate.objects import (
    BatchingSpec,
    BatchInvariance,
    Build,
    CacheSpec,
    Variant,
    canonical,
    parse,
)
from headgate.optimize.measure import MeasuredCurve, build_inputs
from headgate.optimize.recorder import Call, Output, Recorded, Recorder, transformation
from headgate.planning import BATCHING_GRID, choose, simulate
from headgate.runtime.servable import build_from_json, curve_from_json, variant_from_json
from headgate.scheduling import InstancePlan
from headgate.workload import Request

__all__ = ["Choice", "Outcome", "choose_variant", "simulate_variant"]

_QUANTILES = (*(i / 200 for i in range(1, 200)), 0.999)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to run a build with, and the search behind it."""

    variant: Variant
    curve: MeasuredCurve
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


def _requests(
    call: Call, build: Build, *, first: int, last: int | None, rate_per_s: float | None = None
) -> list[Request]:
    """The workload as the data plane sees it: sizes, identities and times.

    ``rate_per_s`` stretches it as a whole, as a replay does, whatever part is taken. Beyond its
    end it begins anew.
    """
    gaps_s, keys, tokens = _workload(
        call.store, call.u["workload"], build.tokenizer, build.max_tokens, build
    )
    n = len(keys)
    indices = [i % n for i in range(first, n if last is None else last)]
    stretch = 1.0 if rate_per_s is None else (n - 1) / float(gaps_s.sum()) / rate_per_s
    at_s = (np.cumsum(gaps_s[indices]) * stretch).tolist()
    return [
        Request(id=i, key=keys[k], tokens=tokens[k], arrived_at_s=at)
        for i, (k, at) in enumerate(zip(indices, at_s, strict=True))
    ]


_Sizes = tuple[NDArray[np.float64], tuple[bytes, ...], tuple[int, ...]]
_KNOWN: dict[tuple[str, str | None, int], _Sizes] = {}


def _workload(
    store: Store, version: str, tokenizer: str | None, max_tokens: int, build: Build
) -> _Sizes:
    """Gaps, keys and lengths of a workload; tokenized once a process, since all are digests."""
    known = (version, tokenizer, max_tokens)
    if known not in _KNOWN:
        log = load_workload(store.path_of(version))
        encoded = codec_for(build, store.path_of).encode(log.items, truncate=True)
        keys = tuple(
            request_key(tenant="", build="", parameters={}, content=e.content.tobytes())
            for e in encoded
        )
        gaps_s = np.diff(log.at_s, prepend=log.at_s[0])
        _KNOWN[known] = gaps_s, keys, tuple(e.length for e in encoded)
    return _KNOWN[known]


@transformation("plan.choose")
def plan_choose(call: Call) -> Mapping[str, Output]:
    """The cheapest batching, instances and cache within the p95 promise."""
    c = call.c
    build = build_from_json(c["build"])
    call.progress(0.0, f"{build.name}: batching, instances and cache in virtual time")
    curves = {
        InstancePlan(p["threads"], p["instances"]): curve_from_json(p["curve"]) for p in c["plans"]
    }
    choice = choose(
        _requests(call, build, first=0, last=None),
        curves,
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
    """A variant on a workload, or on a part of it, at a rate."""
    c = call.c
    build, variant = build_from_json(c["build"]), variant_from_json(c["variant"])
    curve = curve_from_json(c["curve"])
    requests = _requests(call, build, first=c["first"], last=c["last"], rate_per_s=c["rate_per_s"])
    plane = DataPlane.of(variant, curve, batch_invariance=BatchInvariance(c["batch_invariance"]))
    result = simulate(plane, requests, curve, value_bytes=c["value_bytes"])
    counted = slice(c["warm_up"], None)
    latencies = result.latencies_s[counted]
    span_s = requests[-1].arrived_at_s - requests[0].arrived_at_s
    body = {
        "requests": len(latencies),
        "rate_per_s": (len(requests) - 1) / span_s if span_s else 0.0,
        "busy_machine_s_per_request": result.busy_s_per_request * build.threads / c["cores"],
        "hit_ratio": float(np.isin(result.sources[counted], ("cache", "twin")).mean()),
        "padding_share": result.stats.padding_share,
        "utilisation": result.utilisation,
        "mean_batch": result.stats.mean_batch_size,
        "p50_s": float(np.quantile(latencies, 0.5, method="inverted_cdf")),
        "p95_s": float(np.quantile(latencies, 0.95, method="inverted_cdf")),
        "p99_s": float(np.quantile(latencies, 0.99, method="inverted_cdf")),
        "rejected": int(np.isinf(latencies).sum()),
        "quantiles": [
            (q, float(np.quantile(latencies, q, method="inverted_cdf"))) for q in _QUANTILES
        ],
    }
    return {"outcome": Output(canonical(body), "samples", "json Outcome")}


def choose_variant(
    recorder: Recorder,
    builds: Mapping[InstancePlan, Build],
    curves: Sequence[MeasuredCurve],
    *,
    name: str,
    workload: str,
    p95_limit_s: float,
    batch_invariance: BatchInvariance,
    caches: Sequence[CacheSpec],
    value_bytes: int,
    batching: Sequence[BatchingSpec] = BATCHING_GRID,
    trials: int = 3,
    capacity_requests: int = 2000,
) -> Choice:
    """The cheapest way to serve a build (one per instance plan: threads are the build's)."""
    first = next(iter(builds.values()))
    done = recorder.run(
        plan_choose,
        u=_inputs(first, workload),
        c={
            "build": first,
            "plans": [
                {"threads": m.plan.threads, "instances": m.plan.instances, "curve": m.curve}
                for m in curves
            ],
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
    body: dict[str, Any] = parse(recorder.store.read(done.outputs["choice"]))
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
            }
        )
        rate = float(best["max_rate_per_s"])
    curve = next(m for m in curves if m.plan == plan)
    return Choice(variant, curve, len(body["trials"]), body["binding"], rate, done)


def simulate_variant(
    recorder: Recorder,
    build: Build,
    variant: Variant,
    curve: MeasuredCurve,
    *,
    workload: str,
    cores: int,
    batch_invariance: BatchInvariance,
    value_bytes: int,
    rate_per_s: float | None = None,
    first: int = 0,
    last: int | None = None,
    warm_up: int = 0,
    detail: str = "",
) -> Outcome:
    """``variant`` on requests ``first`` to ``last`` of a workload; ``warm_up`` are not counted."""
    done = recorder.run(
        plan_simulate,
        u=_inputs(build, workload),
        c={
            "build": build,
            "variant": variant,
            "curve": curve.curve,
            "cores": cores,
            "batch_invariance": batch_invariance,
            "value_bytes": value_bytes,
            "rate_per_s": rate_per_s,
            "first": first,
            "last": last,
            "warm_up": warm_up,
        },
        detail=detail or variant.name,
    )
    body = parse(recorder.store.read(done.outputs["outcome"]))
    body["quantiles"] = tuple(map(tuple, body["quantiles"]))
    return Outcome(**body, run=done)


def _inputs(build: Build, workload: str) -> dict[str, str]:
    return build_inputs(build, workload=workload)
