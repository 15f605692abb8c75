"""Whether a teacher was needed."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.distillation import Advice, gain_of


def items(share: float, n: int = 1300, seed: int = 0) -> list[float | None]:
    return [float(x) for x in np.random.default_rng(seed).random(n) < share]


def test_a_teacher_that_adds_more_than_may_be_lost_is_worth_it() -> None:
    """Seventy of a hundred found with it, sixty without; the interval is that of the pairs."""
    found = gain_of("recall@10", items(0.7), items(0.6), items(0.7), margin=0.02)
    assert found.advice is Advice.TRAIN
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(0.1, abs=0.02)
    assert found.n == 1300


def test_a_teacher_that_adds_nothing_is_not_distilled() -> None:
    """The same answers with it and without: surely less than two points."""
    same = items(0.7)
    found = gain_of("recall@10", same, same, same, margin=0.02)
    assert found.advice is Advice.DO_NOT_TRAIN
    assert found.value == 0


def test_a_gain_that_is_shown_but_smaller_than_may_be_lost_is_not_worth_a_teacher() -> None:
    """One item in a hundred, of a hundred thousand."""
    control = items(0.5, 100_000)
    student = [1.0 if i % 200 == 0 else c for i, c in enumerate(control)]
    found = gain_of("recall@10", student, control, student, margin=0.02)
    assert found.low > 0
    assert found.advice is Advice.DO_NOT_TRAIN


def test_a_control_that_breaks_the_contract_is_no_reason_not_to_distil() -> None:
    """The student keeps what was promised, the control loses more than may be lost: whatever the
    student gains on it, the teacher was needed."""
    teacher, student, control = items(1.0), items(0.923), items(0.769, seed=1)
    found = gain_of("recall@10", student, control, teacher, margin=0.2)
    assert found.high < 0.2
    assert found.advice is Advice.TRAIN


def test_too_few_items_tell_nothing() -> None:
    """Forty items that differ at random: neither shown nor ruled out."""
    found = gain_of(
        "recall@10", items(0.7, 40), items(0.7, 40, seed=1), items(1.0, 40), margin=0.02
    )
    assert found.advice is Advice.LEARN_MORE


def test_items_that_errored_on_either_side_are_left_out() -> None:
    """Three of five pairs answered on both sides."""
    student, control = [1.0, None, 1.0, 1.0, 0.0], [0.0, 1.0, None, 1.0, 0.0]
    found = gain_of("recall@10", student, control, [1.0] * 5, margin=0)
    assert found.n == 3
    with pytest.raises(ValueError, match="needs two items"):
        gain_of("recall@10", [1.0, None], [1.0, 1.0], [1.0, 1.0], margin=0)
