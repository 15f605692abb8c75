"""Which of its teacher's layers a student takes, and what that leaves to learn.

A student made by dropping layers starts as a working model: tokenizer, embeddings and width are the
teacher's, so only the jumps over what was dropped must be learnt. Knows nothing of weights or of
training.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from headgate.errors import ConfigError

__all__ = ["Gap", "gaps", "layers_for", "validate_layers"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A jump: the student's layer ``student_layer`` must do the work of several teacher layers.

    It was the teacher's layer ``first``, and what it hands on should be what the teacher's layer
    ``last`` hands on, so that the student's next layer meets the input that it was made for.
    """

    student_layer: int
    first: int
    last: int

    @property
    def dropped(self) -> int:
        """Teacher layers that the jump replaces."""
        return self.last - self.first


def layers_for(kept: int, of: int) -> tuple[int, ...]:
    """The first layer and the last ``kept - 1``, of a teacher with ``of`` layers.

    The first adapts the embeddings, the last ones make the answer; the middle refines, and is what
    a few minutes of training can make good. ``docs/decisions/0003-student-recipe.md`` has the
    comparison with evenly spaced layers.

    Raises ``ConfigError`` unless 1 <= kept <= of.

    >>> layers_for(3, of=6)
    (0, 4, 5)
    >>> layers_for(6, of=6)
    (0, 1, 2, 3, 4, 5)
    """
    if not 1 <= kept <= of:
        raise ConfigError(
            f"a student of a teacher with {of} layers keeps 1 to {of} of them, not {kept}",
            where="students.layers",
            fix="choose a number of layers in that range",
        )
    return (0, *range(of - kept + 1, of))


def validate_layers(layers: Sequence[int], of: int) -> tuple[int, ...]:
    """``layers`` as a tuple; raises ``ConfigError`` unless they ascend within 0 .. ``of`` - 1.

    >>> validate_layers([0, 5], of=6)
    (0, 5)
    """
    chosen = tuple(layers)
    ascending = all(a < b for a, b in itertools.pairwise(chosen))
    if not chosen or not ascending or chosen[0] < 0 or chosen[-1] >= of:
        raise ConfigError(
            f"layers {list(chosen)} are not an ascending choice of 0 to {of - 1}",
            where="students.layers",
            fix=f"name each layer once, in order, for example {list(layers_for(min(3, of), of))}",
        )
    return chosen


def gaps(layers: Sequence[int], of: int) -> tuple[Gap, ...]:
    """The jumps of a student that keeps ``layers`` of ``of``, in the order in which they are met.

    >>> gaps((0, 4, 5), of=6)
    (Gap(student_layer=0, first=0, last=3),)
    >>> gaps((0, 2, 4), of=6)[-1]
    Gap(student_layer=2, first=4, last=5)
    """
    chosen = validate_layers(layers, of)
    following = (*chosen[1:], of)
    return tuple(
        Gap(student, first, after - 1)
        for student, (first, after) in enumerate(zip(chosen, following, strict=True))
        if after - 1 > first
    )
