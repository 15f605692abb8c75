"""An endpoint's candidates are forecast, then measured: on a small one, to the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import create_autospec

import numpy as np
import pytest

from benchmarks.compression import forecast_cases as module
from benchmarks.compression.forecast_cases import Measured, measured, read, timed_again, write
from headgate.errors import EngineError
from headgate.optimize.pilots import pilot_memory
from headgate.optimize.recorder import Recorded
from tests.models import outlier_chain

CONFIG = """\
endpoint: small
task: classify
owner: {team: benchmark, escalate: "command:true"}
model: {onnx: model.onnx}
data: {evaluate: evaluate.jsonl, calibrate: calibrate.jsonl}
workload: {rate_per_s: 20, requests: 20}
prices: {device_second: 0.00002}
candidates: [int8_static_qdq, fp16]
contracts:
  accuracy: {not_below_current_by: 0.02, why: "a test's margin", on_breach: rollback}
"""
FIGURES = {"file_bytes", "memory_bytes", "latency_p50", "speedup", "loss of accuracy"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """Of 240 items 200 are looked at, by pilots that are calibrated on 24 items, and on 16."""
    here = tmp_path_factory.mktemp("endpoints")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "endpoint", lambda name: here / name)
        (here / "small").mkdir()
        outlier_chain(here / "small" / "model.onnx", widths=(64, 512, 256, 4), before=1, strength=1)
        rng = np.random.default_rng(0)
        for role, n in (("evaluate", 240), ("calibrate", 24)):
            rows = (
                {"id": f"{role}{k}", "input": rng.normal(size=64).round(4).tolist(), "label": k % 4}
                for k in range(n)
            )
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (here / "small" / f"{role}.jsonl").write_text(text, encoding="utf-8")
        (here / "small" / "headgate.yaml").write_text(CONFIG, encoding="utf-8")
        kept = write("small", measured("small"))
        assert read("small") == kept
        yield kept


def test_every_figure_meets_what_was_measured(found: Measured) -> None:
    """The very build weighs what it was said to weigh, and what cannot be made says why."""
    (case,) = found.cases
    assert (case.scheme, case.very) == ("int8_static_qdq", True)
    assert set(case.figures) == FIGURES
    assert all(truth is not None for *_, truth in case.figures.values())
    assert case.error("file_bytes") == 0.0
    assert set(found.said_before) == {"fp16"}


def test_what_is_calibrated_is_forecast_of_few_items_too(found: Measured) -> None:
    """By another build, against the same truths."""
    (whole,), (case,) = found.cases, found.few
    assert (case.scheme, case.very) == ("int8_static_qdq", False)
    assert case.figures["file_bytes"][:3] != whole.figures["file_bytes"][:3]
    assert case.width_in_margins > whole.width_in_margins
    for figure in FIGURES:
        assert case.figures[figure][-1] == whole.figures[figure][-1]


def test_seconds_are_of_the_clock_and_of_what_was_on_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What this process did is on the clock, also where it is asked for again."""
    clock_s = iter([100.0, 110.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock_s)))

    def run(entry: str, seconds: float, *, reused: bool) -> Recorded:
        return Recorded("pilot.quality", entry, {}, reused, seconds, "")

    runs = [run("before", 50.0, reused=False)]
    job: Any = SimpleNamespace(recorder=SimpleNamespace(runs=runs))
    watch = module._Watch(job)
    runs += [run("now", 4.0, reused=False), run("now", 4.0, reused=True)]
    runs += [run("on record", 7.0, reused=True), run("on record", 7.0, reused=True)]
    assert watch.seconds() == 17.0


def test_what_cannot_be_weighed_is_measured_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is then a forecast that nothing came of."""

    def ends(job: object, build: object) -> None:
        raise EngineError("it ends", where="int8")

    monkeypatch.setattr(module, "pilot_memory", create_autospec(pilot_memory, side_effect=ends))
    tried: Any = SimpleNamespace(build="int8")
    assert module._weighed(cast("Any", None), tried) is tried


def test_times_are_taken_anew_and_the_rest_is_kept(found: Measured) -> None:
    """Of the very pilots that were forecast from."""
    again = timed_again("small", found)
    times = {"latency_p50", "speedup"}
    for before, after in zip(found.cases + found.few, again.cases + again.few, strict=True):
        assert after.scheme == before.scheme
        for figure, shown in before.figures.items():
            assert (after.figures[figure] == shown) == (figure not in times), figure
    assert (again.code, again.preview_s) == (found.code, found.preview_s)
