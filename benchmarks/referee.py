"""Does an independent referee measure what our own load generator measures?

``python -m benchmarks.referee [--store DIR] [--quick]``, after ``make quickstart`` and
``make peers``; about 15 minutes.

MLPerf LoadGen's Server scenario (Poisson arrivals, at most 200 ms at p99) runs in a process of its
own against our HTTP server, and our own load generator at the same time: each sends half of 60 % of
what that server answers at saturation, texts of mixed length, fp32, no cache. What is asked at
random moments sees the server as it is on average (Wolff, "Poisson arrivals see time averages",
Operations Research 30, 1982), so both see the same; and what the machine does besides, both see
too. LoadGen's own verdict is therefore about its half, beside ours. One after the other, with the
same texts at the same times, they saw 106 and 103, 99 and 78, 144 and 92 ms. What is left is the
chance of some 14,000 queries each. LoadGen's latency runs from when it had scheduled a query.

Both generators run under the same scheduling class; beside a server that uses every core, the one
without it would measure its own wait. Both are also sent at a server that does nothing: what
LoadGen sees there beyond ours is its client's, which is Python. These are no MLPerf results: its
rules ask for ten minutes a run.
"""

from __future__ import annotations

import json
import math
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from benchmarks.convention import Target, at_least, at_most, finish, parser
from benchmarks.serving.bench import FULL, QUICK, Bench
from benchmarks.serving.install import python_of
from benchmarks.serving.prepare import prepare
from benchmarks.serving.servers import Running, noop_servers, ours, running
from benchmarks.serving.wrk import wrk
from headgate import loadtest
from headgate.loadtest import LoadResult
from headgate.loadtest.generator import prepare_process
from headgate.theory.quantile import quantile
from headgate.workload.arrivals import poisson_arrivals

ROOT = Path(__file__).parents[1]

ENDPOINT = "fp32-2x1-512"
SHARE_OF_SATURATION = 0.6
LIMIT_S = 0.2
"""At p99; LoadGen's verdict."""
RUNS = 3
RUN_S, QUICK_RUN_S = 240.0, 4.0
BARE_S, QUICK_BARE_S = 10.0, 2.0
CONNECTIONS = 64

_CLIENT = ROOT / "benchmarks" / "serving" / "peers" / "loadgen_client.py"
_PATIENCE_S = 60.0
"""For what was asked last, and for LoadGen's own start and end."""
_AROUND_S = 10.0
"""Ours begins this long before LoadGen and ends after it, starting of processes included."""
_TOLERANCE, _TOLERANCE_S = 0.03, 0.001
_CLIENT_MS = 0.5
"""Half of the least tolerance."""


def summary(text: str) -> dict[str, Any]:
    """LoadGen's verdict, what did not hold, and its percentiles, from ``mlperf_log_summary.txt``.

    >>> told = summary('''
    ... Result is : INVALID
    ...   Performance constraints satisfied : NO
    ...   Min duration satisfied : Yes
    ... 95.00 percentile latency (ns)   : 250000000
    ... 99.00 percentile latency (ns)   : 400000000
    ... ''')
    >>> told["valid"], told["broken"], told["p95_s"]
    (False, ['NO: Performance constraints satisfied'], 0.25)

    Raises ``ValueError`` for a summary without a verdict or a percentile.
    """
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    told = {key.strip(): value.strip() for key, value in pairs}
    try:
        return {
            "valid": told["Result is"] == "VALID",
            "broken": [f"NO: {k}" for k, v in told.items() if v == "NO"],
            "p95_s": int(told["95.00 percentile latency (ns)"]) / 1e9,
            "p99_s": int(told["99.00 percentile latency (ns)"]) / 1e9,
        }
    except KeyError as missing:
        raise ValueError(f"LoadGen's summary does not say {missing}: {text[-300:]!r}") from None


def counts(side: Mapping[str, Any]) -> bool:
    """Whether a generator's run measured something: valid, and every answer was good."""
    return bool(side["valid"]) and side["failed"] == 0


def agrees(row: Mapping[str, Any]) -> bool:
    """LoadGen's p95 is within max(3 %, 1 ms) of ours, and both runs count."""
    if not (counts(row["loadgen"]) and counts(row["ours"])):
        return False
    ours_s = row["ours"]["p95_s"]
    difference_s = abs(row["loadgen"]["p95_s"] - ours_s)
    return bool(difference_s <= max(_TOLERANCE * ours_s, _TOLERANCE_S))


def targets(rows: Sequence[Mapping[str, Any]], bare: Mapping[str, Any]) -> dict[str, Target]:
    """``rows``: a run of LoadGen and ours beside it; ``bare``: the same on a no-op server."""
    added_s = bare["loadgen"]["p95_s"] - bare["ours"]["p95_s"]
    if bare["loadgen"]["failed"] or not counts(bare["ours"]):
        added_s = math.nan
    return {
        f"VALID, runs of {len(rows)}": at_least(sum(counts(r["loadgen"]) for r in rows), 2),
        f"p95 within max(3 %, 1 ms) of ours, runs of {len(rows)}": at_least(
            sum(agrees(r) for r in rows), 2
        ),
        "p95 added by LoadGen's client, no-op server, ms": at_most(added_s * 1e3, _CLIENT_MS),
    }


