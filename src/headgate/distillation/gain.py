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
    metric: str, student: Sequence[float | None], control: Sequence[float | None], *, margin: float
) -> Gain:
    """The gain in ``metric``, of which more is better, on the same items in one order.

    ``margin`` is what the contract allows to be lost: a gain that is surely smaller is nothing that
    anybody asked for, and a teacher that gives it is not worth its cost. An item that errored on
    either side is left out.

    >>> gain_of("recall@10", [1.0, 1.0] * 50, [1.0, 0.0] * 50, margin=0.02).advice.value
    'train'
    >>> gain_of("recall@10", [1.0, 0.0] * 500, [1.0, 0.0] * 500, margin=0.02).advice.value
    'do_not_train'
    """
    pairs = [
        (s, c) for s, c in zip(student, control, strict=True) if s is not None and c is not None
    ]
    if len(pairs) < 2:
        raise ValueError(f"a gain needs two items that both answered, got {len(pairs)}")
    found = paired_mean_interval(
        [s for s, _ in pairs], [c for _, c in pairs], level=_LEVEL, largest=2.0
    )
    span = f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
    if found.high < margin:
        advice = Advice.DO_NOT_TRAIN
        reason = f"its teacher's answers add {span}, less than the {margin:g} that may be lost"
    elif found.low > 0:
        advice, reason = Advice.TRAIN, f"its teacher's answers add {span}"
    else:
        advice = Advice.LEARN_MORE
        reason = f"its teacher's answers add {span}: more items would tell"
    return Gain(metric, found.value, found.low, found.high, found.n, advice, reason)
