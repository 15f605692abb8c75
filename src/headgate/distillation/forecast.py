"""From a few small pilot runs to the full run: an ensemble of power laws.

A student's loss against its teacher, trained on ``n`` examples for ``s`` steps, is taken to be::

    loss(n, s) = e + a (n / N)^-alpha + b (s / S)^-beta,     e, a, b >= 0

with ``N`` and ``S`` of the run that is asked about, so that its loss is ``e + a + b``. Six anchors
cannot identify five parameters, so none is chosen: every pair of exponents on a grid is fitted
(non-negative least squares), each fit is repeated on anchors perturbed by their own measurement
error, and all of them vote, weighted by how well they explain the anchors. What the pilots leave
open shows as a wide interval. The form is that of Hoffmann et al., "Training Compute-Optimal Large
Language Models" (2022). Knows nothing of models, clocks or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from headgate.errors import InputError

__all__ = ["Anchor", "Forecast", "forecast"]

Array = NDArray[np.float64]

_EXPONENTS = np.array([0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5])
_LEAST_ANCHORS = 4


@dataclass(frozen=True, slots=True)
class Anchor:
    """One pilot: ``examples`` seen, ``steps`` taken, the ``loss`` then measured.

    ``standard_error`` of that measurement, in the unit of ``loss``, above 0.
    """

    examples: int
    steps: int
    loss: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """A distribution of the loss of a run not yet made, as equally likely draws in order."""

    draws: tuple[float, ...]
    coverage: float
    """Probability that [lower, upper] is meant to hold, 0 to 1."""

    @property
    def median(self) -> float:
        return float(np.median(self.draws))

    @property
    def lower(self) -> float:
        return float(np.quantile(self.draws, (1 - self.coverage) / 2))

    @property
    def upper(self) -> float:
        return float(np.quantile(self.draws, (1 + self.coverage) / 2))

    def probability_at_most(self, loss: float) -> float:
        """Share of the draws that do not exceed ``loss``."""
        return float(np.mean(np.asarray(self.draws) <= loss))


def forecast(
    anchors: Sequence[Anchor],
    *,
    examples: int,
    steps: int,
    rng: np.random.Generator,
    coverage: float = 0.9,
    standard_error: float = 0.0,
    draws: int = 2000,
) -> Forecast:
    """Forecasts the loss measured after a run of ``steps`` on ``examples``.

    ``standard_error`` is that of the measurement to come: with it the interval is one for what
    will be measured, without it one for the underlying loss. The same generator state gives the
    same forecast. Raises ``InputError`` with fewer than four anchors, or with any that is not
    positive in examples, steps and standard error.
    """
    _check(anchors, examples, steps)
    n = np.array([a.examples for a in anchors]) / examples
    s = np.array([a.steps for a in anchors]) / steps
    loss = np.array([a.loss for a in anchors])
    error = np.array([a.standard_error for a in anchors])

    shapes = [(alpha, beta) for alpha in _EXPONENTS for beta in _EXPONENTS]
    misfit = np.empty(len(shapes))
    fitted = np.empty((len(shapes), len(anchors)))
    for i, (alpha, beta) in enumerate(shapes):
        columns = _columns(n, s, alpha, beta)
        coefficients = _fit(columns, loss, error)
        fitted[i] = columns @ coefficients
        misfit[i] = np.sum(((fitted[i] - loss) / error) ** 2)
    # Where even the best law misses the anchors by more than their errors, the errors are too
    # small (or the law is wrong): widen them until the best fit is as good as it should be.
    freedom = max(len(anchors) - 3, 1)
    error = error * np.sqrt(max(1.0, misfit.min() / freedom))
    weight = np.exp(-0.5 * (misfit - misfit.min()) / max(1.0, misfit.min() / freedom))
    voters = rng.choice(len(shapes), size=draws, p=weight / weight.sum())

    outcome = np.empty(draws)
    for k, voter in enumerate(voters):
        alpha, beta = shapes[voter]
        again = loss + error * rng.standard_normal(len(loss))
        outcome[k] = _fit(_columns(n, s, alpha, beta), again, error).sum()
    outcome += standard_error * rng.standard_normal(draws)
    return Forecast(tuple(float(x) for x in np.sort(outcome)), coverage)


def _columns(n: Array, s: Array, alpha: float, beta: float) -> Array:
    return np.stack([np.ones_like(n), n**-alpha, s**-beta], axis=1)


def _fit(columns: Array, loss: Array, error: Array) -> Array:
    solution, _ = nnls(columns / error[:, None], loss / error)
    result: Array = solution
    return result


def _check(anchors: Sequence[Anchor], examples: int, steps: int) -> None:
    if len(anchors) < _LEAST_ANCHORS:
        raise InputError(
            f"a forecast needs at least {_LEAST_ANCHORS} pilot figures, got {len(anchors)}",
            where="distillation preview",
            fix="run pilots at three data sizes and two step counts",
        )
    figures = [(examples, steps, 1.0), *((a.examples, a.steps, a.standard_error) for a in anchors)]
    if min(min(f) for f in figures) <= 0:
        raise InputError(
            "examples, steps and standard errors are above 0",
            where="distillation preview",
            fix="measure each pilot on enough queries to give its figure a standard error",
        )
