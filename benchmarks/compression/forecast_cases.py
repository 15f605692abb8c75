"""One endpoint's candidates: forecast first, then everything made and measured whole.

Where calibrating takes no time a pilot is the very build, and its size was weighed and not
forecast. So every endpoint is looked at a second time, with pilots that are calibrated on few
items, as they would be of a larger model.

What is made is recorded in a store for each endpoint, so that a run that was stopped goes on where
it was. What an endpoint came to is kept in its ``measured.json`` for as long as the code is the
same.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from benchmarks.compression.previewed import endpoint
from headgate.config import load_config
from headgate.errors import HeadgateError
from headgate.ledger import Store
from headgate.objects import Build
from headgate.optimize.blocks import SpeedBlocks, measure_blocks
from headgate.optimize.code import code_digest
from headgate.optimize.forecasts import Forecast, speeds_of
from headgate.optimize.job import Job, open_job
from headgate.optimize.making import Maker, make_build
from headgate.optimize.measure import measure_quality
from headgate.optimize.pilots import make_pilots, pilot_blocks, pilot_memory
from headgate.optimize.preview import NO_SMALLER, PILOT_S, Outlook, preview
from headgate.optimize.progress import Silent
from headgate.optimize.rules import CHOOSING_BLOCKS
from headgate.optimize.scoring import measured_of
from headgate.optimize.stages import Baseline, Tried, measure_baseline
from headgate.quantization.preview import FEW_ITEMS, ratio_to_come
from headgate.theory.intervals import Range

__all__ = ["Case", "Measured", "code", "measured", "read", "timed_again", "write"]

_KEPT = "measured.json"


@dataclass(frozen=True)
class Case:
    """One scheme on one endpoint: figure -> (forecast, low, high, truth).

    The truth is None of what was forecast and could not be made, or not be measured.
    """

    subject: str
    scheme: str
    figures: Mapping[str, tuple[float, float, float, float | None]]
    margin: float
    very: bool
    """Its pilot was the very build."""

    def error(self, figure: str) -> float:
        """Of the forecast, relative; infinite where nothing came of it."""
        value, _, _, truth = self.figures.get(figure, (0.0, 0.0, 0.0, None))
        return math.inf if truth is None else abs(value / truth - 1)

    def held(self, figure: str) -> bool:
        value, low, high, truth = self.figures[figure]
        return truth is not None and Range(value, low, high).holds(truth)

    @property
    def loss(self) -> str:
        """The figure of the quality contract."""
        return next(name for name in self.figures if name.startswith("loss of "))

    @property
    def width_in_margins(self) -> float:
        _, low, high, _ = self.figures[self.loss]
        return (high - low) / self.margin

    @property
    def made(self) -> bool:
        return self.figures["latency_p50"][-1] is not None


@dataclass(frozen=True)
class Measured:
    """What one endpoint came to. Seconds are by the clock on the wall, and what was on record
    besides counts with what it took then."""

    cases: tuple[Case, ...]
    """As ``headgate preview`` forecasts."""
    few: tuple[Case, ...]
    """Of the schemes that are calibrated, forecast from pilots that were so on few items."""
    said_before: Mapping[str, str]
    """Scheme -> why there is nothing to forecast: it cannot be made, or changes nothing."""
    baseline_s: float
    """Of measuring the baseline, which a preview needs and does not count."""
    preview_s: float
    everything_s: float
    """Of making all candidates and evaluating them whole."""
    timed_at: str
    load: float
    """Average over the minute before the times were taken; above 1 others ran too."""
    code: str
    """Digest of what all but its times is by."""

    @property
    def share(self) -> float:
        return self.preview_s / self.everything_s


def code() -> str:
    """Digest of all that forecasts and measures, this module and the endpoints' too."""
    return code_digest("benchmarks.compression.forecast_cases", "headgate.optimize.footprint")


def read(name: str) -> Measured | None:
    """What the endpoint ``name`` came to by whichever code; None where it was not measured."""
    file = endpoint(name) / _KEPT
    if not file.exists():
        return None
    body = json.loads(file.read_text(encoding="utf-8"))
    cases = {key: tuple(map(_case_from, body[key])) for key in ("cases", "few")}
    return Measured(**{**body, **cases})


def _case_from(body: Mapping[str, Any]) -> Case:
    figures = {name: tuple(shown) for name, shown in body["figures"].items()}
    return Case(**{**body, "figures": figures})


def write(name: str, found: Measured) -> Measured:
    """Keeps ``found``."""
    (endpoint(name) / _KEPT).write_text(json.dumps(asdict(found)), encoding="utf-8")
    return found


def _now() -> tuple[str, float]:
    """The time, and the load average of the last minute."""
    return datetime.now(UTC).isoformat(timespec="minutes"), os.getloadavg()[0]


class _Watch:
    """Seconds since it was made, and of what was taken from an earlier process's record."""

    def __init__(self, job: Job) -> None:
        self._job, self._before = job, len(job.recorder.runs)
        self._since = time.perf_counter()

    def seconds(self) -> float:
        wall_s = time.perf_counter() - self._since
        asked = self._job.recorder.runs[self._before :]
        now = {run.entry for run in asked if not run.reused}
        return wall_s + sum({r.entry: r.seconds for r in asked if r.entry not in now}.values())


