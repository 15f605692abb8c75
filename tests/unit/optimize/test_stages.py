"""What becomes of a candidate that cannot be made."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.errors import EngineError
from headgate.objects import Build
from headgate.optimize import stages
from headgate.optimize.job import Job
from headgate.optimize.recorder import Call, Output, transformation
from headgate.optimize.stages import Baseline, Tried, make_candidates
from headgate.optimize.variants import Maker

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
        cast("Job", job), cast("Baseline", baseline), [forecast("int8_dynamic")]
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
