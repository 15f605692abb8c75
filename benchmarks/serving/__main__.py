"""``python -m benchmarks.serving --store DIR [--quick] [--parts A,B] [--peers A,B] [--fresh]``.

Parts that have raw data are not run again without ``--fresh``; the last line is computed from
whatever is there.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.convention import finish, parser
from benchmarks.serving import latency, overload, saturation, targets
from benchmarks.serving.bench import FULL, QUICK, Bench
from benchmarks.serving.install import python_of
from benchmarks.serving.prepare import prepare
from benchmarks.serving.servers import PEERS

ROOT = Path(__file__).parents[2]

PARTS: dict[str, Callable[[Bench], object]] = {
    "ceiling": saturation.ceiling,
    "grid": saturation.grid,
    "rounds": saturation.rounds,
    "tail": latency.tail,
    "lone": latency.lone,
    "long": latency.long_ones,
    "noop": latency.noop,
    "overload": overload.overload,
}


def main() -> int:
    """Runs the parts that are asked for; the exit code of the targets."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--store", type=Path, default=ROOT / "examples" / "python-help" / ".headgate"
    )
    arguments.add_argument("--out", type=Path, help="raw data; default benchmarks/.serving")
    arguments.add_argument("--parts", default=",".join(PARTS), help="which, in order")
    arguments.add_argument("--peers", default=",".join(PEERS))
    arguments.add_argument("--overload-s", type=float, help="seconds of overload, default 300")
    arguments.add_argument("--fresh", action="store_true", help="run again what was run")
    given = arguments.parse_args()
    lengths = QUICK if given.quick else FULL
    if given.overload_s is not None:
        lengths = replace(lengths, overload_s=given.overload_s)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended
    asked = given.peers.split(",")
    absent = {p: "not installed; `make peers` says why" for p in asked if not python_of(p).exists()}
    name = "quick" if given.quick else "full"
    out = (given.out or ROOT / "benchmarks" / ".serving" / name).absolute()
    out.mkdir(parents=True, exist_ok=True)
    bench = Bench(out, lengths, tuple(p for p in asked if p not in absent))
    prepare(bench, given.store)
    failures = {}
    for part in filter(None, given.parts.split(",")):
        if bench.read(part) is None or given.fresh:
            start = time.monotonic()
            try:
                bench.write(part, PARTS[part](bench))
            except Exception as error:  # the other parts go on, and the last line says what failed
                failures[part] = f"{type(error).__name__}: {error}"
            print(f"{part}: {time.monotonic() - start:.0f} s", failures.get(part, ""), flush=True)
    raw = {part: bench.read(part) for part in ("prepare", *PARTS)}
    grid = raw["grid"] or {"rows": [], "failures": {}}
    code = finish(
        "serving",
        targets.targets(raw),
        settings=saturation.best_of(grid["rows"]),
        absent={**absent, **grid["failures"], **(raw["rounds"] or {}).get("failures", {})},
        failures=failures,
    )
    return 1 if failures else code


if __name__ == "__main__":
    sys.exit(main())
