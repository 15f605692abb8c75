"""From a student's loss against its teacher to what its endpoint counts, by one measured pilot.

The loss is a mean squared distance of embeddings. What a metric loses at a smaller one is seen on
the way from the teacher's answers to the pilot's (``sampled.between``): the same errors, made
smaller. Half of the errors of a student that learnt more are others, and do less harm: by which
factor, trainings that are over tell (``history``). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.forecast import Forecast
from headgate.errors import Undecided
from headgate.theory.hierarchy import Measured, next_of_a_kind

__all__ = ["WAY", "Way", "forecast_metric", "standard_errors"]

Floats = NDArray[np.float64]

WAY = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.3)
"""Shares of the pilot's loss at which the metric is measured."""


@dataclass(frozen=True, slots=True)
class Way:
    """What a metric loses on the way from the teacher's answers to a pilot's, by its items.

    Ranks jump, and what is lost on average grows about as the loss does: what is lost of the second
    order in the errors is of the first in their squares. So each item's losses are taken for the
    best line through zero. Where the way bends, trainings that are over did so too (``history``).
    """

    slopes: Floats
    """Of each item's line: what it loses at the pilot's loss, (items,)."""
    at: Floats
    """Shares of the pilot's loss from 0 on, in order, (shares,)."""
    spreads: Floats
    """Standard deviation of what an item loses there, (shares,)."""

    @classmethod
    def of(cls, lost: Mapping[float, Sequence[float]]) -> Way:
        """``lost``: what each item of a sample loses, at each share of ``WAY``.

        Raises ``Undecided`` with fewer than two items.
        """
        n = min(map(len, lost.values()), default=0)
        if n < 2:
            raise Undecided(
                "a pilot's metric needs two items at least",
                where=f"{n} items",
                fix="evaluate the pilot on more items",
            )
        at = np.array(sorted(lost))
        by_share = np.array([lost[share] for share in at], dtype=np.float64)
        slopes = by_share.sum(axis=0) / at.sum()  # the variance of a mean grows about as its share
        spreads = np.array([0.0, *by_share.std(axis=1, ddof=1)])
        return cls(slopes, np.array([0.0, *at]), spreads)

    def lost(self, share: Floats) -> Floats:
        """What is lost at each ``share`` of the pilot's loss, on average."""
        result: Floats = self.slopes.mean() * share
        return result

    def luck(self, share: Floats, items: int) -> Floats:
        """Standard deviation around that of a student's mean over all ``items``.

        The sample is a part of these, and each of them may go one way or the other.
        """
        n = len(self.slopes)
        sampled = share * self.slopes.std(ddof=1) * math.sqrt(max(1 / n - 1 / items, 0.0))
        own = np.interp(share, self.at, self.spreads) / math.sqrt(items)
        result: Floats = np.hypot(sampled, own)
        return result


def forecast_metric(
    loss: Forecast,
    *,
    pilot_loss: float,
    way: Way,
    items: int,
    harms: Sequence[Measured],
    rng: np.random.Generator,
) -> Forecast:
    """The metric that the trained student will lose on ``items``, teacher less student.

    ``loss`` is the forecast of its loss, ``pilot_loss`` the pilot's on the same texts, ``harms`` of
    trainings that are over what ``history.Finished.harm`` says. The interval is one for what will
    be measured: it holds the luck of the sample, and of the items that it stands for.
    """
    share = rng.permutation(np.asarray(loss.draws)) / pilot_loss
    harm = np.maximum(next_of_a_kind(harms, size=len(share), rng=rng), 0.0)
    luck = way.luck(share, items) * rng.standard_normal(len(share))
    draws = harm * way.lost(share) + luck
    return Forecast(tuple(float(x) for x in np.sort(draws)), loss.coverage)


def standard_errors(losses: Floats, *, least_share: float = 0.05) -> Floats:
    """How much of each run's mean loss is luck of its texts, shape (runs,).

    ``losses`` is (runs, texts), each text's loss under each run. Texts that are hard for all say
    nothing of the runs; luck is what is left when text and run are each taken at their own. At
    least ``least_share`` of the mean: another seed gives another student, and short pilots stood up
    to 6 % above the start that they went on from, which no law does.

    >>> standard_errors(np.outer([4.0, 2.0], [1.0, 3.0, 2.0])).tolist()
    [0.4, 0.2]
    """
    means = losses.mean(axis=1)
    hard = losses.mean(axis=0) / losses.mean()
    left = losses - means[:, None] * hard
    errors: Floats = left.std(axis=1, ddof=1) / math.sqrt(losses.shape[1])
    floored: Floats = np.maximum(errors, least_share * means)
    return floored
