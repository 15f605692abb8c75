"""Would the student have been as good without its teacher?

Holds a student against its control, item by item: the same start, texts and steps, but no teacher's
answers (``recipe.control``). Knows nothing of how either was trained or measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.distillation.preview import Advice
from headgate.theory.intervals import paired_mean_interval

__all__ = ["Gain", "gain_of"]

_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Gain:
    """What a teacher's answers added to a student."""

    metric: str
    value: float
    """Student minus control, the mean of the paired differences."""
    low: float
    """95 % bound from below, one-sided; ``high`` is that from above."""
    high: float
    n: int
    advice: Advice
    reason: str


def gain_of(
    metric: str,
    student: Sequence[float | None],
    control: Sequence[float | None],
    teacher: Sequence[float | None],
    *,
    margin: float,
) -> Gain:
    """The gain in ``metric``, of which more is better, on the same items in one order.

    ``margin`` is what the contract allows to be lost against the teacher. A control that is shown
    to lose no more would do, and where it surely does as well as the student but for that margin
    its teacher is not worth its cost. An item that errored anywhere is left out.

    >>> gain_of("recall@10", [1.0] * 100, [1.0, 0.0] * 50, [1.0] * 100, margin=0.02).advice.value
    'train'
    >>> same = [1.0, 0.0] * 500
    >>> gain_of("recall@10", same, same, same, margin=0.02).advice.value
    'do_not_train'
    """
    rows = [
        (s, c, t)
        for s, c, t in zip(student, control, teacher, strict=True)
        if s is not None and c is not None and t is not None
    ]
    if len(rows) < 2:
        raise ValueError(f"a gain needs two items that all answered, got {len(rows)}")
    ours, alone, theirs = ([row[i] for row in rows] for i in range(3))
    found = paired_mean_interval(ours, alone, level=_LEVEL, largest=2.0)
    kept = paired_mean_interval(alone, theirs, level=_LEVEL, largest=2.0)
    span = f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
    without = f"without them it loses {-kept.value:.4f} ({-kept.high:.4f} to {-kept.low:.4f})"
    said = f"its teacher's answers add {span}; {without}, and {margin:g} may be lost"
    if kept.low > -margin and found.high < margin:
        advice = Advice.DO_NOT_TRAIN
    elif found.low > 0:
        advice = Advice.TRAIN
    else:
        advice, said = Advice.LEARN_MORE, f"{said}: more items would tell"
    return Gain(metric, found.value, found.low, found.high, found.n, advice, said)
