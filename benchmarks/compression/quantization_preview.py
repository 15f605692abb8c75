"""Does the quantization preview keep its word? Forecast first, then everything measured.

Every scheme on every subject: what the pilots said, what making and evaluating it whole then
showed, and what each of the two cost. All of it is recorded in a store for each subject, so that a
run that was stopped goes on where it was.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.compression.previewed import SUBJECTS, endpoint
from benchmarks.convention import Target, at_least, at_most
from headgate.config import load_config
from headgate.errors import HeadgateError
from headgate.ledger import Store
from headgate.optimize.blocks import SpeedBlocks, measure_blocks
from headgate.optimize.forecasts import Forecast
from headgate.optimize.job import Job, open_job
from headgate.optimize.making import Maker, make_build
from headgate.optimize.measure import measure_quality
from headgate.optimize.pilots import pilot_memory
from headgate.optimize.preview import preview
from headgate.optimize.progress import Silent
from headgate.optimize.rules import CHOOSING_BLOCKS
from headgate.optimize.scoring import measured_of
from headgate.optimize.stages import Baseline, Tried, measure_baseline
from headgate.planning.scorecard import Met, scorecard
from headgate.theory.intervals import Range

__all__ = ["quantization_preview"]

_QUICK = ("digits-mlp", "digits-conv")


@dataclass(frozen=True)
class _Case:
    """One scheme on one subject: figure -> (forecast, low, high, truth)."""

    subject: str
    scheme: str
    figures: Mapping[str, tuple[float, float, float, float]]
    margin: float

    def error(self, figure: str) -> float:
        """Of the forecast, relative."""
        value, _, _, truth = self.figures[figure]
        return abs(value / truth - 1)

    def held(self, figure: str) -> bool:
        value, low, high, truth = self.figures[figure]
        return Range(value, low, high).holds(truth)

    @property
    def loss(self) -> str:
        """The figure of the quality contract."""
        return next(name for name in self.figures if name.startswith("loss of "))

    @property
    def width_in_margins(self) -> float:
        _, low, high, _ = self.figures[self.loss]
        return (high - low) / self.margin


@dataclass(frozen=True)
class _Cost:
    """Seconds of one subject's pilots, and of making and evaluating all its candidates."""

    pilots_s: float
    everything_s: float

    @property
    def share(self) -> float:
        return self.pilots_s / self.everything_s


def quantization_preview(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """All subjects; targets of the issue, over all cases."""
    cases: list[_Case] = []
    costs: dict[str, _Cost] = {}
    for name in _QUICK if quick else SUBJECTS:
        found, costs[name] = _measured(name)
        cases += found
    held = sum(c.held(c.loss) for c in cases)
    targets = {
        "models": at_least(len(costs), 2 if quick else 6),
        "model x scheme cases": at_least(len(cases), 10 if quick else 30),
        "losses in their 90 % interval, share": at_least(held / len(cases), 24 / 30),
        "width in margins, median": at_most(
            statistics.median(c.width_in_margins for c in cases), 2.0
        ),
        "size, largest error": at_most(max(c.error("file_bytes") for c in cases), 0.02),
        "memory, largest error": at_most(max(c.error("memory_bytes") for c in cases), 0.15),
        "p50, largest error": at_most(max(c.error("latency_p50") for c in cases), 0.2),
        "models over 60 s and over 5 % of everything": at_most(
            sum(c.pilots_s > 60 and c.share > 0.05 for c in costs.values()), 0
        ),
    }
    return targets, {
        "p50 within 20 %, share": sum(c.error("latency_p50") <= 0.2 for c in cases) / len(cases),
        "memory within 15 %, share": sum(c.error("memory_bytes") <= 0.15 for c in cases)
        / len(cases),
        "held": {
            figure: sum(c.held(figure) for c in cases) / len(cases)
            for figure in ("latency_p50", "per_s", "speedup", "file_bytes", "memory_bytes")
        },
        "scorecard": [s.describe() for s in scorecard(_met(c) for c in cases)],
        "costs": {n: {"pilots_s": c.pilots_s, "share": c.share} for n, c in costs.items()},
        "cases": {f"{c.subject} {c.scheme}": c.figures for c in cases},
    }


def _met(case: _Case) -> Met:
    value, low, high, truth = case.figures[case.loss]
    return Met("quantization", "quality", Range(value, low, high), truth)


def _measured(name: str) -> tuple[list[_Case], _Cost]:
    """The cases of one subject, forecast before any of them is made whole."""
    here = endpoint(name)
    config = load_config(here / "headgate.yaml")
    with Store.open(here / ".headgate", create=True) as store:
        job = open_job(config, store, Silent(), fresh=False)
        baseline = measure_baseline(job)
        before = len(job.recorder.runs)
        # What the preview rules out is measured all the same, but for what quantizes nothing.
        forecasts = [f for f in preview(job, baseline) if f.figures and "no smaller" not in f.skip]
        pilots_s = _seconds(job, before)
        before = len(job.recorder.runs)
        tried = [t for f in forecasts if (t := _whole(job, f)) is not None]
        builds = [t.build for t in tried if t.build is not None]
        job.curves([[(build, 1)] for build in builds])
        speed = measure_blocks(
            job.recorder,
            [baseline.build, *builds],
            job.behaviour,
            items=job.queries,
            n_blocks=CHOOSING_BLOCKS,
        )
        cost = _Cost(pilots_s, _seconds(job, before))
        return [_case(job, name, t, dict(_truths(job, baseline, t, speed))) for t in tried], cost


def _seconds(job: Job, before: int) -> float:
    """Of the runs since; each once."""
    return sum({run.entry: run.seconds for run in job.recorder.runs[before:]}.values())


def _whole(job: Job, forecast: Forecast) -> Tried | None:
    """The candidate as ``optimize`` makes and evaluates it; None where it cannot be made."""
    maker = Maker(job.recorder, job.source, job.inputs, job.profile)
    try:
        build = make_build(forecast.name, maker)
        job.register_build(build)
        quality, run = measure_quality(
            job.recorder,
            build,
            job.behaviour,
            dataset=job.inputs.versions["evaluate"],
            split="evaluate",
        )
    except HeadgateError:
        return None
    return Tried(forecast.name, forecast, build, quality, run)


def _truths(
    job: Job, baseline: Baseline, tried: Tried, speed: SpeedBlocks
) -> list[tuple[str, float]]:
    assert tried.build is not None
    found = [(m, truth) for m, truth, _ in measured_of(job, baseline, tried, speed)]
    return [*found, ("memory_bytes", float(pilot_memory(job, tried.build)[0]))]


def _case(job: Job, subject: str, tried: Tried, truths: Mapping[str, float]) -> _Case:
    figures = {
        name: (f.range.value, f.range.low, f.range.high, truths[name])
        for name, f in tried.forecast.figures.items()
    }
    return _Case(subject, tried.name, figures, job.contracts[0].limit)
