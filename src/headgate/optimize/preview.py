"""Looks at every candidate before it is paid for: what applies here, what is expected, what not.

What cannot be made, or must not be served, is said without measuring anything. Of the rest pilots
are run (``pilots``), and the pure previews of ``quantization`` and ``distillation`` turn their
figures into forecasts. A candidate that will almost certainly break a quality contract is not tried
either, nor one with a student that has no chance to be worth its training. Each forecast is an
entry of the ledger, so that it can be held against what was measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from headgate import amounts
from headgate.config import load_config
from headgate.distillation import HEADS, STUDENTS, Advice, break_even_requests
from headgate.engines.check import check_onnx
from headgate.errors import Undecided
from headgate.ledger import Store
from headgate.objects import Build, Contract
from headgate.optimize.as_it_is import as_it_is, replaces_another
from headgate.optimize.blocks import SpeedBlocks
from headgate.optimize.code import code_digest
from headgate.optimize.forecasts import (
    HOPELESS,
    Figure,
    Forecast,
    bytes_of,
    keep_forecast,
    read_scorecard,
    speeds_of,
)
from headgate.optimize.job import Job, open_job
from headgate.optimize.lacking import forbidden, lacks
from headgate.optimize.luck import Luck, calibration_luck
from headgate.optimize.making import CANNOT_BE_MADE, Maker
from headgate.optimize.making.heads import unanswered
from headgate.optimize.making.quantized import CALIBRATION_ITEMS
from headgate.optimize.measure import VECTORS
from headgate.optimize.pilots import (
    PilotBuild,
    PilotQuality,
    Unscored,
    invalid_metrics,
    make_pilots,
    pilot_blocks,
    pilot_memories,
    pilot_quality,
    quality_pilots,
)
from headgate.optimize.progress import Progress, Silent
from headgate.optimize.quality import QualitySamples
from headgate.optimize.recorder import clean_scratch
from headgate.optimize.rules import CHOOSING_BLOCKS, Rules, register_rules
from headgate.optimize.stages import Baseline, measure_baseline
from headgate.optimize.student_forecasts import StudentForecast, forecast_student
from headgate.planning import CANDIDATES, MENDED, Candidate
from headgate.planning.scorecard import Score
from headgate.quantization import (
    INT8_STATIC,
    ModelFacts,
    QuantizationForecast,
    Scheme,
    forecast,
)
from headgate.quantization.preview import (
    CALIBRATING_S,
    FEW_ITEMS,
    Pilot,
    QualityForecast,
    Side,
    pilot_items,
)
from headgate.quantization.speed import LEAST_GAIN
from headgate.release.estimate import MAX_ERRORED_SHARE

__all__ = [
    "DO_NOT_TRAIN",
    "FOR_SIZE",
    "LIKELY",
    "NO_GAIN",
    "NO_SMALLER",
    "PILOT_S",
    "Outlook",
    "Previewed",
    "preview",
    "preview_endpoint",
]

DO_NOT_TRAIN = "do not train"
FOR_SIZE = "for its size only"
NO_GAIN = "not worth it"
NO_SMALLER = "it makes the file no smaller, for want of operators that it quantizes"
LIKELY = 0.5
"""To keep its promises: a smaller chance is advised against."""
_TOO_MANY = f"more than {amounts.percent(MAX_ERRORED_SHARE, digits=0)} makes a measurement invalid"
_SMALLER = 0.98
"""Of the model's file: a scheme that leaves more than this has quantized next to nothing."""
PILOT_S = 3.0
"""Of the baseline's time: a pilot may look at as many items as it answers in that."""
_ANSWERING_S = 15.0
"""Of the minute that a preview may take: what that may come to of all pilots."""
_LEARNING_S = 15.0
"""Of the model's own time, what it may answer for so that a small student can be trained here."""
_PASSES_A_SAMPLE = 4
"""Of a forward pass in the model's precision, for each item that static scales are taken from."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of the candidates before the search begins."""

    forecasts: tuple[Forecast, ...]
    """One for each that the endpoint names."""
    speed: Mapping[str, SpeedBlocks] = field(default_factory=dict)
    """Of each pilot beside the baseline, by its build's name; a pilot that is the very build that
    ``optimize`` makes has the candidate's name."""


