"""Small students, as values: how each is made, and what a classifier's learns from its teacher (a
predictor's: ``values``).

They are small on purpose. A student that answers most items a hundred times as cheaply pays in a
cascade even where it would fail alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.errors import ConfigError, InputError
from headgate.theory.divergence import softmax

__all__ = ["HEADS", "HeadRecipe", "as_probabilities", "check_classes", "softened"]

_SUM_TOLERANCE = 1e-3
_LEAST_PROBABILITY = 1e-7


@dataclass(frozen=True, slots=True)
class HeadRecipe:
    """Layers on an item's numbers, or on the mean of its tokens' vectors. No unit is hidden."""

    hidden: int = 0
    """Units of the one hidden layer; 0 is none, a linear model."""
    dimensions: int = 64
    """Of a token's vector, where the teacher has none to begin with."""
    max_items: int = 20_000
    """Items to learn from, at most: ``curriculum.subset``'s, so that the choice is stable."""
    steps: int = 2000
    batch_items: int = 64
    peak_learning_rate: float = 5e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    temperature: float = 2.0
    """Of the soft targets (``losses.soft_target``)."""

    def __post_init__(self) -> None:
        least = {"hidden": 0, "weight_decay": 0, "dimensions": 1, "steps": 1, "batch_items": 1}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ConfigError(f"{name} must be at least {limit}", where="distillation")
        if not (self.temperature > 0 and self.peak_learning_rate > 0 and self.max_items > 0):
            raise ConfigError(
                "temperature, peak_learning_rate and max_items must be above 0",
                where="distillation",
            )


HEADS: Mapping[str, HeadRecipe] = {"linear": HeadRecipe(), "mlp": HeadRecipe(hidden=64)}
"""Name -> how it is made."""


def as_probabilities(outputs: NDArray[np.generic]) -> tuple[NDArray[np.float64], bool]:
    """A classifier's ``outputs`` (items, classes) as probabilities, and whether they were already.

    Rows that are not negative and sum to 1 are; all else is taken for logits. A student answers
    with what its teacher does, so that callers see one scale.

    Raises ``InputError`` with fewer than two classes, or where an output is not finite.

    >>> as_probabilities(np.array([[0.25, 0.75]]))[1], as_probabilities(np.array([[0.0, 0.0]]))[0]
    (True, array([[0.5, 0.5]]))
    """
    scores = np.asarray(outputs, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise InputError(
            f"its answers have shape {scores.shape[1:]}: no scores of two classes or more",
            where="the teacher",
            reason="no_scores",
            fix="export the classifier so that its first output holds the scores of the classes",
        )
    if not np.isfinite(scores).all():
        raise InputError("it answers with NaN or infinity", where="the teacher")
    if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, rtol=0, atol=_SUM_TOLERANCE):
        return scores, True
    return softmax(scores), False


def softened(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """``softmax(log p / T)``: what a teacher thinks of the wrong classes, made audible.

    >>> softened(np.array([[0.8, 0.2]]), 2.0)
    array([[0.667, 0.333]])
    """
    raised = np.maximum(probabilities, _LEAST_PROBABILITY) ** (1 / temperature)
    result: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return result


def check_classes(classes: NDArray[np.integer], whose: str) -> None:
    """Raises ``InputError`` where all items are of one class: then there is nothing to tell apart.

    >>> check_classes(np.array([1, 0]), "data.train")
    """
    found = np.unique(classes)
    if len(found) < 2:
        named = "no class" if not len(found) else f"class {found[0]} alone"
        raise InputError(
            f"its items are of {named}",
            where=whose,
            reason="one_class",
            fix="give items of every class that callers ask about",
        )
