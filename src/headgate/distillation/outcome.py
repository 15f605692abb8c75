"""From a student's loss against its teacher to what its endpoint counts, by one measured pilot.

The loss is a mean squared distance of embeddings. What a metric loses at a smaller one is seen on
the way from the teacher's answers to the pilot's (``sampled.between``): the same errors, made
smaller. Half of the errors of a student that learnt more are others, so what is read there is
uncertain by a factor, beside the luck of the items. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.forecast import Forecast
from headgate.errors import Undecided

__all__ = ["WAY", "forecast_metric", "standard_errors"]

WAY = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.3)
"""Shares of the pilot's loss at which the metric is measured."""
_OTHER_ERRORS = 0.25
"""Standard deviation of the logarithm of that factor."""


def forecast_metric(
    loss: Forecast,
    *,
    pilot_loss: float,
    lost: Mapping[float, NDArray[np.float64]],
    items: int,
    rng: np.random.Generator,
) -> Forecast:
    """The metric that the trained student will lose on ``items``, teacher less student.

    ``loss`` is the forecast of its loss, ``pilot_loss`` the pilot's on the same texts; ``lost`` has
    what each item of the sample loses, (items of the sample,), at each share of ``WAY``. The
    interval is one for what will be measured: it holds the luck of the sample, and of the items
    that it stands for. Raises ``Undecided`` with fewer than two items.
    """
    n = min(map(len, lost.values()), default=0)
    if n < 2:
        raise Undecided(
            "a pilot's metric needs two items at least",
            where=f"{n} items",
            fix="evaluate the pilot on more items",
        )
    at = np.array(sorted(lost))
    bend = _through_zero(at, np.array([lost[share].mean() for share in at]))
    spreads = np.array([0.0, *(lost[share].std(ddof=1) for share in at)])
    ratio = rng.permutation(np.asarray(loss.draws)) / pilot_loss
    mean = bend[0] * ratio + bend[1] * ratio**2
    factor = np.exp(_OTHER_ERRORS * rng.standard_normal(len(ratio)))
    spread = np.interp(ratio, [0.0, *at], spreads)
    luck = spread * math.sqrt(1 / n + 1 / items) * rng.standard_normal(len(ratio))
    draws = factor * mean + luck
    return Forecast(tuple(float(x) for x in np.sort(draws)), loss.coverage)


def _through_zero(at: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """``a`` and ``b`` of the best ``a x + b x^2``: ranks jump, and what is lost on average bends.

    What is lost of the second order in the errors is of the first in their squares.
    """
    columns = np.stack([at, at**2], axis=1)
    root = np.sqrt(at)[:, None]  # the variance of a mean grows about as its share does
    found: NDArray[np.float64] = np.linalg.lstsq(columns / root, means / root[:, 0])[0].astype(
        np.float64
    )
    return found


def standard_errors(
    losses: NDArray[np.float64], *, least_share: float = 0.01
) -> NDArray[np.float64]:
    """How much of each run's mean loss is luck of its texts, shape (runs,).

    ``losses`` is (runs, texts), each text's loss under each run. Texts that are hard for all say
    nothing of the runs; luck is what is left when text and run are each taken at their own. At
    least ``least_share`` of the mean: another seed gives another student.

    >>> standard_errors(np.outer([4.0, 2.0], [1.0, 3.0, 2.0])).tolist()
    [0.08, 0.04]
    """
    means = losses.mean(axis=1)
    hard = losses.mean(axis=0) / losses.mean()
    left = losses - means[:, None] * hard
    errors: NDArray[np.float64] = left.std(axis=1, ddof=1) / math.sqrt(losses.shape[1])
    floored: NDArray[np.float64] = np.maximum(errors, least_share * means)
    return floored
