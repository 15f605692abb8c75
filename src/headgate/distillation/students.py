"""Which of its teacher's layers a student takes, and what that leaves to learn.

A student made by dropping layers starts as a working model: tokenizer, embeddings and width are the
teacher's, so only the jumps over what was dropped must be learnt. One without layers has the
tokenizer and a vector for each token. Knows nothing of weights or of
training.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from headgate.distillation.recipe import Recipe
from headgate.errors import ConfigError, InputError

__all__ = [
    "STUDENTS",
    "check_tokenizer",
    "feed_forward_of",
    "layers_for",
    "targets",
    "validate_layers",
]

STUDENTS: Mapping[str, Recipe] = {
    "student2": Recipe(layers_kept=2),
    "student3": Recipe(layers_kept=3),
    "student4": Recipe(layers_kept=4),
    "narrow": Recipe(feed_forward_kept=0.75, max_texts=24_000, steps=3600, bridge_texts=1800),
    "static": Recipe(
        layers_kept=0,
        max_texts=24_000,
        steps=1200,
        batch_texts=128,
        peak_learning_rate=5e-3,
        weight_decay=0.0,
    ),
}
"""Name -> how it is made. On two cores the first three train for one or two minutes, ``static`` for
one, and ``narrow``, which is twice as fast as MiniLM's six layers, for about five."""

_UNIT_MULTIPLE = 16
"""Kernels work on registers of so many numbers."""


def layers_for(kept: int, of: int) -> tuple[int, ...]:
    """The first layer and the last ``kept - 1``, of a teacher with ``of`` layers.

    The first adapts the embeddings, the last ones make the answer; the middle refines, and is what
    a few minutes of training can make good. ``docs/decisions/0003-student-recipe.md`` has the
    comparison with evenly spaced layers.

    None of them for a static student. Raises ``ConfigError`` unless 0 <= kept <= of.

    >>> layers_for(3, of=6)
    (0, 4, 5)
    >>> layers_for(6, of=6), layers_for(0, of=6)
    ((0, 1, 2, 3, 4, 5), ())
    """
    if kept == 0:
        return ()
    if not 1 <= kept <= of:
        raise ConfigError(
            f"a student of a teacher with {of} layers keeps 1 to {of} of them, not {kept}",
            where="students.layers",
            fix="choose a number of layers in that range",
        )
    return (0, *range(of - kept + 1, of))


def feed_forward_of(recipe: Recipe, width: int) -> int:
    """Units inside a student layer's feed-forward half, where the teacher's has ``width``.

    >>> feed_forward_of(Recipe(layers_kept=4, feed_forward_kept=0.4), 1536)
    608
    >>> feed_forward_of(Recipe(), 1536)
    1536
    """
    if recipe.feed_forward_kept == 1:
        return width
    share = recipe.feed_forward_kept * width
    return min(width, max(1, round(share / _UNIT_MULTIPLE)) * _UNIT_MULTIPLE)


def check_tokenizer(answered: str, student: str) -> None:
    """Raises ``InputError`` where what the teacher answered was cut by another tokenizer.

    Both are digests of a tokenizer.json. Its size, or that of its vocabulary, would not tell: two
    of 30,522 tokens may number them differently.
    """
    if answered != student:
        raise InputError(
            f"the teacher's outputs come of the tokenizer {answered[:12]}, and its directory has "
            f"{student[:12]}",
            where="distillation",
            reason="other_tokenizer",
            fix="distil a teacher whose engine and directory have one tokenizer.json",
        )


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
