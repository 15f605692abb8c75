"""Students of a predictor: what they learn, and how they know how far off they are.

A value says nothing of how sure its student is, so a second formula is learnt: the logarithm of
how far student and teacher are apart, from items that the student did not learn from. It has only
to order items well. Whatever its scale, the threshold on it is learnt (``cascade``). Beyond what
these items span a formula says anything, so there it says nothing: the doubt is infinite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.errors import InputError

__all__ = ["Doubt", "Standard", "doubt_of", "squared_too"]

Floats = NDArray[np.float64]
_LEAST_APART = 1e-3
"""In deviations of the teacher's values: who is nearer is right, and no surer for it."""
_PENALTY_ITEMS = 10.0
"""So many items' worth of evidence speaks for features that say nothing."""
_SLACK = 0.25
"""Of what a feature spanned: an item may lie beyond either end by so much. Of normal numbers fewer
than one in 10,000 lies further, where 300 were seen."""
_ROUNDING = 1e-3
"""In deviations of a feature: by so much at least, also of one that was always the same."""


@dataclass(frozen=True, slots=True)
class Standard:
    """A teacher's values (items, values) as they are learnt: mean 0 and deviation 1 each."""

    mean: Floats
    deviation: Floats
    """(values,); 1 of a value that is always the same."""

    @classmethod
    def of(cls, outputs: NDArray[np.generic]) -> Standard:
        """Raises ``InputError`` for outputs that are no rows of finite values, or are all alike.

        >>> Standard.of(np.array([[1.0, 5.0], [3.0, 5.0]]))
        Standard(mean=array([2., 5.]), deviation=array([1., 1.]))
        """
        values = np.asarray(outputs, dtype=np.float64)
        if values.ndim != 2:
            raise InputError(
                f"its answers have shape {values.shape[1:]}: no row of values",
                where="the teacher",
                reason="no_values",
                fix="export the model so that its first output is (items, values)",
            )
        if not np.isfinite(values).all():
            raise InputError("it answers with NaN or infinity", where="the teacher")
        differ = values.max(axis=0) > values.min(axis=0)  # a deviation is hardly ever exactly 0
        if not differ.any():
            raise InputError(
                "its answers to data.train are all the same",
                where="the teacher",
                reason="values_alike",
                fix="give items of every kind that callers ask about",
            )
        return cls(values.mean(axis=0), np.where(differ, values.std(axis=0), 1.0))

    def scaled(self, outputs: NDArray[np.generic]) -> Floats:
        """As they are learnt; the answer is ``scaled * deviation + mean``."""
        scaled: Floats = (np.asarray(outputs, dtype=np.float64) - self.mean) / self.deviation
        return scaled


@dataclass(frozen=True, slots=True)
class Doubt:
    """The logarithm of how far off a student is, as ``of`` says it."""

    weight: NDArray[np.float32]
    """(2 * features, 1)"""
    bias: NDArray[np.float32]
    """(1,)"""
    least: NDArray[np.float32]
    """(1,), of all that it was learnt from: nobody is surer than the surest that was seen."""
    low: NDArray[np.float32]
    """(features,): what an item's may be at least, and at most ``high``, for anything to be known
    of it; each with the slack."""
    high: NDArray[np.float32]

    def of(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """``max(squared_too(x) @ weight + bias, least)`` for each of ``features`` (items,
        features), (items,); +inf of an item that lies outside, or of which one is NaN.

        What a student is exported with says the same (``engines.export_head``).
        """
        x = features.astype(np.float32)
        inside = ((x >= self.low) & (x <= self.high)).all(axis=1)
        apart = np.maximum(squared_too(x) @ self.weight + self.bias, self.least)[:, 0]
        return np.where(inside, apart, np.float32(np.inf))


def squared_too(features: NDArray[np.floating]) -> NDArray[np.floating]:
    """(items, features) with their squares beside them: a line is furthest off at both ends."""
    return np.concatenate([features, features**2], axis=1)


def doubt_of(features: NDArray[np.floating], student: Floats, teacher: Floats) -> Doubt:
    """By least squares with a penalty, from ``student`` and ``teacher`` (items, values), scaled.

    Items of several values are as far off as the root of their squares' sum. The student must not
    have learnt from these items, on which it would be too near. ``features`` (items, features) have
    a deviation of about 1. A square never makes surer: what is at the edge of all that was seen is
    not what a student knows best. Of what lies beyond it, by a quarter of what a feature spans,
    nothing is known at all.
    """
    apart = np.sqrt(((student - teacher) ** 2).sum(axis=1))
    wanted = np.log(apart + _LEAST_APART)
    both = squared_too(features.astype(np.float64))
    centre = both.mean(axis=0)
    x, y = both - centre, wanted - wanted.mean()
    weight = np.zeros(both.shape[1])
    used = np.arange(both.shape[1])
    while True:
        weight[:] = 0
        weight[used] = _penalized(x[:, used], y)
        surer = (weight < 0) & (np.arange(len(weight)) >= features.shape[1])
        if not surer.any():
            break
        used = used[~surer[used]]
    bias = wanted.mean() - centre @ weight
    least = (both @ weight + bias).min()
    low, high = features.min(axis=0), features.max(axis=0)
    slack = np.maximum(_SLACK * (high - low), _ROUNDING)
    columns = (weight[:, None], np.array([bias]), np.array([least]), low - slack, high + slack)
    return Doubt(*(column.astype(np.float32) for column in columns))


def _penalized(x: Floats, y: Floats) -> Floats:
    """Weights (columns,) with ``x.T @ (y - x @ w) = penalty * w``; of more columns than items from
    the items' products, since an image has thousands of the former."""
    items, columns = x.shape
    if columns > items:
        weight = x.T @ np.linalg.solve(x @ x.T + _PENALTY_ITEMS * np.eye(items), y)
    else:
        weight = np.linalg.solve(x.T @ x + _PENALTY_ITEMS * np.eye(columns), x.T @ y)
    return weight.astype(np.float64)
