"""What a request waits: beside each peer at partial load, alone, beside long ones; the no-op."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from benchmarks.serving.bench import Bench
from benchmarks.serving.saturation import offline, servers
from benchmarks.serving.servers import Running, noop_servers, running
from benchmarks.serving.wrk import wrk
from headgate.loadtest import LoadResult, Segment, Target, poisson_times, run_load

__all__ = ["lone", "long_ones", "noop", "open_loop", "saturation_of", "tail"]

_TRIES = 3
_SHORT_TOKENS_QUANTILE = 0.5


def saturation_of(bench: Bench, name: str, connections: int = 64) -> float:
    """Median of the rounds; ``fp32`` and ``int8`` are ours."""
    rates = [
        r["rate_per_s"]
        for r in bench.needs("rounds")["rows"]
        if r["connections"] == connections
        and name == (r["setting"].split("-")[0] if r["server"] == "headgate" else r["server"])
    ]
    return statistics.median(rates)


def open_loop(
    server: Running, texts: list[str], rate_per_s: float, seconds: float, seed: int
) -> LoadResult:
    """Poisson arrivals; a VOID run is made again, twice at most."""
    at_s = poisson_times(rate_per_s, seconds, seed=seed)
    bodies = server.server.bodies([texts[i % len(texts)] for i in range(len(at_s))])
    for _ in range(_TRIES):
        (result,) = run_load([Segment(Target(server.url), at_s, bodies)])
        if not result.verdict().void:
            break
    return result


def _row(result: LoadResult, **more: object) -> dict[str, Any]:
    return {
        **more,
        "n": result.n,
        "failed": result.failed,
        "p50_s": result.quantile_s(0.5),
        "p95_s": result.p95_s,
        "verdict": str(result.verdict()),
    }


def tail(bench: Bench) -> list[dict[str, Any]]:
    """At 70 % of each peer's saturation: that peer and us in turn, the same requests. A peer that
    answered nobody at saturation has none."""
    rows: list[dict[str, Any]] = []
    texts = bench.model["texts"]
    best = servers(bench)
    with running(bench, best["fp32"]) as us:
        for name in (n for n in best if n in bench.peers):
            rate = 0.7 * saturation_of(bench, name)
            if not rate:
                continue
            us.suspend()
            with running(bench, best[name]) as them:
                open_loop(them, texts, rate, 1.0, 0)
                them.suspend()
                for number in range(bench.lengths.segments):
                    for side, server in (("peer", them), ("ours", us)):
                        server.resume()
                        result = open_loop(server, texts, rate, bench.lengths.tail_s, number)
                        server.suspend()
                        rows.append(_row(result, peer=name, side=side, rate_per_s=rate))
                        bench.keep("tail", rows)
            us.resume()
    return rows


def lone(bench: Bench) -> list[dict[str, Any]]:
    """One connection beside the bare engine call of 2 threads, in turn."""
    rows = []
    texts = bench.model["texts"]
    with running(bench, servers(bench)["fp32"]) as us:
        bodies = bench.bodies("lone", us.server.bodies(texts))
        wrk(us.url, bodies, connections=1, duration_s=1)
        for _ in range(max(2, bench.lengths.rounds)):
            us.suspend()
            bare_s = offline(bench, "fp32", lone=True)["lone_s"]
            us.resume()
            served = wrk(us.url, bodies, connections=1, duration_s=bench.lengths.round_s)
            rows.append({"bare_p50_s": bare_s, "served_p50_s": served.p50_s})
    return rows


def long_ones(bench: Bench) -> list[dict[str, Any]]:
    """Short requests' p95 at 60 % of our saturation, without and with 1 % of maximum length.

    The others' schedule is the same; short is at most the median number of tokens.
    """
    rows = []
    model = bench.model
    texts, tokens = model["texts"], np.array(model["tokens"])
    longest = "word " * (model["max_tokens"] - 2)
    short = tokens <= np.quantile(tokens, _SHORT_TOKENS_QUANTILE)
    rate = 0.6 * saturation_of(bench, "fp32")
    with running(bench, servers(bench)["fp32"]) as us:
        open_loop(us, texts, rate, 1.0, 0)
        for number in range(2 * bench.lengths.segments):
            with_long = bool(number % 2)
            mixed = list(texts)
            if with_long:
                mixed[50::100] = [longest] * len(mixed[50::100])
            result = open_loop(us, mixed, rate, bench.lengths.tail_s, number // 2)
            which = [short[i % len(texts)] and i % 100 != 50 for i in range(result.n)]
            p95_s = float(np.quantile(result.latencies_s[which], 0.95, method="inverted_cdf"))
            rows.append(_row(result, long=with_long, short_p95_s=p95_s))
    return rows


def noop(bench: Bench) -> list[dict[str, Any]]:
    """Request rates with a model that does nothing."""
    rows = []
    for server in noop_servers(bench):
        with running(bench, server) as up:
            bodies = bench.bodies("noop", server.bodies([""]))
            for connections in (64, 16):
                wrk(up.url, bodies, connections=connections, duration_s=1)
                result = wrk(
                    up.url, bodies, connections=connections, duration_s=bench.lengths.grid_s
                )
                rows.append(
                    {
                        "server": server.name,
                        "setting": server.setting,
                        "connections": connections,
                        "rate_per_s": result.rate_per_s,
                        "failed": result.failed,
                    }
                )
    return rows
