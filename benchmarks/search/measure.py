"""Measures every build of the quickstart wholly, once, by what ``optimize`` measures them with.

``taskset -c 0 .venv/bin/python -m benchmarks.search.measure``: ten minutes. The machine is what the
process may use: what is kept was measured on one core. Everything is a recorded run of a store
under ``benchmarks/.search``, so that it may be cut off and goes on from there. Writes
``measured.json``: of each build its service curves by instance plan, what it takes over the
baseline in each of nine blocks beside it, how many of the evaluation split's answers it wins and
loses, and what making and scoring it took.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

from benchmarks.search.builds import MEASURED, MEASURED_ITEMS
from headgate.config import load_config
from headgate.ledger import Store
from headgate.optimize.blocks import SpeedBlocks
from headgate.optimize.forecasts import Forecast
from headgate.optimize.job import Job, open_job
from headgate.optimize.measure import MeasuredCurve
from headgate.optimize.pricing import measured_offers
from headgate.optimize.progress import Silent
from headgate.optimize.quality import QualitySamples
from headgate.optimize.recorder import seconds_of
from headgate.optimize.rules import register_rules
from headgate.optimize.searching import Trials
from headgate.optimize.stages import Tried, measure_baseline
from headgate.planning import Asked, Level

_ROOT = Path(__file__).parents[2]
_METRIC = "recall@10"
_NAMED = (
    "fp32_openvino",
    "int8_weights",
    "bf16",
    "int8_dynamic",
    "int8_static",
    "student3",
    "student3_fp32_openvino",
    "student3_int8_weights",
    "student3_bf16",
    "student3_int8_dynamic",
    "student3_int8_static",
    "static",
)
"""The last is trained by itself; whatever has the same student shares its training."""
_SIDE_BY_SIDE = 4
"""Builds in one round of blocks, so that a round is soon recorded."""


def _endpoint() -> Path:
    """A copy of the quickstart's endpoint, whose store is kept between runs."""
    there = _ROOT / "benchmarks" / ".search" / "python-help"
    stores = shutil.ignore_patterns(".headgate")
    shutil.copytree(_ROOT / "examples" / "python-help", there, ignore=stores, dirs_exist_ok=True)
    return there


def _measured(job: Job) -> Mapping[str, object]:
    baseline = measure_baseline(job)
    tried = {name: Tried(name, Forecast(name, "", "", (), "")) for name in _NAMED}
    trials = Trials(job, register_rules(job), baseline, tried)
    making_s = {}
    for name in _NAMED:
        before = {run.entry for run in job.recorder.runs}
        trials.round([Asked(Level.PILOT, name)])
        runs = [r for r in job.recorder.runs if r.entry not in before and not r.measures]
        making_s[name] = seconds_of(runs)
        print(name, f"{making_s[name]:.1f} s", trials.tried[name].skipped, flush=True)
    for i in range(0, len(_NAMED), _SIDE_BY_SIDE):
        trials.round([Asked(Level.FULL, name) for name in _NAMED[i : i + _SIDE_BY_SIDE]])
        print("blocks", *_NAMED[i : i + _SIDE_BY_SIDE], flush=True)
    made = [t for t in trials.tried.values() if t.build and t.invariance and t.speed and t.quality]
    offers = measured_offers(
        job,
        [
            (baseline.build, baseline.invariance.invariance),
            *((t.build, t.invariance.invariance) for t in made if t.build and t.invariance),
        ],
    )
    rows: dict[str, object] = {baseline.build.name: {"curves": _curves(offers["fp32"].curves)}}
    for t in made:
        assert t.speed is not None
        assert t.quality is not None
        assert t.quality_run is not None
        rows[t.name] = {
            "curves": _curves(offers[t.name].curves),
            "blocks": _blocks(t.speed, t.name),
            "won_lost": _won_lost(t.quality, baseline.quality),
            "making_s": round(making_s[t.name], 1),
            "scoring_s": round(t.quality_run.seconds, 1),
        }
    return rows


def _curves(curves: tuple[MeasuredCurve, ...]) -> Mapping[str, object]:
    """``instances x threads`` -> the fields of its ``ServiceCurve``."""
    return {f"{c.plan.instances}x{c.plan.threads}": astuple(c.curve) for c in curves}


def _blocks(speed: SpeedBlocks, name: str) -> list[float]:
    """Of the time of a batch."""
    column = speed.names.index(name)
    return [round(row[column].per_item_s / row[0].per_item_s, 4) for row in speed.blocks]


def _won_lost(candidate: QualitySamples, current: QualitySamples) -> tuple[int, int]:
    """Answers that only it gets right, and only the other; of the same items."""
    pairs = [*zip(candidate.scores[_METRIC], current.scores[_METRIC], strict=True)]
    assert len(pairs) == MEASURED_ITEMS
    return sum(a == 1 != b for a, b in pairs), sum(b == 1 != a for a, b in pairs)


def main() -> None:
    """Measures what is not on record, and writes the file."""
    there = _endpoint()
    with Store.open(there / ".headgate", create=True) as store:
        job = open_job(load_config(there / "headgate.yaml"), store, Silent(), fresh=False)
        rows = _measured(job)
    lines = [f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items()]
    MEASURED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