@dataclass(frozen=True, slots=True)
class Previewed:
    """What ``headgate preview`` found."""

    endpoint: str
    currency: str
    price_per_s: float
    forecasts: tuple[Forecast, ...]
    scorecard: tuple[Score, ...]
    scores: Mapping[str, float]
    """Quality metric -> the baseline's mean, of the items of which it says anything."""
    units: Mapping[str, str]
    """The same metrics -> ``share``, or nothing where a value is in the metric's own unit."""
    evaluated: int
    """Items of the split that chooses."""
    seconds: float
    """Of all pilots, as they were recorded; the baseline's own measurements are not among them."""
    as_it_is: str | None
    """Why `optimize` would not look for policies of the model as it is; empty where it would, None
    of a server that is not ours."""
    luck: tuple[Luck | str, ...] = ()
    """Of each candidate that is calibrated, where it was asked for; or why that is not known."""
    silent: tuple[str, ...] = ()
    """Own metrics that say nothing of some of the baseline's answers: of how many, what went wrong
    first, what to do."""


@dataclass(frozen=True, slots=True)
class _Student:
    """What is known of a student before it is trained."""

    forecast: StudentForecast | None
    unknown: str
    """Why nothing is, though it may be trained."""
    failed: str
    """Why it cannot be trained."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What all candidates are looked at with."""

    job: Job
    baseline: Baseline
    facts: ModelFacts
    memory_bytes: Mapping[str, int]
    """Pilot's candidate -> peak of a process that serves it, where it could be weighed."""
    of: Mapping[str, str]
    """What the forecasts are about."""
    pilots: Mapping[str, PilotBuild]
    students: Mapping[str, _Student]
    answers: Mapping[str, PilotQuality]
    """Of the pilots that could be made."""
    speed: Mapping[str, SpeedBlocks]
    """Of the pilots."""
    slow: Mapping[str, str]
    """Small student -> why it is not trained to be looked at."""
    distrusted: frozenset[str]
    """Previews whose forecasts of quality missed too often."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of one candidate."""

    name: str
    candidate: Candidate
    lacking: Sequence[str]
    """Why it cannot be tried; empty where it can."""
    pilot: PilotBuild | None
    student: _Student | None
    quantized: QuantizationForecast

    @property
    def made(self) -> PilotBuild | None:
        """Its pilot, where that could be made."""
        return None if self.pilot is None or self.pilot.build is None else self.pilot

    @property
    def looked(self) -> StudentForecast | None:
        return None if self.student is None else self.student.forecast

    @property
    def kind(self) -> str:
        """Whose forecast it is."""
        return "distillation" if self.candidate.student in STUDENTS else "quantization"

    @property
    def is_quantized(self) -> bool:
        """Whether anything is known of the model in its scheme; of a student in it nothing is."""
        return self.pilot is not None or (
            self.candidate.scheme.quantizes and self.candidate.student is None
        )

    @property
    def meets(self) -> float | None:
        """The chance to keep its quality contracts, where a pilot tells."""
        if self.looked is None:
            return self.quantized.meets
        # What fewer bits cost the student, nobody looked at.
        return None if self.candidate.scheme.quantizes else self.looked.meets

    @property
    def detail(self) -> Mapping[str, object]:
        """For the forecast's entry."""
        found: dict[str, object] = {"quantization": self.quantized} if self.is_quantized else {}
        if self.student is not None and not self.candidate.of_head:
            found["student"] = self.student.unknown if self.looked is None else self.looked.detail
        return found


