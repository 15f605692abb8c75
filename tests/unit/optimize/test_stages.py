"""What becomes of a candidate that cannot be made, and what one is held against."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.errors import EngineError
from headgate.objects import Build, Release
from headgate.optimize import stages
from headgate.optimize.job import Job
from headgate.optimize.making import Maker
from headgate.optimize.recorder import Call, Output, transformation
from headgate.optimize.stages import Baseline, Tried, make_candidates
from headgate.release import Rule

from .conftest import NewRecorder
from .fakes import forecast, speed

ATTEMPTS: list[str] = []


@transformation("test.quantize")
def quantize(call: Call) -> Mapping[str, Output]:
    """An operator without a quantized kernel."""
    ATTEMPTS.append("quantize")
    raise EngineError("no int8 kernel for Erf")


def make(name: str, maker: Maker) -> Build:
    maker.recorder.run(quantize, u={}, c={})
    raise AssertionError("it cannot be made")


def candidates(new_recorder: NewRecorder, *, fresh: bool = False) -> Tried:
    """The only candidate of a run of its own."""
    recorder = new_recorder(fresh_measurements=fresh)
    job = SimpleNamespace(
        recorder=recorder, source=None, inputs=None, profile=None, behaviour=None, queries=()
    )
    baseline = SimpleNamespace(build=None)
    (tried,), _ = make_candidates(
        cast("Job", job),
        cast("Rule", None),
        cast("Baseline", baseline),
        [forecast("int8_dynamic")],
    )
    return tried


def test_a_candidate_that_failed_says_why_and_is_not_tried_again(
    new_recorder: NewRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs the others nothing; the next run reuses the failure, a fresh one does not."""
    ATTEMPTS.clear()
    monkeypatch.setattr(stages, "make_build", make)
    monkeypatch.setattr(stages, "measure_blocks", lambda *a, **k: speed({"fp32": 1.0}))
    assert candidates(new_recorder).skipped == "no int8 kernel for Erf"
    again = candidates(new_recorder)
    assert again.build is None
    assert again.skipped.startswith("no int8 kernel for Erf; so it was before")
    assert len(ATTEMPTS) == 1
    assert candidates(new_recorder, fresh=True).skipped == "no int8 kernel for Erf"
    assert len(ATTEMPTS) == 2


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
