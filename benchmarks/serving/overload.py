"""Three times more than it can take: goodput, how fast the rest is refused, lateness, memory."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from benchmarks.serving.bench import Bench
from benchmarks.serving.latency import saturation_of
from benchmarks.serving.saturation import servers
from benchmarks.serving.servers import running
from benchmarks.serving.wrk import wrk
from headgate.loadtest import Segment, Target, poisson_times, run_load

__all__ = ["overload"]

_TIMES = 3.0
_DEADLINE_SERVICE_TIMES = 10.0
_SETTLED_SHARE = 0.1
"""Memory is compared from here on: the first seconds fill pools and arenas."""


def overload(bench: Bench) -> dict[str, Any]:
    """Every request carries a deadline of 10 x the p50 of a lone request.

    Late: answered after it, or told of the missed deadline only after it had passed. Anything
    else than 200 that came sooner is a rejection.
    """
    lone = bench.needs("lone")
    service_s = float(np.median([r["served_p50_s"] for r in lone]))
    deadline_s = _DEADLINE_SERVICE_TIMES * service_s
    seconds = bench.lengths.overload_s
    texts = bench.model["texts"]
    with running(bench, servers(bench)["fp32"]) as us:
        bodies = us.server.bodies(texts)
        peak = wrk(
            us.url,
            bench.bodies("overload", bodies),
            connections=64,
            duration_s=bench.lengths.round_s,
        ).rate_per_s
        at_s = poisson_times(_TIMES * max(peak, saturation_of(bench, "fp32")), seconds, seed=1)
        memory: list[int] = []
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(seconds / 100):
                memory.append(us.rss_bytes)

        watcher = threading.Thread(target=watch)
        watcher.start()
        header = {"x-request-timeout-ms": str(math.ceil(deadline_s * 1e3))}
        try:
            (result,) = run_load(
                [
                    Segment(
                        Target(us.url, header),
                        at_s,
                        [bodies[i % len(bodies)] for i in range(len(at_s))],
                    )
                ]
            )
        finally:
            ended.set()
            watcher.join()
    took_s, good = result.answered_s, result.statuses == 200
    late = (took_s > deadline_s) & (good | (result.statuses == 504))
    rejected = ~good & ~late
    settled = memory[int(_SETTLED_SHARE * len(memory)) :]
    statuses, counts = np.unique(result.statuses, return_counts=True)
    # The generator is judged by its own lag alone: p95 is infinite where most are refused.
    return {
        "times": _TIMES,
        "seconds": seconds,
        "peak_per_s": peak,
        "deadline_s": deadline_s,
        "goodput_per_s": float((good & ~late).sum()) / result.duration_s,
        "rejection_p99_s": float(np.quantile(took_s[rejected], 0.99, method="inverted_cdf"))
        if rejected.any()
        else math.nan,
        "late_share": float(late.sum()) / max(1, int((good | late).sum())),
        "statuses": dict(zip(map(str, statuses.tolist()), counts.tolist(), strict=True)),
        "rss_start": settled[0],
        "rss_end": settled[-1],
        "verdict": str(result.verdict()),
    }