def preview_endpoint(
    config_path: Path,
    *,
    store_root: Path | None = None,
    progress: Progress | None = None,
    fresh: bool = False,
    resamples: int | None = None,
) -> Previewed:
    """Everything that ``optimize`` knows before it makes a candidate.

    What is measured is recorded, and ``optimize`` takes it from there. ``resamples``: how often
    each calibrated candidate is calibrated again, to see how much luck is in it. Raises
    ``HeadgateError``.
    """
    config = load_config(config_path)
    root = store_root if store_root is not None else config.root / ".headgate"
    with Store.open(root, create=True) as store, store.lock(f"optimize-{config.endpoint}"):
        clean_scratch(store, config.endpoint)
        job = open_job(config, store, progress or Silent(), fresh=fresh)
        rules = register_rules(job)
        baseline = measure_baseline(job)
        before = job.recorder.asked
        forecasts = preview(job, baseline).forecasts
        seconds = job.recorder.seconds_since(before)
        return Previewed(
            config.endpoint,
            config.prices.currency,
            config.prices.device_second,
            forecasts,
            read_scorecard(store),
            scores := {
                metric: statistics.fmean(known)
                for metric, values in baseline.quality.scores.items()
                if (known := [v for v in values if v is not None])
            },
            {metric: _share_or_own(job, metric) for metric in scores},
            len(baseline.quality.items),
            seconds,
            None if baseline.build.foreign else _no_policies(job, baseline, rules),
            _luck(job, baseline, forecasts, resamples) if resamples is not None else (),
            tuple(_silent_metrics(job, baseline.quality)),
        )


def _no_policies(job: Job, baseline: Baseline, rules: Rules) -> str:
    """Why the model as it is could not win under policies of its own; empty where it could."""
    own = as_it_is(job, baseline, rules.certify)
    return own.skipped or replaces_another(job, baseline)


def _luck(
    job: Job, baseline: Baseline, forecasts: Iterable[Forecast], resamples: int
) -> tuple[Luck | str, ...]:
    found: list[Luck | str] = []
    for f in forecasts:
        if f.skip or not f.calibrated:
            continue
        try:
            luck = calibration_luck(
                Maker.of(job),
                job.behaviour,
                f.name,
                current=baseline.quality,
                own=job.own,
                resamples=resamples,
            )
        except CANNOT_BE_MADE as error:
            found.append(f"{f.name} cannot be calibrated on a resample: {error.what}")
        else:
            found.append(luck)
    return tuple(found)


def _silent_metrics(job: Job, of: QualitySamples) -> Iterator[str]:
    for metric, first in of.failures.items():
        items, lost = len(of.items), sum(value is None for value in of.scores[metric])
        specified = {**job.config.metrics, **job.config.safety}[metric]
        on_it = [c for c in job.contracts if c.metric.removeprefix("worst_slice_") == metric]
        counts = _what_follows(on_it, too_many=lost > MAX_ERRORED_SHARE * items)
        yield (
            f"{metric} says nothing of {lost:,} of {items:,} items of evaluate: {counts}. The "
            f"first: {first}. Correct {specified.function}, or the range declared for {metric}, "
            "and look again."
        )


def _what_follows(contracts: Sequence[Contract], *, too_many: bool) -> str:
    """From items of which a metric says nothing in the baseline's answers, for candidates under
    ``contracts`` on it: absolute ones ask what it says of a candidate's own, by the same rows."""
    relative = [c.describe() for c in contracts if c.bound.needs_current]
    absolute = [c.describe() for c in contracts if not c.bound.needs_current]
    said = []
    if relative and too_many:
        said.append(
            f"nothing is forecast of it, and no candidate can keep {', nor '.join(relative)}"
        )
    elif relative:
        said.append(f"each counts as lost by every candidate under {', and '.join(relative)}")
    if absolute and too_many:
        said.append(
            f"a candidate of which it says as little is invalid under {', and '.join(absolute)}"
        )
    elif absolute:
        said.append(
            f"each counts as lost under {', and '.join(absolute)} by a candidate of which it says "
            "nothing there either"
        )
    if not said:
        return "no contract holds a candidate against them"
    return f"{_TOO_MANY}, so " * too_many + "; and ".join(said)


