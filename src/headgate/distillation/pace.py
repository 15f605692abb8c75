"""When a training saves, validates and stops. Takes the time as an argument; knows no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Cadence", "best_of", "has_stalled", "validation_due"]

_PARTS = 125
"""A hundredth of the work, less what the step and the saving that are cut off have taken."""
_COST_MULTIPLE = 6


@dataclass
class Cadence:
    """When to write a checkpoint: a kill shall lose at most a hundredth of the work.

    Where the disk is so slow that this would take more than a seventh of the time, less often:
    the work between two checkpoints is at least six times what the last one took.
    """

    steps: int
    _step: int = 0
    _since_s: float = 0.0
    _took_s: float = 0.0

    def due(self, step: int, now_s: float) -> bool:
        """Whether to save now that ``step`` steps are done."""
        return step - self._step >= max(1, self.steps // _PARTS) and self.pays(now_s)

    def pays(self, now_s: float) -> bool:
        """Whether what was done since the last checkpoint took long enough to save it: all that is
        asked of the start and of a validation, which have no steps."""
        return now_s - self._since_s >= _COST_MULTIPLE * self._took_s

    def saved(self, step: int, *, began_s: float, ended_s: float) -> None:
        """Tells of a checkpoint that was written, or read, at ``step``."""
        self._step, self._since_s, self._took_s = step, ended_s, ended_s - began_s


def validation_due(
    curve: Sequence[tuple[int, float]], step: int, *, steps: int, every: int
) -> bool:
    """Whether the held-back texts are to be judged after ``step`` of ``steps``, and are not yet.

    >>> curve = [(10, 0.5)]
    >>> [step for step in range(26) if validation_due(curve, step, steps=25, every=10)]
    [20, 25]
    """
    judged = bool(curve) and curve[-1][0] == step
    return step > 0 and (step % every == 0 or step == steps) and not judged


def best_of(curve: Sequence[tuple[int, float]]) -> tuple[int, float]:
    """The (step, loss) of the lowest loss, the first of equals.

    >>> best_of([(10, 0.5), (20, 0.3), (30, 0.4)])
    (20, 0.3)
    """
    return min(curve, key=lambda point: point[1])


def has_stalled(curve: Sequence[tuple[int, float]], patience: int) -> bool:
    """Whether the last ``patience`` validations of ``curve`` brought no new best.

    >>> curve = [(10, 0.5), (20, 0.3), (30, 0.4), (40, 0.35)]
    >>> has_stalled(curve, patience=2), has_stalled(curve, patience=3)
    (True, False)
    """
    losses = [loss for _, loss in curve]
    return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])
