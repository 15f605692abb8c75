"""What a candidate is held against."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.objects import Bound, Release
from headgate.optimize import stages
from headgate.optimize.job import Job
from headgate.optimize.stages import Baseline

from .fakes import contract


@pytest.mark.parametrize(
    ("released", "candidate", "against"),
    [
        ([], "b", ("baseline", "fp32")),
        (["fp32"], "b", ("baseline", "fp32")),
        (["old fp32"], "b", ("generation 0", "old fp32")),
        (["old fp32", "a"], "b", ("generation 1", "a")),
        (["old fp32", "a"], "a", ("generation 0", "old fp32")),
        (["old fp32", "a", "b", "a"], "a", ("generation 0", "old fp32")),
        (["fp32", "a"], "a", ("baseline", "fp32")),
    ],
)
def test_a_candidate_is_held_against_what_it_replaces(
    released: list[str],
    candidate: str,
    against: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is current already against what it replaced, so that nothing is measured again;
    of the baseline another version may be released than was measured now. "a" after "b" is a
    rollback, which nobody decides."""
    judged = {f"decision on {new}": old for old, new in itertools.pairwise(released[:3])}
    releases = [
        (None, Release("docs", n, v, f"decision on {v}" if 0 < n < 3 else None))
        for n, v in enumerate(released)
    ]
    store = SimpleNamespace(history=lambda endpoint: releases, get=lambda entry: entry)
    monkeypatch.setattr(stages, "decided", lambda store, run: SimpleNamespace(current=judged[run]))
    monkeypatch.setattr(stages, "Servable", SimpleNamespace(load=lambda store, version: version))
    job = SimpleNamespace(store=store, config=SimpleNamespace(endpoint="docs"))
    baseline = SimpleNamespace(version="fp32", servable="fp32")
    name, servable, version = stages._current(
        cast("Job", job), cast("Baseline", baseline), candidate
    )
    assert (name, version) == against
    assert servable == version


@pytest.mark.parametrize(
    ("promised", "planned_per_s", "most_per_s"),
    [
        ([("latency_p95", Bound.AT_MOST, 0.1)], 286.0, 286.0),
        ([("latency_p95", Bound.AT_MOST, 0.1)], 0.0, None),
        ([("latency_p95", Bound.RATIO_AT_MOST, 1.2)], 286.0, None),
        (
            [("latency_p95", Bound.AT_MOST, 0.1), ("latency_p95", Bound.RATIO_AT_MOST, 1.2)],
            286.0,
            None,
        ),
        (
            [("latency_p95", Bound.AT_MOST, 0.1), ("latency_p99", Bound.RATIO_AT_MOST, 1.2)],
            286.0,
            None,
        ),
        (
            [("latency_p95", Bound.AT_MOST, 0.1), ("cost_per_1k", Bound.RATIO_AT_MOST, 0.5)],
            286.0,
            286.0,
        ),
        ([("latency_p99", Bound.AT_MOST, 0.1)], 286.0, None),
        ([], 286.0, None),
    ],
    ids=[
        *("kept up to there", "no plan keeps it", "beside current", "both"),
        *("another beside current", "cost beside current", "not planned", "none"),
    ],
)
def test_a_candidate_is_loaded_with_what_its_plan_says_that_it_can_take(
    promised: list[tuple[str, Bound, float]], planned_per_s: float, most_per_s: float | None
) -> None:
    """Where its p95 is promised by itself, and by its capacity otherwise."""
    contracts = [contract(*p) for p in promised]
    assert stages._most_per_s(contracts, planned_per_s) == most_per_s
