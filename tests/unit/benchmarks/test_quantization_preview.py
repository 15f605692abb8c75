"""The benchmark of the quantization preview can fail: by what is wrong, and by what is missing."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace

import pytest

from benchmarks.compression import quantization_preview as module
from benchmarks.compression.forecast_cases import Case, Measured, code
from benchmarks.compression.quantization_preview import quantization_preview

RIGHT = {
    "file_bytes": (100.0, 99.0, 101.0, 100.0),
    "memory_bytes": (300.0, 255.0, 345.0, 310.0),
    "latency_p50": (2.0, 1.9, 2.1, 2.1),
    "speedup": (3.0, 2.8, 3.2, 3.1),
    "loss of recall@10": (0.01, -0.01, 0.02, 0.0),
}


def case(scheme: str, *, very: bool = True, **truths: float | None) -> Case:
    """A forecast that held, but for what ``truths`` say instead."""
    figures = {
        name: (value, low, high, truths.get(name.split()[0], truth))
        for name, (value, low, high, truth) in RIGHT.items()
    }
    return Case("digits-mlp", scheme, figures, margin=0.02, very=very)


def measured(cases: list[Case], few: list[Case]) -> Measured:
    return Measured(
        tuple(cases),
        tuple(few),
        {"bf16": "no flag"},
        baseline_s=30.0,
        preview_s=90.0,
        everything_s=2000.0,
        timed_at="2026-11-28T20:00+00:00",
        load=0.5,
        code=code(),
    )


@pytest.fixture
def few() -> list[Case]:
    """Of each subject: two that held, from pilots of few items."""
    return [case(f"static {k}", very=False) for k in range(2)]


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch, few: list[Case]) -> list[Case]:
    """Of each of the two subjects of a quick run: six that held."""
    found = [case(f"scheme {k}") for k in range(6)]
    monkeypatch.setattr(module, "_kept", lambda name: measured(found, few))
    return found


def missed() -> set[str]:
    targets, _ = quantization_preview(quick=True)
    return {name for name, target in targets.items() if not target.ok}


@pytest.mark.usefixtures("cases")
def test_what_held_meets_every_target() -> None:
    """And what has no forecast is told apart."""
    targets, details = quantization_preview(quick=True)
    assert all(target.ok for target in targets.values())
    assert targets["width in margins, median"].value == pytest.approx(1.5)
    assert details["cases whose pilot was the very build"] == 12
    assert details["missing"] == []
    reasons = {"bf16": "no flag"}
    assert details["nothing to forecast"] == {"digits-mlp": reasons, "digits-conv": reasons}


def test_what_was_forecast_and_cannot_be_made_is_a_miss(cases: list[Case]) -> None:
    """In every figure: it is not left out."""
    nothing = dict.fromkeys(("file_bytes", "memory_bytes", "latency_p50", "speedup", "loss"))
    cases[:2] = [case("broken", **nothing), case("broken too", **nothing)]
    assert missed() == {
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
    cases: list[Case], few: list[Case], wrong: dict[str, float], target: str
) -> None:
    """Those of few items have targets of their own: what is right of others does not hide them."""
    held = cases[0]
    cases[0] = case("off", **wrong)
    assert missed() == {target}
    cases[0], few[0] = held, case("off", very=False, **wrong)
    assert missed() == {f"few items: {target}"}


@pytest.mark.usefixtures("cases")
def test_no_case_of_few_items_meets_no_target_of_them(few: list[Case]) -> None:
    few.clear()
    assert {name.partition(": ")[0] for name in missed()} == {"few items"}
    assert len(missed()) == 5


@pytest.mark.parametrize(("preview_s", "missed_by"), [(100.0, 0), (100.1, 2)])
def test_a_preview_takes_a_minute_or_a_twentieth(
    cases: list[Case],
    few: list[Case],
    monkeypatch: pytest.MonkeyPatch,
    preview_s: float,
    missed_by: int,
) -> None:
    """By the clock on the wall, of everything; the baseline stands beside."""
    known = replace(measured(cases, few), preview_s=preview_s)
    monkeypatch.setattr(module, "_kept", lambda name: known)
    targets, details = quantization_preview(quick=True)
    assert targets["models over 60 s and over 5 % of everything"].value == missed_by
    costs = {"baseline_s": 30.0, "preview_s": preview_s, "everything_s": 2000.0, "share": 0.05}
    assert details["costs"] == {"digits-mlp": costs, "digits-conv": costs}


def test_what_other_code_measured_is_counted_and_misses(
    cases: list[Case], few: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = replace(measured(cases, few), code="sha256:older")
    monkeypatch.setattr(module, "_kept", lambda name: older)
    assert missed() == {"models measured by other code"}


@pytest.mark.usefixtures("cases")
def test_a_subject_that_cannot_be_made_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_there", lambda name: name != "digits-conv")
    targets, details = quantization_preview(quick=True)
    assert details["missing"] == ["digits-conv"]
    assert targets["models"].value == 1


def test_the_order_of_two_that_differ_is_told(cases: list[Case]) -> None:
    """Forecast as equal they are in no order; of those that do not differ none is asked."""
    assert math.isnan(quantization_preview(quick=True)[1]["pairs in their order of speed, share"])  # type: ignore[arg-type]
    cases[:] = [case("one"), case("other", speedup=6.0)]
    assert quantization_preview(quick=True)[1]["pairs in their order of speed, share"] == 0.0


def test_a_subject_is_measured_once_by_the_same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """And again by another."""
    asked: list[str] = []
    kept: dict[str, Measured] = {}

    def measure(name: str) -> Measured:
        asked.append(name)
        return replace(measured([case("one")], []), code=module.code())

    monkeypatch.setattr(module, "read", kept.get)
    monkeypatch.setattr(module, "write", lambda name, found: kept.setdefault(name, found))
    monkeypatch.setattr(module, "measured", measure)
    for _ in range(2):
        assert module._kept("digits-mlp").cases == (case("one"),)
    assert asked == ["digits-mlp"]
    monkeypatch.setattr(module, "code", lambda: "sha256:other")
    module._kept("digits-mlp")
    assert asked == ["digits-mlp"] * 2


def test_times_are_taken_anew_of_what_is_named_and_all_is_summed_up(
    cases: list[Case],
    few: list[Case],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = {name: measured(cases, few) for name in ("digits-mlp", "digits-conv")}
    monkeypatch.setattr(module, "SUBJECTS", dict.fromkeys([*kept, "banking"]))
    monkeypatch.setattr(module, "is_there", lambda name: name in kept)
    monkeypatch.setattr(module, "read", kept.get)
    monkeypatch.setattr(module, "write", kept.__setitem__)
    monkeypatch.setattr(module, "timed_again", lambda name, known: replace(known, load=0.1))
    monkeypatch.setattr(sys, "argv", ["quantization_preview", "digits-conv", "--times"])
    assert module._main() == 1
    line = json.loads(capsys.readouterr().out)
    assert {name: of["load"] for name, of in line["measured"].items()} == {
        "digits-mlp": 0.5,
        "digits-conv": 0.1,
    }
    assert line["missing"] == ["banking"]
    assert not line["targets"]["models"]["ok"]
