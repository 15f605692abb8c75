"""What is expected of every candidate, what is not tried and why, and how it did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np
import pytest

from headgate.config import load_config
from headgate.config.schema import MetricSpec
from headgate.distillation import HEADS, Advice, HeadRecipe
from headgate.errors import EngineError, HeadgateError
from headgate.ledger import Store
from headgate.objects import Action, Bound, Contract
from headgate.optimize import pilots as pilots_module
from headgate.optimize import preview as preview_module
from headgate.optimize import scoring as scoring_module
from headgate.optimize.blocks import BlockTimes, SpeedBlocks
from headgate.optimize.evidence import paired
from headgate.optimize.forecasts import (
    HOPELESS,
    Figure,
    Forecast,
    Speeds,
    keep_forecast,
    keep_truth,
    read_scorecard,
    speeds_of,
)
from headgate.optimize.job import Job, open_job
from headgate.optimize.making import Maker, make_build
from headgate.optimize.pilots import (
    PilotQuality,
    invalid_metrics,
    pilot_quality,
    quality_pilots,
)
from headgate.optimize.preview import PILOT_S, _no_policies, preview
from headgate.optimize.progress import Silent
from headgate.optimize.quality import QualitySamples
from headgate.optimize.rules import Rules, register_rules
from headgate.optimize.scoring import hold_to_forecasts, measured_of, weighed
from headgate.optimize.searching import Trials
from headgate.optimize.stages import Baseline, Tried, measure_baseline
from headgate.optimize.student_forecasts import StudentForecast
from headgate.optimize.subset import Drawn
from headgate.planning import TRIED_BY_DEFAULT
from headgate.planning.scorecard import Score
from headgate.quantization.preview import QualityPilot, Side
from headgate.release.estimate import Estimate, NoEstimate, estimate_items
from headgate.theory.intervals import Range
from headgate.theory.strata import Stratum
from tests.models import tiny_classifier, tiny_embedder, tiny_tokenizer

from .fakes import RUN, contract

EVERYTHING = {"openvino": "1", "nncf": "1", "torch": "1", "transformers": "1"}
FLAGS = ("avx2", "avx512_vnni", "avx512_bf16")
WORDS = ("red", "green", "blue", "cold", "warm", "fast", "slow", "big", "small", "new")
YAML = """\
endpoint: docs
owner: {team: search, escalate: "command:true"}
task: embed
model: {onnx: model.onnx, tokenizer: tokenizer.json, max_tokens: 24}
data: {evaluate: evaluate.jsonl, calibrate: calibrate.jsonl, train: train.jsonl}
workload: {rate_per_s: 50, requests: 40}
prices: {device_second: 0.00002}
candidates: [int8_dynamic]
contracts:
  recall@10: {not_below_current_by: 0.1, why: a test, on_breach: rollback}
  agreement@10: {at_least: 0.2, why: a test, on_breach: warn}
