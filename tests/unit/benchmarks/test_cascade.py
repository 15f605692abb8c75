"""What the benchmark of cascades holds against its targets."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from benchmarks.compression import cascade as benchmark
from benchmarks.compression.alternating import Ratio
from benchmarks.compression.cascade import _COST, _Scored, _Served, _Subject
from benchmarks.compression.classifiers import Classified, Split
from benchmarks.convention import Target
from headgate.objects import Build

ITEMS = 2000
THERE = "banking77: there, or declared missing"


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits that keep their risk and BANKING77 that is not there, with nothing computed."""
    subject = SimpleNamespace(kept=lambda _: 1.0, served=lambda: ({}, {}))
    monkeypatch.setattr(benchmark, "digits", lambda: None)
    monkeypatch.setattr(benchmark, "banking77", lambda: None)
    monkeypatch.setattr(benchmark, "WORLDS", {})
    monkeypatch.setattr(benchmark, "_values", lambda _: (1.0, {}))
    monkeypatch.setattr(_Subject, "of", lambda _: subject)


def looks(quick: bool = False) -> tuple[Mapping[str, Target], dict[str, object]]:
    return benchmark.cascade(quick=quick)


@pytest.mark.usefixtures("looked_at")
def test_banking77_that_is_missing_is_a_target_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless its absence is declared, or nobody looks for it."""
    monkeypatch.delenv("BANKING77", raising=False)
    targets, details = looks()
    assert not targets[THERE].ok
    assert details["banking77"] == "missing"
    monkeypatch.setenv("BANKING77", "none")
    targets, details = looks()
    assert targets[THERE].ok
    assert details["banking77"] == "missing"
    assert THERE not in looks(quick=True)[0]


def scored() -> _Scored:
    """Two classes: a student sure of nine tenths and right there, a teacher right everywhere."""
    labels = np.zeros(ITEMS, dtype=np.int64)
    teacher = np.tile([1.0, 0.0], (ITEMS, 1))
    student = teacher.copy()
    student[::10] = [0.4, 0.6]
    return _Scored(Split([], labels), student, teacher)


def test_the_upper_bound_of_the_cost_is_what_is_held_to_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ratio of 0.5 that may as well be 0.7 misses 0.6; the teacher's own ratio is told beside."""
    both = scored()
    subject = _Subject(cast(Classified, None), cast(Build, None), both, both, both, 0.9)
    served = SimpleNamespace(
        cost=lambda: (Ratio(0.5, 0.4, 0.7), Ratio(1.0, 0.9, 1.1)), predicted=lambda: 1.0
    )
    monkeypatch.setattr(_Served, "of", lambda *_: served)
    targets, details = subject.served()
    assert (targets[_COST].value, targets[_COST].ok) == (0.7, False)
    assert details["the teacher again, of the teacher's"] == {
        "value": 1.0,
        "lower": 0.9,
        "upper": 1.1,
    }
    assert details["escalated"] == pytest.approx(0.1)
