"""Did the last run of the quickstart reach its targets? Reads its report; measures nothing itself.

``.venv/bin/python -m benchmarks.quickstart [--report PATH] [--rerun]``. ``--rerun`` also runs the
quickstart again, which must reuse what is there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.convention import Target, at_least, at_most, finish, parser

EXAMPLE = Path(__file__).parent.parent / "examples" / "python-help"

# (workload, against) -> (target, aim): how many times cheaper, attributed.
FACTORS = {
    ("no repeats, cache off", "naive"): (4.0, 8.0),
    ("no repeats, cache off", "tuned"): (2.0, 3.0),
    ("the workload, cache on", "naive"): (7.0, 15.0),
}


def main() -> int:
    """Checks the report; exits 2 where there is none."""
    arguments = parser(__doc__)
    arguments.add_argument("--report", type=Path, default=EXAMPLE / "report.json")
    arguments.add_argument("--rerun", action="store_true", help="time a second run as well")
    given = arguments.parse_args()
    if not given.report.is_file():
        print(f"there is no {given.report}; run `make quickstart` first", file=sys.stderr)
        return 2
    report = json.loads(given.report.read_text(encoding="utf-8"))
    targets = {**_savings(report), **_quality(report)}
    seconds = executed_s(report["steps"])
    if seconds > 1:
        targets["seconds of the first run"] = at_most(seconds, 360)
    if given.rerun:
        targets["seconds of a run that reuses everything"] = at_most(_rerun(), 60)
    return finish(
        "quickstart",
        targets,
        winner=report["winner"],
        action=report["action"],
        aims={
            f"{w}, {a}": {"value": _factor(report, w, a), "aim": aim}
            for (w, a), (_, aim) in FACTORS.items()
        },
        predictions={
            f"{p['variant']} {p['quantity']}": p["relative_error"] for p in report["predictions"]
        },
    )


def executed_s(steps: Sequence[Mapping[str, Any]]) -> float:
    """From the start of the first step that was executed to the end of the last, and what lay
    between: some go side by side. 0 where all were reused."""
    ran = [step for step in steps if not step["reused"]]
    ends_s = [datetime.fromisoformat(step["ended_at"]).timestamp() for step in ran]
    starts_s = [end_s - step["seconds"] for end_s, step in zip(ends_s, ran, strict=True)]
    return max(ends_s, default=0.0) - min(starts_s, default=0.0)


def _factor(report: Mapping[str, Any], workload: str, against: str) -> float:
    for row in report["savings"]:
        if (row["workload"], row["against"], row["basis"]) == (workload, against, "attributed"):
            return float(row["factor"])
    return float("nan")


def _savings(report: Mapping[str, Any]) -> dict[str, Target]:
    return {
        f"times cheaper than {against}, {workload}": at_least(
            _factor(report, workload, against), bound
        )
        for (workload, against), (bound, _) in FACTORS.items()
    }


def _quality(report: Mapping[str, Any]) -> dict[str, Target]:
    """The one-sided 95 % bound on the loss of recall@10, on the holdout split."""
    lows = [
        row["figure"]["low"]
        for row in report["contracts"]
        if row["rule"].startswith("recall@10 ") and row["figure"] is not None
    ]
    return {"recall@10 against the baseline, lower bound": at_least(min(lows, default=-1.0), -0.02)}


def _rerun() -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "headgate", "optimize", "--promote", str(EXAMPLE / "headgate.yaml")],
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
