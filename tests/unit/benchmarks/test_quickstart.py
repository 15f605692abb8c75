"""What the benchmark of the quickstart reads from a report."""

from __future__ import annotations

import pytest

from benchmarks.quickstart import executed_s


def step(ended_at: str, seconds: float, *, reused: bool = False) -> dict[str, object]:
    return {"ended_at": f"2026-11-28T08:{ended_at}Z", "seconds": seconds, "reused": reused}


def test_steps_side_by_side_count_once_and_pauses_count() -> None:
    """Two of 4 s from second 10 on, one of 1 s that ends at 20; a reused one is no work."""
    steps = [step("00:14.000", 4.0), step("00:14.500", 4.5), step("00:20.000", 1.0)]
    assert executed_s([step("00:01.000", 9.0, reused=True), *steps]) == pytest.approx(10.0)


def test_a_run_that_reuses_everything_executed_nothing() -> None:
    assert executed_s([step("00:01.000", 9.0, reused=True)]) == 0.0
