"""The service time of a cascade from those of its parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from headgate.workload import Batch, CascadeTimes, Request, ServiceCurve

STUDENT = ServiceCurve(1e-4, 1e-5, 1e-6, 0.0)
TEACHER = ServiceCurve(2e-3, 1e-4, 1e-4, 1e-7)
KEYS = (b"a", b"b", b"c")


def batch(*keys: bytes, tokens: int = 10) -> Batch:
    return Batch(0, tuple(Request(i, key, tokens, 0.0) for i, key in enumerate(keys)))


def test_a_batch_takes_the_student_for_all_and_the_teacher_for_those_who_escalate() -> None:
    times = CascadeTimes(STUDENT, TEACHER, 0.5, frozenset({b"a", b"c"}))
    own_s = STUDENT.predict_s(3, 10)
    assert times.batch_s(batch(*KEYS)) == own_s + TEACHER.predict_s(2, 10)


def test_where_nobody_escalates_the_teacher_is_not_called() -> None:
    """Not even the fixed part of a call is spent."""
    assert CascadeTimes(STUDENT, TEACHER, 0.5).batch_s(batch(*KEYS)) == STUDENT.predict_s(3, 10)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_expectation_is_that_over_all_who_may_escalate(share: float) -> None:
    """Every subset of three, each item escalating by itself with probability ``share``."""
    expected_s = sum(
        np.prod([share if key in asked else 1 - share for key in KEYS])
        * CascadeTimes(STUDENT, TEACHER, share, frozenset(asked)).batch_s(batch(*KEYS))
        for n in range(4)
        for asked in itertools.combinations(KEYS, n)
    )
    assert CascadeTimes(STUDENT, TEACHER, share).predict_s(3, 10) == pytest.approx(expected_s)


def test_the_curve_that_policies_are_told_lies_near_the_expectation() -> None:
    """A plain curve cannot bend as (1-q)^n does; over the shapes that are measured it is within a
    third, and within a tenth where nobody or everybody escalates."""
    shapes = [(n, length) for n in (1, 4, 8, 16, 32) for length in (8, 16, 64)]
    for share, off in ((0.0, 0.1), (0.05, 0.33), (0.3, 0.33), (1.0, 0.1)):
        times = CascadeTimes(STUDENT, TEACHER, share)
        fitted = ServiceCurve.fit(times.points(shapes))
        for shape in shapes:
            assert fitted.predict_s(*shape) == pytest.approx(times.predict_s(*shape), rel=off)
