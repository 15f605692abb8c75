"""Tries everything, once: every arm of every workload by the simulator. Writes ``table/``.

``.venv/bin/python -m benchmarks.search.record [--traces DIR] [WORKLOAD ...]``: half a minute of one
core for each. Three take arrivals or keys from public traces (Azure's of 2023 and a web shop's of
cache2k).

Beside every arm it records what ``optimize`` comes to for a build, without a cache and with the
best: its own ``choose`` under its own grid, with how many arms that simulated. A table says what
code made it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.search.builds import Build, family
from benchmarks.search.workloads import WORKLOADS, Workload
from headgate.objects import CacheSpec, digest, short
from headgate.optimize.code import code_digest
from headgate.optimize.pricing import CACHES, NO_CACHE
from headgate.planning import BATCHING_GRID, choose
from headgate.workload import Request

__all__ = ["KINDS", "made_by", "table_of"]

KINDS = (NO_CACHE, CACHES)
_TRIALS = 3
"""As ``optimize.plan.choose_variant``."""


def table_of(workload: str) -> Path:
    """The file; letters and digits of its name, and no other signs."""
    return Path(__file__).with_name("table") / f"{re.sub('[^A-Za-z0-9-]+', '_', workload)}.json"


def made_by(workload: str) -> dict[str, str]:
    """Digests of what a table follows from: the code that chooses in virtual time, with all that it
    reaches; what is asked, and when; what each build takes; the caches."""
    builds = family(WORKLOADS[workload].family).builds
    curves = {b: [[*pair] for pair in of.curves.items()] for b, of in builds.items()}
    return {
        "policies": short(code_digest("headgate.planning.choice")),
        "requests": short(code_digest("benchmarks.search.workloads", "headgate.workload.arrivals")),
        "builds": short(digest(curves)),
        "caches": short(digest(KINDS)),
    }


def _distinct(requests: Sequence[Request], value_bytes: int) -> list[CacheSpec]:
    """No cache, those that cannot hold all, and the first that can: beyond it none differs."""
    whole = len({r.key for r in requests}) * value_bytes
    small = [c for c in CACHES if c.capacity_bytes < whole]
    return [*NO_CACHE, *small, *[c for c in CACHES if c not in small][:1]]


def _recorded(workload: Workload, requests: Sequence[Request], build: Build) -> dict[str, object]:
    """Machine seconds a request of each arm by plan, then batching, then cache, None where no rate
    holds the promise; and of ``choose`` with each kind of cache: what it finds on that grid, what
    it makes of it (held back for company, with an engine for lone requests), how many it tried."""
    best_of = partial(
        choose,
        requests,
        p95_limit_s=workload.p95_limit_s,
        value_bytes=workload.value_bytes,
        capacity_requests=max(len(requests) // 3, 120),
    )
    arms = []
    for plan, curve in build.curves.items():
        for batching in BATCHING_GRID:
            for cache in _distinct(requests, workload.value_bytes):
                alone = best_of(
                    {plan: curve}, batching=(batching,), caches=(cache,), waits=(), trials=1
                )
                best = alone.best
                arms.append(None if best is None else _short(best.provisioned_machine_s))
    chosen = []
    for caches in KINDS:
        found = best_of(build.curves, caches=caches, trials=_TRIALS)
        on_grid, served = None, None
        if found.best is not None:
            batching = replace(found.best.candidate.batching, max_wait_s=0.0)
            plain = replace(found.best.candidate, batching=batching, lone_threads=0)
            first = next(t for t in found.trials if t.candidate == plain)
            on_grid, served = (_short(t.provisioned_machine_s) for t in (first, found.best))
        chosen.append([on_grid, served, len(found.trials)])
    return {"arms": arms, "chosen": chosen}


def _short(seconds: float) -> float:
    return float(f"{seconds:.4g}")


def main() -> None:
    """Writes the tables of those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path)
    parser.add_argument("workloads", nargs="*", default=[*WORKLOADS])
    given = parser.parse_args()
    for name in given.workloads:
        workload = WORKLOADS[name]
        requests = workload.requests(given.traces)
        builds = family(workload.family).builds
        rows = [
            f"    {json.dumps(b)}: {json.dumps(_recorded(workload, requests, builds[b]))}"
            for b in builds
        ]
        table_of(name).write_text(
            f'{{\n  "made_by": {json.dumps(made_by(name))},\n  "builds": {{\n'
            + ",\n".join(rows)
            + "\n  }\n}\n",
            encoding="utf-8",
        )
        print(name, flush=True)


if __name__ == "__main__":
    main()
