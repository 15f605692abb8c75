"""The pure parts of the serving benchmark: what wrk counted, settings, targets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving.bench import QUICK, Bench
from benchmarks.serving.install import requirements
from benchmarks.serving.saturation import best_of
from benchmarks.serving.targets import targets
from benchmarks.serving.wrk import parse


def row(server: str, setting: str, rate: float, number: int = 0) -> dict[str, Any]:
    return {
        "server": server,
        "setting": setting,
        "connections": 64,
        "round": number,
        "rate_per_s": rate,
    }


def test_failed_requests_are_no_rate() -> None:
    """A server that refuses quickly is not fast."""
    line = '{"requests": 80, "duration_s": 2.0, "failed": 80, "p50_s": 1, "p95_s": 1, "p99_s": 1}'
    assert parse(f"Running 2s test\n{line}\n").rate_per_s == 0


def test_output_without_counts_is_an_error() -> None:
    """Never a rate of nothing."""
    with pytest.raises(ValueError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1")


def test_a_peer_is_at_its_best_over_both_numbers_of_connections() -> None:
    """The product of the rates decides; ours is chosen for each build."""
    rows = [row("ray", "a", 10), row("ray", "a", 1), row("ray", "b", 5), row("ray", "b", 5)]
    rows += [row("headgate", "fp32-x", 3), row("headgate", "int8-y", 4)]
    assert best_of(rows) == {"ray": "b", "fp32": "fp32-x", "int8": "int8-y"}


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that halves its speed between two rounds changes no ratio."""
    rows = [row("headgate", "fp32-x", 90, 0), row("ray", "a", 30, 0)]
    rows += [row("headgate", "fp32-x", 45, 1), row("ray", "a", 15, 1)]
    ceilings = [
        {"build": "fp32", "round": 0, "rates": [99, 100]},
        {"build": "fp32", "round": 1, "rates": [50]},
    ]
    found = targets({"rounds": {"rows": rows, "ceilings": ceilings}})
    assert found["fp32, 64 connections: share of the ceiling"].value == pytest.approx(0.9)
    assert found["fp32, 64 connections: times ray"].value == pytest.approx(3.0)


def test_a_peer_that_answered_nothing_is_not_beaten() -> None:
    """Infinitely many times nothing would pass because data is missing."""
    rows = [row("headgate", "fp32-x", 90), row("ray", "a", 0)]
    ceilings = [{"build": "fp32", "round": 0, "rates": [100]}]
    found = targets({"rounds": {"rows": rows, "ceilings": ceilings}})
    assert not found["fp32, 64 connections: times ray"].ok


def test_a_part_that_was_interrupted_is_run_again(tmp_path: Path) -> None:
    """What it measured until then is kept, and is no part."""
    bench = Bench(tmp_path, QUICK, ())
    bench.keep("grid", {"rows": []})
    assert bench.read("grid") is None
    with pytest.raises(RuntimeError, match="'grid' first"):
        bench.needs("grid")
    bench.write("grid", {"rows": [1]})
    assert bench.needs("grid") == {"rows": [1]}


def test_a_void_run_reaches_no_target() -> None:
    """Where every run of one side was VOID, the target is missed, not left out."""
    valid = {"peer": "ray", "side": "peer", "p95_s": 0.1, "verdict": "valid"}
    void = {"peer": "ray", "side": "ours", "p95_s": 0.01, "verdict": "VOID: late"}
    (target,) = targets({"tail": [valid, void]}).values()
    assert not target.ok
    assert math.isnan(target.value)


def test_padding_counts_the_tokens_of_what_was_run() -> None:
    """Items times their mean length, of the padded tokens."""
    rows = [{**row("headgate", "fp32-x", 90), "padded_tokens": 1000.0, "items": 40.0}]
    ceilings = [{"build": "fp32", "round": 0, "rates": [100]}]
    raw = {"rounds": {"rows": rows, "ceilings": ceilings}, "prepare": {"tokens": [10, 30]}}
    assert targets(raw)["wasted padding at saturation"].value == pytest.approx(0.2)


def test_parts_that_were_not_run_have_no_targets() -> None:
    """Resumable: the last line says what is there."""
    assert targets({"rounds": None, "tail": None}) == {}


def test_every_peer_is_pinned() -> None:
    """Comments and blank lines apart."""
    assert requirements("# x\n\nray ray[serve]==1  numpy==2 # y\n") == {
        "ray": ["ray[serve]==1", "numpy==2"]
    }
