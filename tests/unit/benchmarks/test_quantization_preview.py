"""The benchmark of the quantization preview can fail: by what is wrong, and by what is missing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.compression import quantization_preview as module
from benchmarks.compression.quantization_preview import _Case, _Measured, quantization_preview

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


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> list[_Case]:
    """Of each of the two subjects of a quick run: six that held."""
    found = [case(f"scheme {k}") for k in range(6)]
    monkeypatch.setattr(
        module, "_kept", lambda name: _Measured(tuple(found), {"bf16": "no flag"}, 90.0, 2000.0)
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
    measured: list[str] = []

    def measure(name: str) -> _Measured:
        measured.append(name)
        return _Measured((case("one"),), {}, 10.0, 100.0)

    monkeypatch.setattr(module, "endpoint", lambda name: tmp_path)
    monkeypatch.setattr(module, "_measured", measure)
    for _ in range(2):
        (kept,) = module._kept("digits-mlp").cases
        assert (kept.scheme, kept.held(kept.loss)) == ("one", True)
    assert measured == ["digits-mlp"]
    monkeypatch.setattr(module, "code_digest", lambda *_: "sha256:other")
    module._kept("digits-mlp")
    assert measured == ["digits-mlp"] * 2
