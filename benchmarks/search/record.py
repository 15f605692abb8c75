"""Tries everything, once: every arm of every workload by the simulator. Writes ``table.json``.

``.venv/bin/python -m benchmarks.search.record``; about a minute of one core.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from benchmarks.search.builds import BUILDS
from benchmarks.search.workloads import WORKLOADS, Workload
from headgate.objects import BatchingSpec, CacheSpec
from headgate.planning import choose

__all__ = ["BATCHING", "CACHES", "TABLE", "VALUE_BYTES"]

TABLE = Path(__file__).with_name("table.json")
BATCHING = (
    BatchingSpec(max_requests=1),
    BatchingSpec(8, 512),
    BatchingSpec(16, 1024),
    BatchingSpec(32, 2048),
)
CACHES = (CacheSpec(), CacheSpec("lru", 1 << 18), CacheSpec("s3fifo", 1 << 20))
VALUE_BYTES = 1536


def _costs(workload: Workload, name: str) -> list[float | None]:
    """Machine seconds a request of each arm, by plan, then batching, then cache; None where no
    rate holds the promise."""
    requests = workload.requests()
    costs: list[float | None] = []
    for plan, curve in BUILDS[name].curves.items():
        for batching in BATCHING:
            for cache in CACHES:
                best = choose(
                    requests,
                    {plan: curve},
                    p95_limit_s=workload.p95_limit_s,
                    batching=(batching,),
                    caches=(cache,),
                    value_bytes=VALUE_BYTES,
                    waits=(),
                    trials=1,
                    capacity_requests=len(requests) // 2,
                ).best
                costs.append(None if best is None else best.provisioned_machine_s)
    return costs


def main() -> None:
    """Writes the table."""
    table = {}
    for at, workload in WORKLOADS.items():
        table[at] = {name: _costs(workload, name) for name in BUILDS}
        print(at, flush=True)
    rounded = {
        at: {
            name: [None if c is None else float(f"{c:.4g}") for c in costs]
            for name, costs in builds.items()
        }
        for at, builds in table.items()
    }
    assert all(math.isfinite(c) for row in rounded.values() for cs in row.values() for c in cs if c)
    rows = (f"  {json.dumps(at)}: {json.dumps(row)}" for at, row in rounded.items())
    TABLE.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
