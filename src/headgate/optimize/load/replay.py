"""The replay: alternating open-loop segments on two servers, with the current against itself.

What was sent is recorded as ranges of the workload, so that the very same can be simulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headgate.config import load_workload
from headgate.loadtest import LoadResult, Segment, run_load
from headgate.objects import canonical, parse
from headgate.optimize.load.outcome import DRAIN_S, Replay, SegmentTimes, replay_from_json
from headgate.optimize.load.probe import saturate
from headgate.optimize.load.schedule import Piece, Schedule
from headgate.optimize.load.servers import (
    SERVER_CODE,
    body_of,
    ready,
    server_process,
    target_of,
)
from headgate.optimize.recorder import Call, Output, Recorder, transformation
from headgate.runtime.servable import Servable
from headgate.theory.quantile import quantile

__all__ = ["measure_load"]

_AA_S = 2.5
_QUANTILES = (*(i / 200 for i in range(1, 200)), 0.999)


@transformation("load.replay", measures=True, also=SERVER_CODE)
def replay(call: Call) -> Mapping[str, Output]:
    """Alternating open-loop segments on the servers of two variants."""
    c = call.c
    log = load_workload(call.path("workload"))
    variants = [call.u["current"], call.u["candidate"]]
    with server_process(call, variants[0]) as first, server_process(call, variants[1]) as second:
        servers = [ready(first), ready(second)]  # both load and warm at the same time
        call.progress(0.02, "finding each server's capacity")
        probes = [saturate(s, log.items, call) for s in servers]
        most_per_s = (None, c.get("most_per_s"))  # of the candidate; older records have none
        plans = [
            Schedule(log.at_s, p.requests, c["load"] * _takes_per_s(p.rate_per_s, most))
            for p, most in zip(probes, most_per_s, strict=True)
        ]
        pieces = _pieces(plans, seconds=c["seconds"], blocks=c["blocks"])
        rates = [plan.rate_per_s for plan in plans]
        call.progress(0.1, f"replaying at {rates[0]:.0f} and {rates[1]:.0f} requests/s")
        bodies = [body_of(item, call) for item in log.items]
        targets = [target_of(s, call) for s in servers]
        segments = [
            Segment(targets[i], p.at_s, [bodies[k % len(bodies)] for k in range(p.first, p.last)])
            for i, p in pieces
        ]
        results = run_load(segments, timeout_s=10.0, gap_s=DRAIN_S)
        memory = [s.process.memory_info().rss for s in servers]
    ran = [(i, p, r) for (i, p), r in zip(pieces, results, strict=True)]
    noise = ran[:2] + ran[-2:]
    times = [_times(p, r) for _, p, r in noise]
    body = {
        "aa_before": times[:2],
        "aa_after": times[2:],
        "aa_void": LoadResult.joined([r for _, _, r in noise]).verdict().broken,
        "sides": [
            {
                "capacity_per_s": probes[i].rate_per_s,
                "most_per_s": most_per_s[i],
                "rate_per_s": plans[i].rate_per_s,
                "before": [(0, probes[i].requests), *(s.sent for s in times[:2] if i == 0)],
                "memory_bytes": memory[i],
                **_measured([(p, r) for k, p, r in ran[2:-2] if k == i]),
            }
            for i in range(2)
        ],
    }
    return {"load": Output(canonical(body), "samples", "json {sides, aa_*}")}


def _takes_per_s(capacity_per_s: float, most_per_s: float | None) -> float:
    """What a server can take and keep its promise."""
    return capacity_per_s if most_per_s is None else min(capacity_per_s, most_per_s)


def _pieces(
    plans: Sequence[Schedule], *, seconds: float, blocks: int
) -> Sequence[tuple[int, Piece]]:
    """(server, what it is sent), in order: the first server against itself, blocks in which each
    has its turn, the first against itself again."""
    # A log that ends sooner is not begun anew (but for a request a block, whose gap is left out):
    # a cache would answer all of it.
    lasts = [min(seconds, plan.remaining_s) / blocks for plan in plans]
    noise = [(0, plans[0].aside(_AA_S)) for _ in range(2)]
    blocked = [
        (i, plans[i].next(lasts[i]))
        for block in range(blocks)
        for i in ((0, 1) if block % 2 == 0 else (1, 0))
    ]
    return [*noise, *blocked, *noise]


def _measured(own: Sequence[tuple[Piece, LoadResult]]) -> Mapping[str, Any]:
    """One side's segments, and all of them together."""
    whole = LoadResult.joined([r for _, r in own])
    return {
        "segments": [_times(p, r) for p, r in own],
        "quantiles": [(q, quantile(whole.latencies_s, q)) for q in _QUANTILES],
        "void": whole.verdict().broken,
    }


def _times(piece: Piece, r: LoadResult) -> SegmentTimes:
    hits = sum(s in ("cache", "twin") for s in r.sources)
    return SegmentTimes(
        first=piece.first,
        requests=r.n,
        failed=r.failed,
        duration_s=r.duration_s,
        p50_s=r.quantile_s(0.5),
        p95_s=r.p95_s,
        p99_s=r.quantile_s(0.99),
        mean_s=float(np.mean(r.latencies_s)),
        hit_share=hits / r.n,
        server_cpu_s=r.server_cpu_s,
        generator_cpu_s=r.generator_cpu_s,
    )


def measure_load(
    recorder: Recorder,
    *,
    current: Servable,
    candidate: Servable,
    versions: tuple[str, str],
    workload: str,
    seconds: float,
    blocks: int,
    load: float,
    most_per_s: float | None,
    cores: int,
    tensor: Mapping[str, str] | None,
) -> Replay:
    """Replays ``workload`` on both, each at ``load`` of what it can take.

    ``versions`` are the artifacts of (current, candidate). ``most_per_s``: up to which rate the
    candidate is planned to keep its promise, where that is known: it is asked for no more.
    """
    u = {"current": versions[0], "candidate": versions[1], "workload": workload}
    done = recorder.run(
        replay,
        u=u,
        c={
            "endpoint": current.endpoint,
            "task": current.task,
            "seconds": seconds,
            "blocks": blocks,
            "load": load,
            "most_per_s": most_per_s,
            "input": tensor,
        },
        detail=f"{current.variant.name} and {candidate.variant.name}, {seconds:g} s each",
    )
    return replay_from_json(parse(recorder.store.read(done.outputs["load"])), cores=cores, run=done)