def preview(
    job: Job,
    baseline: Baseline,
    *,
    pilot_s: float = PILOT_S,
    calibrating_s: float = CALIBRATING_S,
) -> Outlook:
    """A forecast for each candidate that the endpoint names.

    ``pilot_s``: of the baseline's time, what a pilot may look at more than the least, with few
    others beside it. ``calibrating_s``: that calibrating all pilots in full may take longer than on
    few items. None of a server that is not ours: no candidate could be made of it.
    """
    if baseline.build.foreign:
        return Outlook(())
    facts = check_onnx(job.store.path_of(job.source.build.files["model.onnx"]))
    lacking = _lacking(job, facts)
    able = [name for name, lack in lacking.items() if not lack]
    known = _measured(job, baseline, facts, able, pilot_s, calibrating_s)
    forecasts = tuple(_forecast(known, _seen(known, *each)) for each in lacking.items())
    return Outlook(forecasts, known.speed)


def _measured(
    job: Job,
    baseline: Baseline,
    facts: ModelFacts,
    able: Sequence[str],
    pilot_s: float,
    calibrating_s: float,
) -> _Known:
    """Runs the pilots of the candidates that are ``able`` to be tried."""
    # Said once: when one is made, the model has answered for others too.
    slow = {name: why for name in able if (why := _takes_long(job, baseline, name))}
    quick = [name for name in able if name not in slow]
    pilots, answers = _pilots(job, baseline, quick, pilot_s, calibrating_s)
    made = {name: pilot.build for name, pilot in pilots.items() if pilot.build is not None}
    students = [CANDIDATES[name].student or "" for name in able]
    return _Known(
        job=job,
        baseline=baseline,
        facts=facts,
        memory_bytes=pilot_memories(job, made),
        of={
            "endpoint": job.config.endpoint,
            "model": job.source.build.version,
            "dataset": job.inputs.versions["evaluate"],
            "workload": job.inputs.versions["workload"],
            "e": job.recorder.environment,
            "code": code_digest("headgate.optimize.pilots", "headgate.optimize.student_forecasts"),
        },
        pilots=pilots,
        slow=slow,
        students=_students(job, baseline, [name for name in students if name in STUDENTS]),
        answers=answers,
        speed=pilot_blocks(job, baseline.build, [*made.values()]) if made else {},
        distrusted=frozenset(
            score.preview
            for score in read_scorecard(job.store)
            if score.about == "quality" and score.trusted is False
        ),
    )


def _pilots(
    job: Job, baseline: Baseline, able: Sequence[str], pilot_s: float, calibrating_s: float
) -> tuple[Mapping[str, PilotBuild], Mapping[str, PilotQuality]]:
    """Of those ``able`` that take no long training and no repair: made small, or whole as small
    students are, and what those answered that could be."""
    cheap = [
        name
        for name in able
        if (CANDIDATES[name].student is None or CANDIDATES[name].of_head) and name != MENDED.name
    ]
    calibrate = pilot_items(
        min(len(job.inputs.calibrate), CALIBRATION_ITEMS),
        schemes=sum(CANDIDATES[name].scheme.needs_calibration for name in cheap),
        item_s=_calibrating_s(job, baseline),
        within_s=calibrating_s,
    )
    pilots = {pilot.name: pilot for pilot in make_pilots(job, cheap, calibrate=calibrate)}
    answers: dict[str, PilotQuality] = {}
    made = sum(pilot.build is not None for pilot in pilots.values())
    pilot_s = min(pilot_s, _ANSWERING_S / max(made, 1))
    for name, pilot in pilots.items():
        try:
            if pilot.build is not None:
                answers[name] = _answered(job, baseline, pilot.build, pilot_s)
        except CANNOT_BE_MADE as error:  # one candidate that does not run must not cost the others
            pilots[name] = replace(pilot, build=None, failed=error.what.splitlines()[0])
    return pilots, answers


