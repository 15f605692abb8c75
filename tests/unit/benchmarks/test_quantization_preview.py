"""The benchmark of the quantization preview can fail: by what is wrong, and by what is missing."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.compression import quantization_preview as module
from benchmarks.compression.quantization_preview import _Case, _Measured, quantization_preview
from headgate.optimize.blocks import BlockTimes, SpeedBlocks
from headgate.optimize.recorder import Recorded

RIGHT = {
    "file_bytes": (100.0, 99.0, 101.0, 100.0),
    "memory_bytes": (300.0, 255.0, 345.0, 310.0),
    "latency_p50": (2.0, 1.9, 2.1, 2.1),
    "speedup": (3.0, 2.8, 3.2, 3.1),
    "loss of recall@10": (0.01, -0.01, 0.02, 0.0),
}


def case(scheme: str, **truths: float | None) -> _Case:
    """A forecast that held, but for what ``truths`` say instead."""
    figures = {
        name: (value, low, high, truths.get(name.split()[0], truth))
        for name, (value, low, high, truth) in RIGHT.items()
    }
    return _Case("digits-mlp", scheme, figures, margin=0.02)


def measured(*cases: _Case, said_before: Mapping[str, str] | None = None) -> _Measured:
    code = module._code()
    return _Measured(cases, said_before or {}, 90.0, 2000.0, "2026-11-28T20:00+00:00", 0.5, code)


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> list[_Case]:
    """Of each of the two subjects of a quick run: six that held."""
    found = [case(f"scheme {k}") for k in range(6)]
    monkeypatch.setattr(
        module, "_kept", lambda name: measured(*found, said_before={"bf16": "no flag"})
    )
    return found


def missed(cases: list[_Case]) -> set[str]:
    targets, _ = quantization_preview(quick=True)
    return {name for name, target in targets.items() if not target.ok}


def test_what_held_meets_every_target(cases: list[_Case]) -> None:
    """And what has no forecast is told apart."""
    targets, details = quantization_preview(quick=True)
    assert all(target.ok for target in targets.values())
    assert targets["width in margins, median"].value == pytest.approx(1.5)
    reasons = {"bf16": "no flag"}
    assert details["nothing to forecast"] == {"digits-mlp": reasons, "digits-conv": reasons}


def test_what_was_forecast_and_cannot_be_made_is_a_miss(cases: list[_Case]) -> None:
    """In every figure: it is not left out."""
    nothing = dict.fromkeys(("file_bytes", "memory_bytes", "latency_p50", "speedup", "loss"))
    cases[:2] = [case("broken", **nothing), case("broken too", **nothing)]
    assert missed(cases) == {
        "losses in their 90 % interval, share",
        "size, largest error",
        "memory, largest error",
        "p50, largest error",
    }
    assert cases[0].error("file_bytes") == math.inf
    assert cases[0].error("not forecast") == math.inf


@pytest.mark.parametrize(
    ("wrong", "target"),
    [
        ({"file_bytes": 97.0}, "size, largest error"),
        ({"memory_bytes": 240.0}, "memory, largest error"),
        ({"latency_p50": 1.5}, "p50, largest error"),
    ],
)
def test_one_figure_that_is_off_misses_its_target(
    cases: list[_Case], wrong: dict[str, float], target: str
) -> None:
    cases[0] = case("off", **wrong)
    assert missed(cases) == {target}


def test_the_order_of_two_that_differ_is_told(cases: list[_Case]) -> None:
    """Forecast as equal they are in no order; of those that do not differ none is asked."""
    assert math.isnan(quantization_preview(quick=True)[1]["pairs in their order of speed, share"])  # type: ignore[arg-type]
    cases[:] = [case("one"), case("other", speedup=6.0)]
    assert quantization_preview(quick=True)[1]["pairs in their order of speed, share"] == 0.0


def test_a_subject_is_measured_once_by_the_same_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And again by another."""
    asked: list[str] = []

    def measure(name: str) -> _Measured:
        asked.append(name)
        return measured(case("one"))

    monkeypatch.setattr(module, "endpoint", lambda name: tmp_path)
    monkeypatch.setattr(module, "_measured", measure)
    for _ in range(2):
        (kept,) = module._kept("digits-mlp").cases
        assert (kept.scheme, kept.held(kept.loss)) == ("one", True)
    assert asked == ["digits-mlp"]
    monkeypatch.setattr(module, "code_digest", lambda *_: "sha256:other")
    module._kept("digits-mlp")
    assert asked == ["digits-mlp"] * 2


def blocks(names: list[str], p50_s: float, per_item_s: float) -> SpeedBlocks:
    """Three blocks in which the baseline takes 2 ms alone and 1 ms in batches."""
    base, other = BlockTimes((0.002,), 0.001), BlockTimes((p50_s,), per_item_s)
    run = Recorded("measure.blocks", "sha256:entry", {}, False, 1.0, "")
    row = (base, *(other for _ in names[1:]))
    return SpeedBlocks(tuple(names), (row, row, row), (base, base), (base, base), run)


def test_times_are_taken_anew_and_the_rest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Forecasts of times too; what could not be made stays missed, and the line says which code."""
    nothing = dict.fromkeys(("file_bytes", "memory_bytes", "latency_p50", "speedup", "loss"))
    monkeypatch.setattr(module, "endpoint", lambda name: _made(tmp_path, name))
    monkeypatch.setattr(module, "SUBJECTS", {"digits-mlp": None})
    known = replace(measured(case("int8_static"), case("broken", **nothing)), code="sha256:older")
    module._write("digits-mlp", known)
    monkeypatch.setattr(module, "load_config", lambda path: None)
    monkeypatch.setattr(module, "open_job", lambda *_, fresh: SimpleNamespace(source=FP32))
    monkeypatch.setattr(module.Maker, "of", lambda job: None)
    monkeypatch.setattr(module, "make_build", lambda scheme, _: SimpleNamespace(name=scheme))

    def piloted(_: object, builds: list[SimpleNamespace]) -> SpeedBlocks:
        return blocks([b.name for b in builds], 0.001, 0.0005)

    def timed(_: object, builds: list[SimpleNamespace]) -> SpeedBlocks:
        return blocks([b.name for b in builds], 0.0011, 0.00025)

    monkeypatch.setattr(module, "pilot_blocks", piloted)
    monkeypatch.setattr(module, "_blocks", timed)
    monkeypatch.setattr(sys, "argv", ["quantization_preview", "--times"])
    assert module._main() == 1
    line = json.loads(capsys.readouterr().out)
    static = line["cases"]["digits-mlp int8_static"]
    forecast, low, high, truth = static["latency_p50"]
    assert (forecast, truth) == pytest.approx((0.5, 0.55))
    assert low < forecast < high
    assert static["speedup"][::3] == pytest.approx([2.0, 4.0])
    assert static["loss of recall@10"] == [*RIGHT["loss of recall@10"]]
    assert line["cases"]["digits-mlp broken"]["latency_p50"][-1] is None
    assert line["measured"]["digits-mlp"]["all but times by this code"] is False


FP32 = SimpleNamespace(build=SimpleNamespace(name="fp32"))


def _made(root: Path, name: str) -> Path:
    (root / name).mkdir(exist_ok=True)
    return root / name
