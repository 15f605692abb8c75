"""Which of its teacher's layers a student takes, and what that leaves to learn.

A student made by dropping layers starts as a working model: tokenizer, embeddings and width are the
teacher's, so only the jumps over what was dropped must be learnt. Knows nothing of weights or of
training.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from headgate.distillation.recipe import Recipe
from headgate.errors import ConfigError

__all__ = ["STUDENTS", "layers_for", "targets", "validate_layers"]

STUDENTS: Mapping[str, Recipe] = {"student3": Recipe(layers_kept=3)}
"""Name -> how it is made."""


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


def targets(layers: Sequence[int], of: int) -> tuple[int, ...]:
    """The teacher layers whose outputs a student's layers should hand on, one for each.

    Each does its own work and that of the layers dropped behind it, so that the next one meets the
    input that it was made for.

    >>> targets((0, 4, 5), of=6)
    (3, 4, 5)
    """
    chosen = validate_layers(layers, of)
    return tuple(following - 1 for following in (*chosen[1:], of))