def _takes_long(job: Job, baseline: Baseline, name: str) -> str:
    """Why a small student is not trained to be looked at; empty where it is, or is none."""
    candidate = CANDIDATES[name]
    if not candidate.of_head:
        return ""
    student = candidate.student or ""
    learnt = min(len(job.inputs.train), HEADS[student].max_items)
    most = learnt + (len(job.inputs.calibrate) if candidate.cascade else 0)
    if most * _request_s(job, baseline) <= _LEARNING_S:
        return ""
    yet = unanswered(Maker.of(job), student, cascade=candidate.cascade)
    asked = sum(yet.values())
    answering_s = asked * _request_s(job, baseline)
    if answering_s <= _LEARNING_S:
        return ""
    return (
        f"the model would have to answer {asked:,} items of "
        f"{' and '.join(f'data.{role}' for role in yet)} for it first, about "
        f"{amounts.seconds(answering_s)}, and a preview takes at most "
        f"{amounts.seconds(_LEARNING_S)} for that"
    )


def _request_s(job: Job, baseline: Baseline) -> float:
    """Of one item of the usual length, alone."""
    return baseline.curve.curve.predict_s(1, job.lengths[len(job.lengths) // 2])


def _lacking(job: Job, facts: ModelFacts) -> Mapping[str, Sequence[str]]:
    """Candidate -> why it is not tried, before anything is measured.

    What a contract forbids is measured after all where nothing else can be tried, so that the gate
    has evidence to refuse it by.
    """
    lacking = {name: lacks(job, CANDIDATES[name], facts) for name in job.config.candidates}
    able = [name for name, lack in lacking.items() if not lack]
    refused = {name: why for name in able if (why := forbidden(job, CANDIDATES[name]))}
    if len(refused) < len(able):
        lacking |= {name: [why] for name, why in refused.items()}
    return lacking


def _seen(known: _Known, name: str, lacking: Sequence[str]) -> _Seen:
    """What of ``known`` is of one candidate; ``lacking`` is what it lacks before any pilot."""
    candidate, pilot = CANDIDATES[name], known.pilots.get(name)
    if pilot is not None and pilot.build is None:
        lacking = [pilot.failed]
    student = None if lacking else known.students.get(candidate.student or "")
    if student is not None and student.failed:
        lacking = [student.failed]
    quantized = _quantized(known, candidate.scheme, pilot)
    return _Seen(name, candidate, lacking, pilot, student, quantized)


def _forecast(known: _Known, seen: _Seen) -> Forecast:
    """What is expected of one candidate, as an entry of the ledger."""
    made, looked, quantized = seen.made, seen.looked, seen.quantized
    skip, warnings = _decided(known, seen)
    training_s = None if looked is None else looked.training_s.value
    found = Forecast(
        name=seen.name,
        skip=skip,
        expected="" if skip else ", ".join(_expected(known, seen)),
        warnings=warnings,
        entry="",
        preview=seen.kind,
        figures=_figures(known.job, quantized)
        if made is not None
        else _student_figures(looked, seen.candidate.scheme),
        p50_s=quantized.p50_s,
        per_s=quantized.per_s,
        meets=seen.meets,
        n_required=quantized.n_required,
        making_s=training_s if made is None else _making_s(known, made),
        scoring_s=None
        if training_s is None and made is None
        else _scoring_s(known, made, quantized),
        advice=_advice(known, skip, seen),
        calibrated=made is not None and seen.candidate.scheme.needs_calibration,
        training=_training(known, seen),
    )
    kept = keep_forecast(known.job.store, found, of=known.of, detail=seen.detail)
    return replace(found, entry=kept)


def _decided(known: _Known, seen: _Seen) -> tuple[str, tuple[str, ...]]:
    """Why it is not tried, empty where it is; and what to beware of."""
    looked, warnings = seen.looked, (*seen.quantized.warnings, *_silent_pilot(known, seen))
    hopeless = _hopeless(seen.quantized) or (looked.hopeless if looked else "")
    if hopeless and seen.kind in known.distrusted:
        # What it rules out is never measured, so it could not win back its trust either.
        warnings += (f"forecasts of its quality are not to be trusted; this one says: {hopeless}",)
        hopeless = ""
    if hopeless and seen.name == INT8_STATIC.name and known.job.inputs.holdout is not None:
        warnings += (f"measured all the same, since it may be mended; {hopeless}",)
        hopeless = ""
    none_smaller = _no_smaller(known, seen.candidate, seen.quantized)
    return "; ".join(seen.lacking) or none_smaller or hopeless, warnings


def _silent_pilot(known: _Known, seen: _Seen) -> Iterator[str]:
    """What its own answers leave open, besides what is said of the baseline's."""
    if seen.made is None:
        return
    answers = known.answers[seen.name]
    for metric, found in invalid_metrics(known.job, answers, known.baseline.quality).items():
        if found.own:
            first = answers.samples.failures.get(metric)
            yield (
                f"{metric} says nothing of {found.own:,} of the {found.answered:,} items that "
                f"{seen.name} answered{_of_all(found)}: {_TOO_MANY}, and the candidate would be "
                "refused, so nothing is forecast of it" + (f". The first: {first}" if first else "")
            )


def _of_all(found: Unscored) -> str:
    """What the items that a pilot has no value of come to among all, where that is another number.

    >>> _of_all(Unscored(own=2, answered=200, stand_for=26.0, current=0, items=1300))
    ', standing for about 26 of 1,300'
    >>> _of_all(Unscored(own=2, answered=200, stand_for=2.0, current=1, items=200))
    ", with those of the baseline's answers 3 of 200"
    """
    whole = found.answered == found.items
    if whole and not found.current:
        return ""
    others = " with those of the baseline's answers" if found.current else ""
    about = "" if whole else " standing for about"
    # Rounded up, so that what is above the limit never reads as if it were at it.
    many = amounts.count(math.ceil(round(found.of_all, 6)))
    return f",{others}{about} {many} of {found.items:,}"


def _expected(known: _Known, seen: _Seen) -> list[str]:
    """In words."""
    said = _said(seen.quantized) if seen.is_quantized else []
    if seen.candidate.of_head:
        if seen.made is not None:
            return [*said, _training(known, seen)]
        return [*said, f"not forecast: {known.slow[seen.name]}"]
    return [*said, *(_said_of(seen.student) if seen.student is not None else [])]


def _training(known: _Known, seen: _Seen) -> str:
    """What training a small student took, and when requests that come alone earn it back, as its
    pilot's blocks timed them beside the model; of others nothing."""
    if seen.made is None or not seen.candidate.of_head:
        return ""
    assert seen.made.build is not None
    name = seen.made.build.name
    speed = known.speed[name]
    # The mean: those that a cascade asks its model too may be above its median.
    model_s, own_s = (
        statistics.fmean(s for row in speed.blocks for s in row[at].latencies_s)
        for at in (0, speed.names.index(name))
    )
    requests = break_even_requests(seen.made.seconds, model_s, own_s)
    earned = "which requests that come alone never earn back"
    if math.isfinite(requests):
        earned = f"earned back by {amounts.count(requests)} requests that come alone"
    return f"training took {amounts.seconds(seen.made.seconds)}, {earned}"


def _quantized(known: _Known, scheme: Scheme, pilot: PilotBuild | None) -> QuantizationForecast:
    job = known.job
    size = job.store.path_of(job.source.build.files["model.onnx"]).stat().st_size
    return forecast(
        scheme,
        known.facts,
        job.profile.flags,
        source_file_bytes=size,
        pilot=None if pilot is None or pilot.build is None else _pilot(known, pilot),
    )


def _answered(job: Job, baseline: Baseline, build: Build, pilot_s: float) -> PilotQuality:
    items = len(baseline.quality.items)
    return pilot_quality(
        job,
        build,
        vectors=baseline.quality_run.outputs[VECTORS],
        items=items,
        most=round(items * pilot_s / max(baseline.quality_run.seconds, 1e-3)),
    )


def _pilot(known: _Known, pilot: PilotBuild) -> Pilot:
    assert pilot.build is not None
    job = known.job
    name, answers = pilot.build.name, known.answers[pilot.name]
    speeds = speeds_of(known.speed[name], name)
    return Pilot(
        file_bytes=bytes_of(job.store, pilot.build),
        memory_bytes=known.memory_bytes.get(pilot.name),
        p50_ratios=speeds.p50_ratios,
        speedups=speeds.speedups,
        baseline_p50_s=speeds.baseline_p50_s,
        baseline_per_s=speeds.baseline_per_s,
        quality=quality_pilots(job, answers, known.baseline.quality),
        few=pilot.few,
        again=CANDIDATES[pilot.name].scheme.shared_scale and not answers.whole,
        invalid=tuple(invalid_metrics(job, answers, known.baseline.quality)),
    )


def _figures(job: Job, q: QuantizationForecast) -> Mapping[str, Figure]:
    assert q.p50_ratio is not None
    return {
        "file_bytes": Figure("size", "bytes", q.file_bytes),
        **(
            {"memory_bytes": Figure("memory", "bytes", q.memory_bytes)}
            if q.memory_bytes is not None
            else {}
        ),
        "latency_p50": Figure("speed", "times", q.p50_ratio),
        "speedup": Figure("speed", "times", q.speedup),
        **{_name(each): Figure("quality", _unit(job, each), each.range) for each in q.quality},
    }


def _student_figures(student: StudentForecast | None, scheme: Scheme) -> Mapping[str, Figure]:
    """Of a student in its model's own precision; what fewer bits cost it, its pilots do not say."""
    if student is None:
        return {}
    training = {"training_device_s": Figure("cost", "s", student.training_s)}
    if scheme.quantizes:
        return training
    return training | {
        f"loss of {metric}": Figure("quality", "points", lost)
        for metric, lost in student.loses.items()
    }


def _share_or_own(job: Job, metric: str) -> str:
    """As the report shows values of the metric."""
    return "share" if job.unit(metric) == "fraction" else ""


def _unit(job: Job, q: QualityForecast) -> str:
    """The same of what is forecast of it."""
    value = _share_or_own(job, q.metric)
    if q.side is Side.LOSS:
        return "points" if value else "difference"
    return value


def _name(q: QualityForecast) -> str:
    """``loss of recall@10``; the metric itself where its own value is promised."""
    return f"loss of {q.metric}" if q.side is Side.LOSS else q.metric


def _no_smaller(known: _Known, candidate: Candidate, q: QuantizationForecast) -> str:
    """Why a file of the scheme's own is not worth it, if so: none of it was quantized."""
    if not (q.piloted and candidate.scheme.makes_files):
        return ""
    if _smaller(known, q):
        return ""
    return f"ruled out by its pilot: {NO_SMALLER}"


def _smaller(known: _Known, q: QuantizationForecast) -> bool:
    source = bytes_of(known.job.store, known.baseline.build)
    return q.file_bytes.value < _SMALLER * source


def _hopeless(q: QuantizationForecast) -> str:
    worst = min(
        (each for each in q.quality if each.stops), key=lambda each: each.meets, default=None
    )
    if worst is None or worst.meets > HOPELESS:
        return ""
    shown = f"{worst.range.value:.3g} ({worst.range.low:.3g} to {worst.range.high:.3g})"
    return (
        f"ruled out by its pilot: {_name(worst)} would be {shown}, and the contract says "
        f"{worst.limit:.3g}: a chance of {worst.meets:.1%}, and {HOPELESS:.0%} is the least"
    ).replace("%", " %")


def _advice(known: _Known, skip: str, seen: _Seen) -> str:
    meets, looked = seen.meets, seen.looked
    if skip:
        return "not possible here" if seen.lacking else "leave it"
    if looked is not None and looked.advice is Advice.DO_NOT_TRAIN:
        return DO_NOT_TRAIN
    if seen.quantized.invalid:
        return "doubtful"
    likely = meets is None or meets >= LIKELY
    if seen.made is not None and not _gains(seen.quantized, at_best=True):
        return FOR_SIZE if likely and _smaller(known, seen.quantized) else NO_GAIN
    if meets is None:
        return "find out"
    gains = seen.made is None or _gains(seen.quantized, at_best=False)
    return "try it" if likely and gains else "doubtful"


def _gains(q: QuantizationForecast, *, at_best: bool) -> bool:
    """Whether it is faster in batches or alone by more than counts as a gain, as is expected or at
    the better end of the interval."""
    assert q.p50_ratio is not None
    speedup = q.speedup.high if at_best else q.speedup.value
    p50_ratio = q.p50_ratio.low if at_best else q.p50_ratio.value
    return max(speedup, 1 / p50_ratio) > LEAST_GAIN


def _said(q: QuantizationForecast) -> list[str]:
    said = [
        f"{q.speedup.low:.1f}x to {q.speedup.high:.1f}x the speed",
        amounts.size(q.file_bytes.value),
    ]
    if q.meets is not None:
        said.append(f"{amounts.percent(q.meets, digits=0)} likely to keep its quality contracts")
    return said


def _calibrating_s(job: Job, baseline: Baseline) -> float:
    """Of one item, about."""
    return _PASSES_A_SAMPLE * _request_s(job, baseline)


def _making_s(known: _Known, pilot: PilotBuild) -> float:
    if not pilot.few:
        return 0.0
    more = min(len(known.job.inputs.calibrate), CALIBRATION_ITEMS) - FEW_ITEMS
    return pilot.seconds + more * _calibrating_s(known.job, known.baseline)


def _scoring_s(known: _Known, pilot: PilotBuild | None, q: QuantizationForecast) -> float:
    """A student, of which there is no pilot here, is no slower than its teacher."""
    baseline = known.baseline
    alone_s = baseline.quality_run.seconds + baseline.invariance.run.seconds
    if pilot is None or pilot.build is None:
        return alone_s
    speed = known.speed[pilot.build.name]
    passes = len(speed.blocks) * len(speed.names)
    return alone_s / q.speedup.value + speed.run.seconds / passes * CHOOSING_BLOCKS


def _students(job: Job, baseline: Baseline, names: Iterable[str]) -> Mapping[str, _Student]:
    """Each student's forecast, or the words in its place; and why it cannot be made."""
    found = {}
    for name in dict.fromkeys(names):
        try:
            looked = forecast_student(job, baseline, name)
        except Undecided as error:
            found[name] = _Student(None, error.what, "")
        except CANNOT_BE_MADE as error:
            found[name] = _Student(None, "", error.what.splitlines()[0])
        else:
            if isinstance(looked, str):
                found[name] = _Student(None, looked, "")
            else:
                found[name] = _Student(looked, "", "")
    return found


def _said_of(student: _Student) -> list[str]:
    looked = student.forecast
    if looked is None:
        return [f"not forecast: {student.unknown}"]
    said = [
        f"{amounts.percent(r.value)} of {metric} lost ({amounts.percent(r.low)} to "
        f"{amounts.percent(r.high)})"
        for metric, r in looked.loses.items()
    ]
    said.append(
        f"training takes about {amounts.seconds(looked.training_s.value)}, earned back by "
        f"{amounts.count(looked.break_even_requests)} requests"
    )
    return said