def main() -> int:
    """Measures, keeps the raw data, and prints the last line; 2 where something is missing."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--store", type=Path, default=ROOT / "examples" / "python-help" / ".headgate"
    )
    given = arguments.parse_args()
    if not python_of("loadgen").exists():
        print("LoadGen is not installed; run `make peers` first", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended
    out = ROOT / "benchmarks" / ".serving" / ("quick" if given.quick else "full")
    out.mkdir(parents=True, exist_ok=True)
    bench = Bench(out, QUICK if given.quick else FULL, ())
    prepare(bench, given.store)
    with running(bench, ours(bench, ENDPOINT)) as us:
        saturation = _saturation_per_s(bench, us)
        rate_per_s = SHARE_OF_SATURATION * saturation
        print(f"saturation {saturation:.0f}/s, so {rate_per_s:.0f}/s", flush=True)
        us.suspend()
        (noop,) = (s for s in noop_servers(bench) if s.name == "uvicorn")
        with running(bench, noop) as up:
            seconds = QUICK_BARE_S if given.quick else BARE_S
            bare = _pair(bench, up, rate_per_s, seconds, 0)
        us.resume()
        rows: list[dict[str, Any]] = []
        for number in range(1, RUNS + 1):
            seconds = QUICK_RUN_S if given.quick else RUN_S
            rows.append(_pair(bench, us, rate_per_s, seconds, number))
            bench.keep("referee", rows)
    raw = {"saturation_per_s": saturation, "rate_per_s": rate_per_s, "bare": bare, "runs": rows}
    bench.write("referee", raw)
    return finish(
        "referee",
        targets(rows, bare),
        endpoint=ENDPOINT,
        saturation_per_s=saturation,
        rate_per_s=rate_per_s,
        p95_ms=[[_finite_ms(r[side]["p95_s"]) for side in ("loadgen", "ours")] for r in rows],
        client_cores=max(r["loadgen"]["cores"] for r in rows),
    )


def _finite_ms(seconds: float) -> float | None:
    """JSON knows no infinity, which is the p95 where more than 5 % failed."""
    return seconds * 1e3 if math.isfinite(seconds) else None


def _saturation_per_s(bench: Bench, us: Running) -> float:
    bodies = bench.bodies("referee", us.server.bodies(bench.model["texts"]))
    seconds = [1.0, *[bench.lengths.round_s] * bench.lengths.rounds]
    _, *rates = (
        wrk(us.url, bodies, connections=CONNECTIONS, duration_s=s).rate_per_s for s in seconds
    )
    return statistics.median(rates)


def _pair(
    bench: Bench, server: Running, rate_per_s: float, duration_s: float, seed: int
) -> dict[str, Any]:
    """One run of LoadGen and ours beside it, each at half of ``rate_per_s``."""
    bodies = server.server.bodies(bench.model["texts"])
    folder = bench.out / "referee" / f"{server.server.name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    url = urlsplit(server.url)
    job = {
        "host": url.hostname,
        "port": url.port,
        "path": url.path,
        "bodies": [body.decode() for body in bodies],
        "rate_per_s": rate_per_s / 2,
        "duration_s": duration_s,
        "limit_s": LIMIT_S,
        "seed": seed,
        "out": str(folder),
    }
    rng = np.random.default_rng(seed)
    n = round((duration_s + 2 * _AROUND_S) * rate_per_s / 2)
    segment = loadtest.Segment(
        loadtest.Target(server.url),
        poisson_arrivals(n, rate_per_s / 2, rng),
        [bodies[i] for i in rng.integers(len(bodies), size=n)],
    )
    with ThreadPoolExecutor(1) as beside, (folder / "client.log").open("wb") as log:
        started_s = time.perf_counter()
        running = beside.submit(loadtest.run_load, [segment])
        time.sleep(_AROUND_S / 2)
        done = subprocess.run(
            [str(python_of("loadgen")), str(_CLIENT)],
            input=json.dumps(job).encode(),
            stdout=log,
            stderr=log,
            cwd=folder,
            preexec_fn=prepare_process,
            timeout=duration_s + _PATIENCE_S,
        )
        (result,) = running.result()
    if done.returncode:
        raise RuntimeError(f"LoadGen's process ended with {done.returncode}; {log.name} says why")
    asked = json.loads((folder / "asked.json").read_text())
    told = summary((folder / "mlperf_log_summary.txt").read_text())
    meanwhile = during(result, asked["first_s"] - started_s, asked["at_s"][-1])
    row = {
        "server": server.server.name,
        "seed": seed,
        "queries": len(asked["at_s"]),
        "loadgen": {**told, "failed": asked["failed"], "cores": asked["cores"]},
        "ours": {
            "valid": not result.verdict().void,
            "broken": list(result.verdict().broken),
            "n": len(meanwhile),
            "p95_s": quantile(meanwhile, 0.95),
            "p99_s": quantile(meanwhile, 0.99),
            "failed": result.failed,
            "cores": result.generator_cpu_s / result.duration_s,
        },
    }
    print(f"{server.server.name}, {row['queries']} queries:", _told(row), flush=True)
    return row


def during(result: LoadResult, first_s: float, duration_s: float) -> NDArray[np.float64]:
    """The latencies of what was scheduled in ``duration_s`` from ``first_s`` on.

    Both generators start processes before their first query, which takes a second; that much the
    two windows may be apart.
    """
    since_s = result.scheduled_s - first_s
    return result.latencies_s[(since_s >= 0) & (since_s <= duration_s)]


def _told(row: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{side} p95 {row[side]['p95_s'] * 1e3:.2f} ms, {row[side]['failed']} failed, "
        + (", ".join(row[side]["broken"]) or "valid")
        for side in ("loadgen", "ours")
    )


if __name__ == "__main__":
    sys.exit(main())
