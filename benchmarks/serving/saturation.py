"""How many requests a second: the offline ceiling, ours and every peer's, alternating."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.serving.bench import Bench
from benchmarks.serving.offline import BUDGETS, PLANS
from benchmarks.serving.prepare import OURS
from benchmarks.serving.servers import PEERS, Running, Server, ours, peer, running
from benchmarks.serving.wrk import wrk

__all__ = ["CONNECTIONS", "best_of", "ceiling", "grid", "offline", "rounds", "servers"]

CONNECTIONS = (64, 16)


def offline(bench: Bench, build: str, **job: object) -> dict[str, Any]:
    """Runs ``benchmarks.serving.offline``."""
    given = {
        "store": str(bench.store),
        "build": bench.model["builds"][build],
        "texts": bench.model["texts"],
        **job,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.offline"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return dict(json.loads(done.stdout))


def ceiling(bench: Bench) -> dict[str, Any]:
    """Build -> rows of (engines, threads each, padded tokens of a batch, texts per second)."""
    configs = [(*plan, BUDGETS) for plan in PLANS]
    return {
        build: offline(bench, build, configs=configs, passes=1)["rows"]
        for build in ("fp32", "int8_static")
    }


def _measure(bench: Bench, server: Running, connections: int, seconds: float) -> dict[str, Any]:
    own = server.server.name == "headgate"
    bodies = bench.bodies(server.server.name, server.server.bodies(bench.model["texts"]))
    wrk(server.url, bodies, connections=connections, duration_s=1)  # warm
    before = _padding(server) if own else None
    result = wrk(server.url, bodies, connections=connections, duration_s=seconds)
    row = {
        "server": server.server.name,
        "setting": server.server.setting,
        "connections": connections,
        "rate_per_s": result.rate_per_s,
        "failed": result.failed,
        "p50_s": result.p50_s,
        "p95_s": result.p95_s,
    }
    if before is not None:
        after = _padding(server)
        row["padded_tokens"], row["items"] = (b - a for a, b in zip(before, after, strict=True))
    return row


def _padding(server: Running) -> tuple[float, float]:
    return (
        server.metric("headgate_batch_padded_tokens_sum"),
        server.metric("headgate_batch_size_sum"),
    )


def grid(bench: Bench) -> dict[str, Any]:
    """Every server at every setting of its grid, and who could not be started."""
    servers = [ours(bench, e) for e in OURS]
    servers += [peer(bench, p, setting) for p in bench.peers for setting in PEERS[p]]
    rows, failures = [], {}
    for server in servers:
        try:
            with running(bench, server) as up:
                rows += [_measure(bench, up, c, bench.lengths.grid_s) for c in CONNECTIONS]
        except (RuntimeError, subprocess.SubprocessError, OSError) as error:
            failures[f"{server.name}, {server.setting}"] = str(error)
        bench.keep("grid", {"rows": rows, "failures": failures})
        print(f"grid: {server.name}, {server.setting}", *(_told(r) for r in rows[-2:]), flush=True)
    return {"rows": rows, "failures": failures}


def _told(row: dict[str, Any]) -> str:
    return f"{row['connections']}: {row['rate_per_s']:.0f}/s"


def best_of(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Server -> the setting with the highest product of its rates; ours once for each build.

    >>> row = {"server": "ray", "setting": "a", "rate_per_s": 10.0}
    >>> best_of([row, {**row, "setting": "b", "rate_per_s": 12.0}])
    {'ray': 'b'}
    """
    product: dict[tuple[str, str], float] = {}
    for row in rows:
        name = row["server"]
        if name == "headgate":
            name = row["setting"].split("-")[0]
        key = (name, row["setting"])
        product[key] = product.get(key, 1.0) * row["rate_per_s"]
    return dict(sorted(product, key=lambda key: product[key]))


def servers(bench: Bench) -> dict[str, Server]:
    """``fp32``, ``int8`` and the peers that run, each at its best setting."""
    best = best_of(bench.needs("grid")["rows"])
    made = {n: ours(bench, best[n]) for n in ("fp32", "int8") if n in best}
    for name in (p for p in bench.peers if p in best):
        settings = [peer(bench, name, s) for s in PEERS[name]]
        made[name] = next(s for s in settings if s.setting == best[name])
    return made


def rounds(bench: Bench) -> dict[str, Any]:
    """All at their best, one after the other, again and again; who waits is stopped."""
    found = bench.needs("ceiling")
    best = {
        build: max(rows, key=lambda r: statistics.median(r[3])) for build, rows in found.items()
    }
    rows: list[dict[str, Any]] = []
    ceilings, failures = [], {}
    with contextlib.ExitStack() as stack:
        up = []
        for server in servers(bench).values():
            up.append(stack.enter_context(running(bench, server)))
            up[-1].suspend()
        for number in range(bench.lengths.rounds):
            for build, (instances, threads, budget, _) in best.items():
                job = [(instances, threads, [budget])]
                ((*_, rates),) = offline(bench, build, configs=job, passes=2)["rows"]
                ceilings.append({"build": build, "round": number, "rates": rates})
            for server in up[number % len(up) :] + up[: number % len(up)]:
                server.resume()
                try:
                    for connections in CONNECTIONS:
                        row = _measure(bench, server, connections, bench.lengths.round_s)
                        rows.append({**row, "round": number})
                except (subprocess.SubprocessError, OSError) as error:
                    failures[f"{server.server.name}, round {number}"] = str(error)
                    if server.server.name == "headgate":
                        raise
                server.suspend()
            bench.keep("rounds", {"rows": rows, "ceilings": ceilings, "failures": failures})
    return {"rows": rows, "ceilings": ceilings, "failures": failures}