"""


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedder with just enough weights for quantization to be worth it, and what it needs."""
    root = tmp_path_factory.mktemp("docs")
    tiny_embedder(root / "model.onnx", hidden=400, dim=256)
    tiny_tokenizer(root / "tokenizer.json")
    texts = [f"{a} {b} {k}" for k, (a, b) in enumerate((a, b) for a in WORDS for b in WORDS[:6])]
    passages: list[dict[str, object]] = [{"id": f"p{i}", "passage": t} for i, t in enumerate(texts)]
    queries: list[dict[str, object]] = [
        {"id": f"q{i}", "query": t[:-1], "relevant": [f"p{i}"]} for i, t in enumerate(texts)
    ]
    write(root / "evaluate.jsonl", passages + queries)
    for name in ("calibrate", "train"):
        write(root / f"{name}.jsonl", [{"id": f"{i}", "text": f"{name} {i}"} for i in range(30)])
    (root / "headgate.yaml").write_text(YAML, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def measured(here: Path) -> Iterator[tuple[Job, Baseline]]:
    """The job with its baseline, on a machine that has everything."""
    with (
        Store.open(here / ".headgate", create=True) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("headgate.optimize.job._CURVE_BUDGET_S", 0.0)
        job = open_job(load_config(here / "headgate.yaml"), store, Silent(), fresh=False)
        profile = replace(job.profile, libraries={**job.profile.libraries, **EVERYTHING})
        yield replace(job, profile=replace(profile, flags=FLAGS)), measure_baseline(job)


@pytest.fixture(autouse=True)
def nothing_is_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started to weigh a build: that takes seconds, and has a test of its own."""
    monkeypatch.setattr(
        preview_module, "pilot_memories", lambda job, builds: dict.fromkeys(builds, 10**8)
    )


@pytest.fixture(autouse=True)
def students(monkeypatch: pytest.MonkeyPatch) -> list[StudentForecast | str | HeadgateError]:
    """What is forecast of any student, in the first place; how it is has tests of its own."""
    said: list[StudentForecast | str | HeadgateError] = [student_forecast()]

    def forecast(job: Job, baseline: Baseline, name: str) -> StudentForecast | str:
        if isinstance(said[0], HeadgateError):
            raise said[0]
        return said[0]

    monkeypatch.setattr(preview_module, "forecast_student", forecast)
    return said


def student_forecast(**changes: object) -> StudentForecast:
    """A student that loses three points of recall and takes a minute and a half."""
    return replace(
        StudentForecast(
            loses={"recall@10": Range(0.03, 0.01, 0.05)},
            meets=0.3,
            training_s=Range(90.0, 70.0, 120.0),
            break_even_requests=5000.0,
            advice=Advice.LEARN_MORE,
            hopeless="",
            pilots_share=0.1,
            run=RUN,
        ),
        **changes,  # type: ignore[arg-type]  # a test's own
    )


def look(
    measured: tuple[Job, Baseline],
    *candidates: str,
    pilot_s: float = PILOT_S,
    **changes: object,
) -> dict[str, Forecast]:
    """The forecasts where nothing is missing but what ``changes`` take away."""
    job, baseline = measured
    config = replace(job.config, candidates=candidates or job.config.candidates)
    changed = replace(job, config=config, **changes)  # type: ignore[arg-type]  # a test's own
    return {f.name: f for f in preview(changed, baseline, pilot_s=pilot_s).forecasts}


def test_a_pilot_forecasts_all_that_will_be_measured(measured: tuple[Job, Baseline]) -> None:
    """Size, memory, speed and quality with an interval each, and what finding out takes."""
    found = look(measured)["int8_dynamic"]
    assert found.skip == ""
    assert list(found.figures) == [
        "file_bytes",
        "memory_bytes",
        "latency_p50",
        "speedup",
        "loss of recall@10",
        "agreement@10",
    ]
    assert all(f.range.low <= f.range.value <= f.range.high for f in found.figures.values())
    assert found.meets is not None
    assert found.cost_s is not None
    assert found.cost_s > 0
    assert "likely to keep its quality contracts" in found.expected


def test_the_forecast_is_one_entry_however_often_it_is_asked_for(
    measured: tuple[Job, Baseline],
) -> None:
    """Pilots are recorded, so the second look runs none and says the same."""
    job, _ = measured
    first, before = look(measured)["int8_dynamic"], len(job.recorder.runs)
    second = look(measured)["int8_dynamic"]
    assert second.entry == first.entry
    assert all(run.reused for run in job.recorder.runs[before:])
    body = job.store.get(first.entry).body
    assert body["of"]["model"] == job.source.build.version
    assert body["of"]["code"].startswith("sha256:")
    assert body["figures"]["loss of recall@10"]["about"] == "quality"


def wholly(job: Job, baseline: Baseline, forecast: Forecast) -> Tried:
    """The candidate, measured to the end and judged by nobody."""
    trials = Trials(
        job, cast("Rules", None), baseline, {forecast.name: Tried(forecast.name, forecast)}
    )
    made = trials._scored(trials._made(trials.tried[forecast.name]))
    return replace(made, speed=trials._blocks([made], 9)[forecast.name])


@pytest.fixture
def small_pilots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they may look at no more than the least, that is twenty of the sixty queries."""
    monkeypatch.setattr(pilots_module, "_LEAST_ITEMS", 20)


@pytest.mark.usefixtures("small_pilots")
def test_the_truth_is_joined_to_the_forecast_once(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each figure that was forecast and is measured becomes a score, which the scorecard counts;
    of memory, that of the one candidate that is worth weighing, where its pilot was another."""
    monkeypatch.setattr(scoring_module, "pilot_memory", lambda job, build: (10**8, RUN))
    job, baseline = measured
    found = look(measured, pilot_s=0.0)
    assert found["int8_dynamic"].figures["memory_bytes"].known
    of_another = {"memory_bytes": Figure("memory", "bytes", Range(1e8, 0.95e8, 1.05e8))}
    found["int8_dynamic"] = replace(
        found["int8_dynamic"], figures={**found["int8_dynamic"].figures, **of_another}
    )
    tried = [wholly(job, baseline, found["int8_dynamic"])]
    assert weighed(job, tried, "another") == tuple(tried)
    for _ in range(2):
        hold_to_forecasts(job, baseline, weighed(job, tried, "int8_dynamic"))
    scores = scores_of(job.store, found["int8_dynamic"])
    assert Counter(body["about"] for body in scores) == {
        "memory": 1,
        "speed": 2,  # throughput is the speed-up in another unit
        "quality": 2,
    }
    assert len({body["of"] for body in scores}) == len(scores)
    of = {body["metric"]: body for body in scores}
    assert of["memory_bytes"]["truth"] == 10**8
    assert of["loss of recall@10"]["held"]


def test_what_pilots_may_answer_for_is_shared_among_them(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a minute that all of them have; one alone is held to its own limit."""
    asked: list[int] = []
    monkeypatch.setattr(preview_module, "_ANSWERING_S", 2 * PILOT_S)

    def answered(*given: Any, most: int, **rest: Any) -> PilotQuality:
        asked.append(most)
        return pilot_quality(*given, most=most, **rest)

    monkeypatch.setattr(preview_module, "pilot_quality", answered)
    look(measured, "int8_dynamic")
    look(measured, "int8_dynamic", "int8_static_qdq", "int8_weights", "fp16")
    alone, *shared = asked
    assert len(shared) == 3, "fp16 cannot be made here, and takes no share"
    assert all(most == pytest.approx(alone * 2 / 3, abs=1) for most in shared)


def scores_of(store: Store, forecast: Forecast) -> list[Mapping[str, Any]]:
    return [e.body for e in store.entries("score") if e.body["forecast"] == forecast.entry]


def test_what_the_preview_measured_of_the_very_build_was_no_forecast(
    measured: tuple[Job, Baseline],
) -> None:
    """So few items are evaluated at once, and not again; that it comes out so is no credit."""
    job, baseline = measured
    found = look(measured)["int8_dynamic"]
    assert found.figures["loss of recall@10"].known
    before = len(job.recorder.runs)
    tried = wholly(job, baseline, found)
    (whole,) = [r for r in job.recorder.runs[before:] if r.name == "measure.quality"]
    assert whole.reused
    hold_to_forecasts(job, baseline, [tried])
    assert {s["metric"] for s in scores_of(job.store, found)} == {"latency_p50", "speedup"}


def test_a_machine_that_is_slower_by_now_is_no_error_of_the_forecast(
    measured: tuple[Job, Baseline],
) -> None:
    """The truth is what the candidate takes beside the baseline, and no product of what two runs
    measured: whoever looks at the run that it cites finds it there."""
    job, baseline = measured
    found = look(measured)["int8_dynamic"]
    tried = wholly(job, baseline, found)
    assert tried.speed is not None
    slow = replace(tried, speed=slower(tried.speed, 3.0))
    first, then = ({m: v for m, v, _ in measured_of(job, baseline, t)} for t in (tried, slow))
    for metric in ("latency_p50", "speedup"):
        assert then[metric] == pytest.approx(first[metric])
        assert found.figures[metric].unit == "times"
    p50_ratios = speeds_of(tried.speed, tried.name).p50_ratios
    assert min(p50_ratios) <= first["latency_p50"] <= max(p50_ratios)
    assert found.p50_s is not None
    assert found.per_s is not None


def slower(speed: SpeedBlocks, times: float) -> SpeedBlocks:
    """The same on a machine that takes so many times as long for everything."""

    def slowed(each: BlockTimes) -> BlockTimes:
        return BlockTimes(tuple(times * s for s in each.latencies_s), times * each.batched_s)

    return replace(speed, blocks=tuple(tuple(map(slowed, row)) for row in speed.blocks))


def met(
    store: Store, name: str, about: str, truth: float, *, said: str = "", e: str = "here"
) -> list[tuple[int, int]]:
    """(how many, how many held) once a forecast of 1 to 3 has met ``truth``."""
    figures = {"it": Figure(about, "bytes", Range(2.0, 1.0, 3.0))}
    forecast = Forecast(name, "", said, (), "", figures=figures)
    entry = keep_forecast(store, forecast, of={"endpoint": "docs", "e": e}, detail={})
    keep_truth(store, replace(forecast, entry=entry), "it", truth, run="sha256:run")
    return [(s.n, s.held) for s in read_scorecard(store)]


def test_the_same_measured_anew_is_one_comparison(store: Store) -> None:
    """Another forecast of the same thing, and its truth again: as the last time, and once."""
    assert met(store, "bf16", "memory", 2.0) == [(1, 1)]
    assert met(store, "bf16", "memory", 9.0, said="anew") == [(1, 0)]
    assert met(store, "bf16", "memory", 2.0, e="elsewhere") == [(2, 1)]
    assert met(store, "int8_static", "memory", 2.0) == [(3, 2)]


def test_a_student_is_trained_once_for_all_its_precisions(store: Store) -> None:
    """What that took meets the forecasts of all of them, and is one comparison."""
    assert met(store, "student3", "cost", 2.0) == [(1, 1)]
    assert met(store, "student3_int8_static", "cost", 2.0) == [(1, 1)]
    assert met(store, "student4", "cost", 2.0) == [(2, 2)]


CALIBRATED = ("int8_static_qdq",)


def test_a_pilot_that_is_the_real_build_is_not_made_again(measured: tuple[Job, Baseline]) -> None:
    """Calibrating in full takes little here: the search finds build and times on record."""
    job, baseline = measured
    config = replace(job.config, candidates=CALIBRATED)
    outlook = preview(replace(job, config=config), baseline)
    (found,) = outlook.forecasts
    assert set(outlook.speed) == {"fp32", "int8_static_qdq"}
    assert found.figures["file_bytes"].known
    before = len(job.recorder.runs)
    wholly(job, baseline, found)
    (made,) = [run for run in job.recorder.runs[before:] if run.name == "quantize"]
    assert made.reused


def test_where_calibrating_takes_long_the_pilot_has_few_items_and_another_name(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another build than the one to come, and its interval says so."""
    monkeypatch.setattr(preview_module, "_PASSES_A_SAMPLE", 1e9)
    job, baseline = measured
    config = replace(job.config, candidates=CALIBRATED)
    outlook = preview(replace(job, config=config), baseline)
    (found,) = outlook.forecasts
    assert set(outlook.speed) == {"fp32", "int8_static_qdq, calibrated on 16"}
    assert not found.figures["file_bytes"].known
    assert not found.figures["loss of recall@10"].known


@pytest.mark.parametrize(
    ("speed", "small", "advice"),
    [
        ((2.0, 1.8), True, "try it"),
        ((0.5, 2.0), True, "try it"),
        ((0.96, 0.96), True, "for its size only"),
        ((0.5, 0.4), True, "for its size only"),
        ((0.5, 0.4), False, "not worth it"),
    ],
    ids=["faster", "faster alone", "hardly slower", "slower", "slower and no smaller"],
)
def test_advice_follows_from_the_speed_too(
    measured: tuple[Job, Baseline],
    monkeypatch: pytest.MonkeyPatch,
    speed: tuple[float, float],
    small: bool,
    advice: str,
) -> None:
    """(in batches, alone), as a factor. What keeps every promise and is slower saves nothing but
    room."""
    batched, alone = speed
    monkeypatch.setattr(
        preview_module,
        "speeds_of",
        lambda *_: Speeds((1 / alone,) * 4, (batched,) * 4, 0.001, 900.0),
    )
    if not small:
        monkeypatch.setattr(preview_module, "_smaller", lambda *_: False)
        monkeypatch.setattr(preview_module, "_no_smaller", lambda *_: "")
    kept = QualityPilot("recall@10", Side.LOSS, 0.1, 1.0, (Stratum(60, (0.0,) * 60),))
    monkeypatch.setattr(preview_module, "quality_pilots", lambda *_: (kept,))
    assert look(measured)["int8_dynamic"].advice == advice


def test_where_a_gain_is_as_likely_as_none_the_advice_is_doubtful(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the better end of its interval it is faster, and in the middle it is not."""
    mixed = Speeds((1.1, 1.0, 1.1, 1.0), (0.9, 1.1, 1.0, 1.0), 0.001, 900.0)
    monkeypatch.setattr(preview_module, "speeds_of", lambda *_: mixed)
    kept = QualityPilot("recall@10", Side.LOSS, 0.1, 1.0, (Stratum(60, (0.0,) * 60),))
    monkeypatch.setattr(preview_module, "quality_pilots", lambda *_: (kept,))
    assert look(measured)["int8_dynamic"].advice == "doubtful"


def with_own_metric(job: Job) -> Job:
    """``far`` is an error in seconds; ``worth`` lies between 0 and 1."""
    far = MetricSpec(function="own:far", direction="lower_is_better", range=(0, 60))
    worth = MetricSpec(function="own:worth")
    return replace(job, config=replace(job.config, metrics={"far": far, "worth": worth}))


def test_values_of_own_metrics_keep_their_unit(measured: tuple[Job, Baseline]) -> None:
    """A share only where the declared range is that of one."""
    job = with_own_metric(measured[0])
    units = {m: preview_module._share_or_own(job, m) for m in ("far", "worth", "recall@10")}
    assert units == {"far": "", "worth": "share", "recall@10": "share"}


RELATIVE, ABSOLUTE = Bound.NOT_ABOVE_CURRENT_BY, Bound.AT_MOST


@pytest.mark.parametrize(
    ("lost", "bounds", "counts"),
    [
        (1, [RELATIVE], "each counts as lost by every candidate under far not above current by 6"),
        (
            60,
            [RELATIVE],
            "more than 1 % makes a measurement invalid, so nothing is forecast of it, and no "
            "candidate can keep far not above current by 6",
        ),
        (
            2,
            [ABSOLUTE],
            "each counts as lost under far at most 6 by a candidate of which it says nothing there "
            "either",
        ),
        (
            3,
            [ABSOLUTE],
            "more than 1 % makes a measurement invalid, so a candidate of which it says as little "
            "is invalid under far at most 6",
        ),
        (
            60,
            [RELATIVE, ABSOLUTE],
            "more than 1 % makes a measurement invalid, so nothing is forecast of it, and no "
            "candidate can keep far not above current by 6; and a candidate of which it says as "
            "little is invalid under far at most 6",
        ),
        (1, [], "no contract holds a candidate against them"),
        (60, [], "no contract holds a candidate against them"),
    ],
)
def test_a_metric_that_says_nothing_of_some_items_is_told_of(
    measured: tuple[Job, Baseline], lost: int, bounds: list[Bound], counts: str
) -> None:
    """How many, what follows from it, what went wrong first, and what to do. A contract that does
    not look at current may be kept all the same, by a candidate of which the metric says more."""
    terms = tuple(contract("far", bound, 6) for bound in bounds)
    job = replace(with_own_metric(measured[0]), contracts=terms)
    n = 200
    samples = replace(
        measured[1].quality,
        items=tuple(f"q{i}" for i in range(n)),
        slices=((),) * n,
        scores={"far": (None,) * lost + (5.5,) * (n - lost)},
        failures={"far": "it raised KeyError: 'truth' (own.py:2) for item 'q0'"},
    )
    (said,) = preview_module._silent_metrics(job, samples)
    assert said.startswith(f"far says nothing of {lost} of 200 items of evaluate: {counts}. ")
    assert "The first: it raised KeyError: 'truth' (own.py:2) for item 'q0'. " in said
    assert "Correct own:far, or the range declared for far" in said
    for each in terms:  # of a candidate that reads the same rows
        silent = paired("far", samples, samples, job.own)
        assert silent is not None
        assert isinstance(estimate_items(each, silent), NoEstimate) is ("makes" in said)


def test_of_a_metric_whose_measurement_is_invalid_nothing_is_forecast(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The few items that it says something of are not those that the gate would look at."""
    job, baseline = measured
    quality = baseline.quality
    broken = (None, *quality.scores["recall@10"][1:])
    lost = replace(quality, scores={**quality.scores, "recall@10": broken})
    found = look((job, replace(baseline, quality=lost)))["int8_dynamic"]
    assert "loss of recall@10" not in found.figures
    assert "agreement@10" in found.figures
    assert found.meets is None, "whatever is likely of the others"


N = 200


def far_off(lost: tuple[int, ...], of: tuple[int, ...] = tuple(range(N))) -> QualitySamples:
    """Five seconds off everywhere, but for the ``lost`` items, of which nothing is said."""
    return QualitySamples(
        tuple(f"q{i}" for i in of),
        ((),) * len(of),
        {"far": tuple(None if i in lost else 5.0 for i in of)},
        ((0.0,),) * len(of),
    )


@pytest.mark.parametrize(
    ("bound", "ours", "theirs", "seen"),
    [
        (RELATIVE, (0, 1), (), [60.0, 60.0]),
        (RELATIVE, (), (0, 1), [60.0, 60.0]),
        (ABSOLUTE, (0, 1), (), [60.0, 60.0]),
        (ABSOLUTE, (), tuple(range(60)), [5.0, 5.0]),
        (RELATIVE, (0, 1, 2), (), None),
        (RELATIVE, (0, 1), (2,), None),
        (RELATIVE, (), (0, 1, 2), None),
        (ABSOLUTE, (0, 1, 2), (), None),
    ],
)
def test_what_a_metric_says_nothing_of_is_forecast_as_the_gate_counts_it(
    measured: tuple[Job, Baseline],
    bound: Bound,
    ours: tuple[int, ...],
    theirs: tuple[int, ...],
    seen: list[float] | None,
) -> None:
    """As the greatest loss, of either side or the candidate's alone; and where the gate will find
    the measurement invalid, nothing is forecast."""
    job = replace(with_own_metric(measured[0]), contracts=(contract("far", bound, 6),))
    candidate, current = far_off(ours), far_off(theirs)
    pilot = PilotQuality(Drawn(((N, tuple(range(N))),)), candidate, RUN)
    judged = paired("far", candidate, current, job.own)
    assert judged is not None
    by_gate = estimate_items(job.contracts[0], judged)
    if seen is None:
        assert isinstance(by_gate, NoEstimate)
        assert quality_pilots(job, pilot, current) == ()
        (unscored,) = invalid_metrics(job, pilot, current).values()
        lost = {*ours, *(theirs if bound is RELATIVE else ())}
        assert (unscored.own, unscored.answered) == (len(ours), N)
        assert (unscored.of_all, unscored.items) == (len(lost), N)
        return
    (found,) = quality_pilots(job, pilot, current)
    ((size, values),) = ((s.size, s.values) for s in found.strata)
    assert (size, len(values), list(values[:2])) == (N, N, seen)
    assert isinstance(by_gate, Estimate)
    assert fmean(values) == pytest.approx(by_gate.value)
    assert invalid_metrics(job, pilot, current) == {}


@pytest.mark.parametrize(
    ("bound", "ours", "theirs", "truth"),
    [
        (RELATIVE, (0, 1), (), 2 * 60 / N),
        (RELATIVE, (), (0, 1), 2 * 60 / N),
        (ABSOLUTE, (0, 1), (), (2 * 60 + 198 * 5) / N),
        (ABSOLUTE, (), tuple(range(60)), 5.0),
        (RELATIVE, (0, 1, 2), (), None),
        (RELATIVE, (), (0, 1, 2), None),
        (ABSOLUTE, (0, 1, 2), (), None),
    ],
)
def test_what_a_metric_says_nothing_of_counts_in_the_truth_as_in_the_forecast(
    measured: tuple[Job, Baseline],
    bound: Bound,
    ours: tuple[int, ...],
    theirs: tuple[int, ...],
    truth: float | None,
) -> None:
    """A forecast of all items is exact, and its truth is that number; where the gate finds the
    measurement invalid, neither is there."""
    job, baseline = measured
    found = look(measured)["int8_dynamic"]
    candidate, current = far_off(ours), far_off(theirs)
    tried = replace(wholly(job, baseline, found), quality=candidate)
    job = replace(with_own_metric(job), contracts=(contract("far", bound, 6),))
    pilot = PilotQuality(Drawn(((N, tuple(range(N))),)), candidate, RUN)
    forecast = [fmean(s.values) for q in quality_pilots(job, pilot, current) for s in q.strata]
    metric = "loss of far" if bound is RELATIVE else "far"
    truths = [v for m, v, _ in measured_of(job, replace(baseline, quality=current), tried)
              if m == metric]  # fmt: skip
    assert truths == pytest.approx(forecast)
    assert truths == ([] if truth is None else pytest.approx([truth]))


@pytest.mark.parametrize(
    ("lost", "theirs", "of_all"),
    [
        ((150,), (), None),
        ((0, 1), (), None),
        ((150, 151), (), 4),
        ((150,), (120,), 3),
        ((150,), (150,), None),
        ((150,), (120, 121, 122), 5),
    ],
)
def test_what_was_drawn_stands_for_its_stratum(
    measured: tuple[Job, Baseline],
    lost: tuple[int, ...],
    theirs: tuple[int, ...],
    of_all: float | None,
) -> None:
    """One of a stratum that was drawn by half is two of all; more than two are too many of 200. Of
    the baseline those are known that were not drawn."""
    job = replace(with_own_metric(measured[0]), contracts=(contract("far", RELATIVE, 6),))
    which = Drawn(((100, tuple(range(100))), (100, tuple(range(150, 200)))))
    pilot = PilotQuality(which, far_off(lost, which.items), RUN)
    found = invalid_metrics(job, pilot, far_off(theirs))
    assert [each.of_all for each in found.values()] == ([] if of_all is None else [of_all])


@pytest.mark.usefixtures("small_pilots")
def test_of_a_part_it_is_said_what_it_stands_for(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the ten that were drawn of the fifteen next to the boundary stands for 1.5 of them."""
    monkeypatch.setattr(preview_module, "pilot_quality", losing_the_first)
    found = look(measured, pilot_s=0.0)["int8_dynamic"]
    assert found.warnings[-1] == (
        "recall@10 says nothing of 1 of the 20 items that int8_dynamic answered, standing for "
        "about 2 of 60: more than 1 % makes a measurement invalid, and the candidate would be "
        "refused, so nothing is forecast of it"
    )


def losing_the_first(*args: Any, **kwargs: Any) -> PilotQuality:
    """A pilot of whose first answer ``recall@10`` says nothing."""
    pilot = pilot_quality(*args, **kwargs)
    scores = pilot.samples.scores
    lost = (None, *scores["recall@10"][1:])
    return replace(pilot, samples=replace(pilot.samples, scores={**scores, "recall@10": lost}))


def test_a_candidate_of_which_a_metric_says_too_little_is_not_recommended(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However well it does elsewhere: the gate accepts nothing with an invalid measurement."""
    monkeypatch.setattr(preview_module, "pilot_quality", losing_the_first)
    fast = Speeds((0.5, 0.5, 0.5, 0.5), (2.0, 2.0, 2.0, 2.0), 0.001, 900.0)
    monkeypatch.setattr(preview_module, "speeds_of", lambda *_: fast)
    found = look(measured)["int8_dynamic"]
    assert "loss of recall@10" not in found.figures
    assert (found.skip, found.meets, found.n_required, found.advice) == ("", None, None, "doubtful")
    assert found.warnings[-1] == (
        "recall@10 says nothing of 1 of the 60 items that int8_dynamic answered: more than 1 % "
        "makes a measurement invalid, and the candidate would be refused, so nothing is forecast "
        "of it"
    )


def test_what_will_almost_certainly_break_its_contract_is_not_tried(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pilot rules it out, and its figures say how sure that is."""
    lost = QualityPilot("recall@10", Side.LOSS, 0.1, 1.0, (Stratum(60, (1.0,) * 15 + (0.0,) * 15),))
    monkeypatch.setattr(preview_module, "quality_pilots", lambda *_: (lost,))
    found = look(measured)["int8_dynamic"]
    assert found.meets is not None
    assert found.meets < HOPELESS
    assert found.skip.startswith("ruled out by its pilot: loss of recall@10 would be 0.5")
    inputs = replace(measured[0].inputs, holdout=measured[0].inputs.evaluate)
    mendable = look(measured, "int8_static", inputs=inputs)["int8_static"]
    assert mendable.skip == "", "a repair begins with its measurement"
    assert mendable.warnings[-1].startswith("measured all the same, since it may be mended; ruled")
    assert found.figures
    assert found.advice == "leave it"
    missed = Score("quantization", "quality", 20, 10, 0.3, 0.7)
    monkeypatch.setattr(preview_module, "read_scorecard", lambda _: (missed,))
    doubted = look(measured)["int8_dynamic"]
    assert doubted.skip == "", "what is not to be trusted rules out nothing"
    assert "this one says: ruled out by its pilot" in doubted.warnings[-1]


def test_a_pilot_that_fails_says_why(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One candidate that cannot be made must not cost the others."""

    def broken(*_: object, **__: object) -> None:
        raise EngineError("an operator is missing", where="model.onnx")

    monkeypatch.setattr(pilots_module, "make_build", broken)
    found = look(measured)["int8_dynamic"]
    assert (found.skip, found.figures) == ("an operator is missing", {})


def test_a_pilot_that_does_not_run_says_why(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be made, and fails at its first batch."""

    def broken(*_: object, **__: object) -> None:
        raise EngineError("the kernel refuses the shape", where="int8_dynamic")

    monkeypatch.setattr(preview_module, "pilot_quality", broken)
    found = look(measured)["int8_dynamic"]
    assert (found.skip, found.figures) == ("the kernel refuses the shape", {})


def independent() -> Contract:
    return contract("batch_invariance", Bound.ONE_OF, 0.0, allowed=("exact", "within_epsilon"))


@pytest.mark.parametrize(
    ("promised", "skipped"),
    [
        (independent(), True),
        (replace(independent(), allowed=("exact", "within_epsilon", "dependent")), False),
        (replace(independent(), on_breach=Action.WARN), False),
    ],
    ids=["forbidden", "allowed", "warned of"],
)
def test_what_depends_on_its_neighbours_by_construction_is_not_tried_where_that_is_forbidden(
    measured: tuple[Job, Baseline], promised: Contract, skipped: bool
) -> None:
    """No measurement could make it pass."""
    job, _ = measured
    both, terms = ("int8_dynamic", "int8_weights"), (*job.contracts, promised)
    found = look(measured, *both, contracts=terms)["int8_dynamic"]
    assert bool(found.skip) == skipped
    assert ("by construction" in found.skip) == skipped
    alone = look(measured, "int8_dynamic", contracts=terms)["int8_dynamic"]
    assert not alone.skip, "so that the gate has evidence to refuse it by"


NO_OPENVINO = "OpenVINO is not installed: pip install 'headgate[openvino]'"
NO_TORCH = "torch is not installed: pip install 'headgate[train]'"
NO_ENCODER = "a student takes layers of a transformers encoder (model: {path: DIR})"
NO_CALIBRATION = "data: calibrate is not declared"


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        (
            "extras",
            {
                "bf16": NO_OPENVINO,
                "int8_static": NO_OPENVINO,
                "student3": NO_TORCH,
                "student3_int8_static": f"{NO_OPENVINO}; {NO_TORCH}",
            },
        ),
        (
            "calibrate",
            {
                "int8_static": NO_CALIBRATION,
                "int8_static_qdq": NO_CALIBRATION,
                "student3_int8_static": NO_CALIBRATION,
            },
        ),
        (
            "train",
            {
                "student3": "data: train is not declared",
                "student3_int8_static": "data: train is not declared",
            },
        ),
        ("encoder", {"student3": NO_ENCODER, "student3_int8_static": NO_ENCODER}),
    ],
)
def test_what_cannot_be_made_is_skipped_with_its_reason(
    measured: tuple[Job, Baseline],
    monkeypatch: pytest.MonkeyPatch,
    lacking: str,
    why: dict[str, str],
) -> None:
    """The others are still looked at, in the order of the file; a skipped one promises nothing."""
    monkeypatch.setattr(preview_module, "make_pilots", lambda job, names, **_: [])
    job, _ = measured
    encoder = {} if lacking == "encoder" else {"config.json": "sha256:config"}
    found = look(
        measured,
        *TRIED_BY_DEFAULT,
        source=replace(job.source, encoder=encoder),
        profile=replace(job.profile, libraries={}) if lacking == "extras" else job.profile,
        inputs=replace(job.inputs, **({lacking: ()} if lacking in ("calibrate", "train") else {})),
    )
    assert tuple(found) == TRIED_BY_DEFAULT
    assert {f.name: f.skip for f in found.values() if f.skip} == why
    assert all(not f.expected for f in found.values() if f.skip)
    assert all("the speed" in f.expected for n, f in found.items() if n.endswith("int8_dynamic"))
    if lacking == "calibrate":
        assert "training takes about 90.0 s" in found["student3"].expected


def test_bf16_needs_a_cpu_that_has_it(measured: tuple[Job, Baseline]) -> None:
    """Emulated it would only be slower."""
    job, _ = measured
    assert "none of" in look(measured, "bf16", profile=replace(job.profile, flags=()))["bf16"].skip


def test_a_process_that_serves_a_build_is_weighed(measured: tuple[Job, Baseline]) -> None:
    """In a process of its own: more than its weights, and less than this machine has."""
    job, baseline = measured
    peak, run = pilots_module.pilot_memory(job, baseline.build)
    assert 3e7 < peak < job.profile.memory_bytes
    assert not run.reused
    assert pilots_module.pilot_memory(job, baseline.build)[1].reused


def test_of_two_that_are_weighed_at_a_time_one_may_fail(measured: tuple[Job, Baseline]) -> None:
    job, baseline = measured
    text = job.store.put_bytes(b"no model")
    no_model = replace(baseline.build, name="no model", files={"model.onnx": text})
    again = replace(baseline.build, name="again")
    on_two_cores = replace(job, profile=replace(job.profile, effective_cores=2))
    peaks = pilots_module.pilot_memories(on_two_cores, {"bad": no_model, "good": again})
    assert peaks == {"good": pilots_module.pilot_memory(job, again)[0]}


def encoder_of(measured: tuple[Job, Baseline]) -> dict[str, object]:
    """The job's model, as one that students could be made of."""
    return {"source": replace(measured[0].source, encoder={"config.json": "sha256:config"})}


def test_a_student_s_own_figures_are_those_of_its_pilots(measured: tuple[Job, Baseline]) -> None:
    """What fewer bits cost it besides, its pilots do not say: that pair has its cost alone."""
    found = look(measured, "student3", "student3_int8_dynamic", **encoder_of(measured))
    own, smaller = found["student3"], found["student3_int8_dynamic"]
    assert own.preview == smaller.preview == "distillation"
    assert own.figures["loss of recall@10"].range == Range(0.03, 0.01, 0.05)
    assert own.figures["training_device_s"].range.value == own.making_s == 90.0
    assert list(smaller.figures) == ["training_device_s"]
    assert own.meets == 0.3
    assert own.advice == "doubtful"
    assert "3.0 % of recall@10 lost (1.0 % to 5.0 %)" in own.expected


def test_a_student_without_a_chance_is_left_out_in_every_precision(
    measured: tuple[Job, Baseline], students: list[StudentForecast | str | HeadgateError]
) -> None:
    """Its training is saved, and the forecast stands as what it was left out for."""
    students[0] = student_forecast(hopeless="not worth its training: a chance of 3 %")
    found = look(measured, "student3", "student3_int8_dynamic", **encoder_of(measured))
    for each in found.values():
        assert each.skip == "not worth its training: a chance of 3 %"
        assert each.advice == "leave it"
    assert "loss of recall@10" in found["student3"].figures


def test_a_student_that_would_rather_fail_is_advised_against_and_tried(
    measured: tuple[Job, Baseline], students: list[StudentForecast | str | HeadgateError]
) -> None:
    """Only one without a chance is left out: what is left out never shows that pilots erred."""
    students[0] = student_forecast(meets=0.1, advice=Advice.DO_NOT_TRAIN)
    found = look(measured, "student3", **encoder_of(measured))["student3"]
    assert (found.skip, found.advice) == ("", "do not train")


def test_a_student_that_pilots_cannot_tell_of_is_trained(
    measured: tuple[Job, Baseline], students: list[StudentForecast | str | HeadgateError]
) -> None:
    """Not knowing is no reason against it."""
    students[0] = "too little for pilots"
    found = look(measured, "student3", **encoder_of(measured))["student3"]
    assert (found.skip, found.advice, found.figures) == ("", "find out", {})
    assert found.expected == "not forecast: too little for pilots"


def test_a_student_whose_pilots_fail_says_why(
    measured: tuple[Job, Baseline], students: list[StudentForecast | str | HeadgateError]
) -> None:
    """Its training would fail as well."""
    students[0] = EngineError("out of memory")
    assert look(measured, "student3", **encoder_of(measured))["student3"].skip == "out of memory"


def test_whether_the_model_as_it_is_could_win_is_known_before_anything_is_priced(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its promises; beside a current release of another build it would not be taken."""
    job, baseline = measured
    rules = register_rules(job)
    assert _no_policies(job, baseline, rules) == ""
    monkeypatch.setattr(preview_module, "replaces_another", lambda job, baseline: "another is")
    assert _no_policies(job, baseline, rules) == "another is"
    own = Tried("fp32", Forecast("fp32", "", "", (), ""), skipped="recall@10 breaks 0.9")
    monkeypatch.setattr(preview_module, "as_it_is", lambda job, baseline, certify: own)
    assert _no_policies(job, baseline, rules) == "recall@10 breaks 0.9"


PREDICTOR = """\
endpoint: prices
owner: {team: search, escalate: "command:true"}
task: predict
model: {onnx: model.onnx}
data: {evaluate: evaluate.jsonl, train: train.jsonl}
workload: {rate_per_s: 50, requests: 40}
metrics:
  far: {function: "own:far", direction: lower_is_better, range: [0, 9]}
contracts:
  far: {not_above_current_by: 4, why: a test, on_breach: rollback}
candidates: [linear]
"""


@pytest.fixture
def predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Job, Baseline]:
    """Values of four numbers, a student that learns for fifty steps, and how far off it is."""
    monkeypatch.setattr("headgate.optimize.job._CURVE_BUDGET_S", 0.0)
    monkeypatch.setitem(cast("dict[str, HeadRecipe]", HEADS), "linear", HeadRecipe(steps=50))
    tiny_classifier(tmp_path / "model.onnx")
    rng = np.random.default_rng(0)
    for name in ("evaluate", "train"):
        numbers = rng.normal(size=(60, 4)).tolist()
        write(tmp_path / f"{name}.jsonl", [{"id": f"{k}", "input": x, "label": x[0]}
                                           for k, x in enumerate(numbers)])  # fmt: skip
    (tmp_path / "own.py").write_text(
        "def far(item, output):\n    return min(abs(float(output[0]) - item['label']), 9.0)\n",
        encoding="utf-8",
    )
    (tmp_path / "headgate.yaml").write_text(PREDICTOR, encoding="utf-8")
    store = Store.open(tmp_path / ".headgate", create=True)
    job = open_job(load_config(tmp_path / "headgate.yaml"), store, Silent(), fresh=False)
    return job, measure_baseline(job)


def test_a_small_student_is_trained_to_be_looked_at(predictor: tuple[Job, Baseline]) -> None:
    """All that is said of a scheme is said of it, and what its training took; it is the student
    that `optimize` would train, which is not trained again."""
    job, _ = predictor
    found = look(predictor)["linear"]
    assert found.skip == ""
    assert found.preview == "quantization", "a pilot's of the very build, as of a scheme"
    assert {"file_bytes", "memory_bytes", "latency_p50", "speedup", "loss of far"} == set(
        found.figures
    )
    assert found.figures["loss of far"].unit == "difference"
    assert found.meets is not None
    assert found.n_required is not None
    assert found.making_s == 0.0
    # Which of them, how fast it was by the clock decides.
    assert found.advice in ("try it", "doubtful", "for its size only", "not worth it")
    assert found.training.startswith("training took ")
    before = len(job.recorder.runs)
    make_build("linear", Maker.of(job))
    assert {r.reused for r in job.recorder.runs[before:] if r.name == "distill.head"} == {True}


@pytest.mark.parametrize(
    ("alone_s", "batched_s", "said"),
    [
        (
            ((0.01, 0.01, 0.01), (0.009, 0.009, 0.009)),
            (0.03, 0.006),
            "earned back by 1,000 requests that come alone",
        ),
        (
            ((0.01, 0.01, 0.01), (0.005, 0.005, 0.005)),
            (0.03, 0.032),
            "earned back by 200 requests that come alone",
        ),
        (
            ((0.01, 0.01, 0.01), (0.001, 0.001, 0.013)),
            (0.03, 0.015),
            "earned back by 200 requests that come alone",
        ),
        (
            ((0.01, 0.01, 0.01), (0.01, 0.01, 0.01)),
            (0.03, 0.006),
            "which requests that come alone never earn back",
        ),
    ],
    ids=["faster in batches", "slower in batches", "a cascade's third escalates", "no faster"],
)
def test_a_training_is_earned_back_by_requests_that_come_alone(
    predictor: tuple[Job, Baseline],
    monkeypatch: pytest.MonkeyPatch,
    alone_s: tuple[tuple[float, ...], tuple[float, ...]],
    batched_s: tuple[float, float],
    said: str,
) -> None:
    """By what the student takes less than the model for each of them on the mean, whatever both
    take in batches."""
    row = tuple(map(BlockTimes, alone_s, batched_s))
    speed = SpeedBlocks(("fp32", "linear"), (row,) * 4, (row[0],) * 2, (row[0],) * 2, RUN)
    monkeypatch.setattr(preview_module, "pilot_blocks", lambda *_: {"linear": speed})
    made = preview_module.make_pilots
    monkeypatch.setattr(
        preview_module,
        "make_pilots",
        lambda *a, **more: [replace(pilot, seconds=1.0) for pilot in made(*a, **more)],
    )
    assert look(predictor)["linear"].training == f"training took 1.00 s, {said}"


def test_where_the_model_is_too_slow_to_teach_in_a_preview_that_is_said(
    predictor: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many items it would have to answer, how long that takes, and what a preview takes."""
    monkeypatch.setattr(preview_module, "_request_s", lambda *_: 1.0)
    found = look(predictor)["linear"]
    assert (found.skip, found.figures, found.advice) == ("", {}, "find out")
    assert found.expected == (
        "not forecast: the model would have to answer 60 items of data.train for it first, about "
        "60.0 s, and a preview takes at most 15.0 s for that"
    )
    make_build("linear", Maker.of(predictor[0]))
    assert look(predictor)["linear"].figures, "by now it has answered them"