def measured(name: str) -> Measured:
    """The cases of one endpoint, forecast before any of them is made whole."""
    here = endpoint(name)
    config = load_config(here / "headgate.yaml")
    timed_at, load = _now()
    with Store.open(here / ".headgate", create=True) as store:
        job = open_job(config, store, Silent(), fresh=True)
        watch = _Watch(job)
        baseline = measure_baseline(job)
        baseline_s = watch.seconds()
        # Of what is evaluated whole in the time of a pilot nothing would be left to forecast.
        pilot_s = 0.0 if baseline.quality_run.seconds <= PILOT_S else PILOT_S
        watch = _Watch(job)
        outlook = preview(job, baseline, pilot_s=pilot_s)
        preview_s = watch.seconds()
        by_few = preview(job, baseline, pilot_s=pilot_s, calibrating_s=0.0)
        # What the preview rules out is measured all the same.
        seen = [f for f in outlook.forecasts if f.figures and NO_SMALLER not in f.skip]
        watch = _Watch(job)
        tried = _timed(job, baseline, [_whole(job, f) for f in seen])
        everything_s = watch.seconds()
        again = open_job(config, store, Silent(), fresh=True)  # what was weighed is weighed anew
        tried = [_weighed(again, t) for t in tried]
        few = _instead(tried, by_few)
        return Measured(
            tuple(_case(job, baseline, name, t, outlook) for t in tried),
            tuple(_case(job, baseline, name, t, by_few) for t in few),
            {f.name: f.skip for f in outlook.forecasts if f not in seen},
            baseline_s,
            preview_s,
            everything_s,
            timed_at,
            load,
            code(),
        )


def _instead(tried: Sequence[Tried], outlook: Outlook) -> list[Tried]:
    """``tried`` under the forecasts of ``outlook``, where its pilot was another build."""
    other = {f.name: f for f in outlook.forecasts if f.figures and f.name not in outlook.speed}
    return [replace(t, forecast=other[t.name]) for t in tried if t.name in other]


def _whole(job: Job, forecast: Forecast) -> Tried:
    """The candidate as ``optimize`` makes and evaluates it; without a build where that fails."""
    tried = Tried(forecast.name, forecast)
    try:
        build = make_build(forecast.name, Maker.of(job))
        job.register_build(build)
        quality, run = measure_quality(
            job.recorder,
            build,
            job.behaviour,
            dataset=job.inputs.versions["evaluate"],
            split="evaluate",
        )
    except HeadgateError as error:
        return replace(tried, skipped=str(error))
    return replace(tried, build=build, quality=quality, quality_run=run)


def _weighed(job: Job, tried: Tried) -> Tried:
    """With its memory; without where it cannot be weighed, and its forecast is then missed."""
    if tried.build is not None:
        with contextlib.suppress(HeadgateError):
            return replace(tried, memory=pilot_memory(job, tried.build))
    return tried


def _timed(job: Job, baseline: Baseline, tried: Sequence[Tried]) -> list[Tried]:
    """Their speed beside the baseline, and what else everything takes."""
    builds = [t.build for t in tried if t.build is not None]
    job.curves([[(build, 1)] for build in builds])
    speed = _blocks(job, [baseline.build, *builds])
    return [t if t.build is None else replace(t, speed=speed) for t in tried]


def _blocks(job: Job, builds: Sequence[Build]) -> SpeedBlocks:
    """As ``optimize`` times candidates; the first build is the baseline."""
    return measure_blocks(
        job.recorder, builds, job.behaviour, items=job.queries, n_blocks=CHOOSING_BLOCKS
    )


def _case(job: Job, baseline: Baseline, subject: str, tried: Tried, outlook: Outlook) -> Case:
    truths = {metric: truth for metric, truth, _ in measured_of(job, baseline, tried)}
    figures = {
        name: (f.range.value, f.range.low, f.range.high, truths.get(name))
        for name, f in tried.forecast.figures.items()
    }
    return Case(subject, tried.name, figures, job.contracts[0].limit, tried.name in outlook.speed)


def timed_again(name: str, known: Measured) -> Measured:
    """``known``, with its times and their forecasts taken anew."""
    here = endpoint(name)
    with Store.open(here / ".headgate", create=True) as store:
        job = open_job(load_config(here / "headgate.yaml"), store, Silent(), fresh=True)
        maker = Maker.of(job)
        schemes = [case.scheme for case in known.cases if case.made]
        builds = {scheme: make_build(scheme, maker) for scheme in schemes}
        other = [case.scheme for case in known.few if case.made]
        few = {p.name: p.build for p in make_pilots(job, other, calibrate=FEW_ITEMS) if p.build}
        timed_at, load = _now()
        speed = _blocks(job, [job.source.build, *builds.values()])

        def anew(cases: Sequence[Case]) -> tuple[Case, ...]:
            pilots = {c.scheme: (builds if c.very else few)[c.scheme] for c in cases if c.made}
            beside = pilot_blocks(job, job.source.build, [*pilots.values()])
            return tuple(
                _with_times(case, beside[pilots[case.scheme].name], pilots[case.scheme], speed)
                if case.scheme in pilots
                else case
                for case in cases
            )

        found = anew(known.cases), anew(known.few)
    return replace(known, cases=found[0], few=found[1], timed_at=timed_at, load=load)


def _with_times(case: Case, piloted: SpeedBlocks, pilot: Build, speed: SpeedBlocks) -> Case:
    forecast, truth = speeds_of(piloted, pilot.name), speeds_of(speed, case.scheme)
    times = {}
    for figure, ratios, shown in (
        ("latency_p50", forecast.p50_ratios, truth.p50_ratios),
        ("speedup", forecast.speedups, truth.speedups),
    ):
        r = ratio_to_come(ratios)
        times[figure] = (r.value, r.low, r.high, statistics.geometric_mean(shown))
    return replace(case, figures={**case.figures, **times})
