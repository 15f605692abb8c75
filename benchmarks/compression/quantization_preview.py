"""Does the quantization preview keep its word? Forecast first, then everything measured.

Every scheme on every subject: what the pilots said, what making and evaluating it whole then
showed, and what each of the two cost. Of a model that is evaluated whole in the time of a pilot
nothing would be left to forecast, so its pilots look at as few items as pilots ever do. What cannot
be made although a pilot said what it would be is a miss.

What is made is recorded in a store for each subject, so that a run that was stopped goes on where
it was. What a subject came to is kept in its ``measured.json`` for as long as the code is the same:
``.venv/bin/python -m benchmarks.compression.quantization_preview SUBJECT ...`` measures some,
``python -m benchmarks.compression quantization_preview`` those that are missing, and sums up.

Times want a machine of their own, and all else does not. ``--times`` takes the forecasts of p50 and
speed-up and what they are held against anew, of builds made whole, keeps the rest whichever code it
is by, and sums up. The line says of each subject when its times were taken, at which load average,
and whether the rest is by this code.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import combinations

from benchmarks.compression.previewed import SUBJECTS, endpoint
from benchmarks.convention import Target, at_least, at_most, finish
from headgate.config import load_config
from headgate.errors import HeadgateError
from headgate.ledger import Store
from headgate.objects import Build, digest
from headgate.optimize.blocks import SpeedBlocks, measure_blocks
from headgate.optimize.code import code_digest
from headgate.optimize.forecasts import Forecast, speeds_of
from headgate.optimize.job import Job, open_job
from headgate.optimize.making import Maker, make_build
from headgate.optimize.measure import measure_quality
from headgate.optimize.pilots import pilot_blocks, pilot_memory
from headgate.optimize.preview import NO_SMALLER, PILOT_S, preview
from headgate.optimize.progress import Silent
from headgate.optimize.rules import CHOOSING_BLOCKS
from headgate.optimize.scoring import measured_of
from headgate.optimize.stages import Baseline, Tried, measure_baseline
from headgate.planning.scorecard import Met, scorecard
from headgate.quantization.preview import ratio_to_come
from headgate.theory.intervals import Range

__all__ = ["quantization_preview"]

_QUICK = ("digits-mlp", "digits-conv")
_KEPT = "measured.json"
_APART = 1.1
"""Two schemes whose times are nearer than this have no right order."""


@dataclass(frozen=True)
class _Case:
    """One scheme on one subject: figure -> (forecast, low, high, truth).

    The truth is None of what was forecast and could not be made, or not be measured.
    """

    subject: str
    scheme: str
    figures: Mapping[str, tuple[float, float, float, float | None]]
    margin: float

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


@dataclass(frozen=True)
class _Measured:
    """What one subject came to."""

    cases: tuple[_Case, ...]
    said_before: Mapping[str, str]
    """Scheme -> why there is nothing to forecast: it cannot be made, or changes nothing."""
    pilots_s: float
    everything_s: float
    """Of making all candidates and evaluating them whole."""
    timed_at: str
    load: float
    """Average over the minute before the times were taken; above 1 others ran too."""
    code: str
    """Digest of what all but its times is by."""

    @property
    def share(self) -> float:
        return self.pilots_s / self.everything_s


def quantization_preview(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """All subjects; targets of the issue, over all cases."""
    return _summed({name: _kept(name) for name in (_QUICK if quick else SUBJECTS)}, quick=quick)


def _summed(
    found: Mapping[str, _Measured], *, quick: bool
) -> tuple[Mapping[str, Target], dict[str, object]]:
    cases = [case for each in found.values() for case in each.cases]
    held = sum(c.held(c.loss) for c in cases)
    targets = {
        "models": at_least(len(found), 2 if quick else 6),
        "model x scheme cases": at_least(len(cases), 10 if quick else 30),
        "losses in their 90 % interval, share": at_least(held / len(cases), 24 / 30),
        "width in margins, median": at_most(
            statistics.median(c.width_in_margins for c in cases), 2.0
        ),
        "size, largest error": at_most(max(c.error("file_bytes") for c in cases), 0.02),
        "memory, largest error": at_most(max(c.error("memory_bytes") for c in cases), 0.15),
        "p50, largest error": at_most(max(c.error("latency_p50") for c in cases), 0.2),
        "models over 60 s and over 5 % of everything": at_most(
            sum(each.pilots_s > 60 and each.share > 0.05 for each in found.values()), 0
        ),
    }
    return targets, {
        "p50 within 20 %, share": _share(c.error("latency_p50") <= 0.2 for c in cases),
        "memory within 15 %, share": _share(c.error("memory_bytes") <= 0.15 for c in cases),
        "held": {
            figure: _share(c.held(figure) for c in cases if figure in c.figures)
            for figure in ("latency_p50", "speedup")
        },
        "pairs in their order of speed, share": _share(
            right for each in found.values() for right in _in_order(each.cases)
        ),
        "scorecard": [s.describe() for s in scorecard(map(_met, cases))],
        "costs": {
            name: {"pilots_s": round(each.pilots_s, 1), "share": round(each.share, 3)}
            for name, each in found.items()
        },
        "measured": {
            name: {
                "timed at": each.timed_at,
                "load": round(each.load, 1),
                "all but times by this code": each.code == _code(),
            }
            for name, each in found.items()
        },
        "nothing to forecast": {
            name: each.said_before for name, each in found.items() if each.said_before
        },
        "cases": {f"{c.subject} {c.scheme}": c.figures for c in cases},
    }


def _share(answers: Iterator[bool]) -> float:
    every = list(answers)
    return sum(every) / len(every) if every else math.nan


def _met(case: _Case) -> Met:
    value, low, high, truth = case.figures[case.loss]
    of = f"{case.subject} {case.scheme}"
    seen = math.inf if truth is None else truth
    return Met(of, "quantization", "quality", Range(value, low, high), seen)


def _in_order(cases: Sequence[_Case]) -> Iterator[bool]:
    """Of each two that differ in speed: whether the forecast said which is the faster."""
    speeds = [c.figures["speedup"] for c in cases]
    for (a, _, _, one), (b, _, _, other) in combinations(speeds, 2):
        if one is not None and other is not None and max(one / other, other / one) > _APART:
            yield (a - b) * (one - other) > 0


def _code() -> str:
    return digest([code_digest(f"headgate.optimize.{m}") for m in ("preview", "scoring")])


def _kept(name: str) -> _Measured:
    """What the subject came to by this code; measured now if need be."""
    known = _read(name)
    if known is None or known.code != _code():
        known = _write(name, _measured(name))
    return known


def _read(name: str) -> _Measured | None:
    file = endpoint(name) / _KEPT
    if not file.exists():
        return None
    body = json.loads(file.read_text(encoding="utf-8"))
    return _Measured(**{**body, "cases": tuple(_Case(**case) for case in body["cases"])})


def _write(name: str, measured: _Measured) -> _Measured:
    (endpoint(name) / _KEPT).write_text(json.dumps(asdict(measured)), encoding="utf-8")
    return measured


def _now() -> tuple[str, float]:
    """The time, and the load average of the last minute."""
    return datetime.now(UTC).isoformat(timespec="minutes"), os.getloadavg()[0]


def _measured(name: str) -> _Measured:
    """The cases of one subject, forecast before any of them is made whole."""
    here = endpoint(name)
    config = load_config(here / "headgate.yaml")
    timed_at, load = _now()
    with Store.open(here / ".headgate", create=True) as store:
        job = open_job(config, store, Silent(), fresh=True)
        baseline = measure_baseline(job)
        before = len(job.recorder.runs)
        least = baseline.quality_run.seconds <= PILOT_S
        forecasts = preview(job, baseline, pilot_s=0.0 if least else PILOT_S).forecasts
        pilots_s = _seconds(job, before)
        # What the preview rules out is measured all the same.
        seen = [f for f in forecasts if f.figures and NO_SMALLER not in f.skip]
        before = len(job.recorder.runs)
        again = open_job(config, store, Silent(), fresh=True)  # what was weighed is weighed anew
        tried = _timed(job, baseline, [_whole(job, again, f) for f in seen])
        everything_s = _seconds(job, before)
        return _Measured(
            tuple(_case(job, baseline, name, t) for t in tried),
            {f.name: f.skip for f in forecasts if f not in seen},
            pilots_s,
            everything_s,
            timed_at,
            load,
            _code(),
        )


def _timed_again(name: str, known: _Measured) -> _Measured:
    """``known``, with its times and their forecasts taken anew."""
    here = endpoint(name)
    with Store.open(here / ".headgate", create=True) as store:
        job = open_job(load_config(here / "headgate.yaml"), store, Silent(), fresh=True)
        maker = Maker.of(job)
        made = [c.scheme for c in known.cases if c.figures["latency_p50"][-1] is not None]
        builds = [job.source.build, *(make_build(scheme, maker) for scheme in made)]
        timed_at, load = _now()
        piloted, speed = pilot_blocks(job, builds), _blocks(job, builds)
    cases = [_with_times(c, piloted, speed) if c.scheme in made else c for c in known.cases]
    return replace(known, cases=tuple(cases), timed_at=timed_at, load=load)


def _with_times(case: _Case, piloted: SpeedBlocks, speed: SpeedBlocks) -> _Case:
    pilot, truth = speeds_of(piloted, case.scheme), speeds_of(speed, case.scheme)
    times = {}
    for figure, ratios, shown in (
        ("latency_p50", pilot.p50_ratios, truth.p50_ratios),
        ("speedup", pilot.speedups, truth.speedups),
    ):
        r = ratio_to_come(ratios)
        times[figure] = (r.value, r.low, r.high, statistics.geometric_mean(shown))
    return replace(case, figures={**case.figures, **times})


def _seconds(job: Job, before: int) -> float:
    """Of the runs since; each once, also where it was on record."""
    return sum({run.entry: run.seconds for run in job.recorder.runs[before:]}.values())


def _whole(job: Job, again: Job, forecast: Forecast) -> Tried:
    """The candidate as ``optimize`` makes and evaluates it; without a build where that fails.

    ``again`` takes what ``job`` has measured of it another time.
    """
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
        memory = pilot_memory(again, build)
    except HeadgateError as error:
        return replace(tried, skipped=str(error))
    return replace(tried, build=build, quality=quality, quality_run=run, memory=memory)


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


def _case(job: Job, baseline: Baseline, subject: str, tried: Tried) -> _Case:
    truths = {metric: truth for metric, truth, _ in measured_of(job, baseline, tried)}
    figures = {
        name: (f.range.value, f.range.low, f.range.high, truths.get(name))
        for name, f in tried.forecast.figures.items()
    }
    return _Case(subject, tried.name, figures, job.contracts[0].limit)


def _main() -> int:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("subjects", nargs="*", choices=[[], *SUBJECTS], metavar="SUBJECT")
    given.add_argument("--times", action="store_true", help="take times anew, and sum up")
    asked = given.parse_args()
    wanted = asked.subjects or [*SUBJECTS]
    if asked.times:
        for name in wanted:
            _write(name, _timed_again(name, _read(name) or _measured(name)))
        kept = {name: known for name in SUBJECTS if (known := _read(name)) is not None}
        targets, details = _summed(kept, quick=False)
        return finish("compression.quantization_preview", targets, **details)
    for name in wanted:
        found = _kept(name)
        print(f"{name}: {len(found.cases)} cases, pilots {found.pilots_s:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
