"""What the next of a kind will be like, from noisy measurements of some before it.

Each has a value of its own, normal around the kind's mean, and was measured with an error::

    measured_i = own_i + error_i,    own_i ~ N(mean, between^2)

Neither the mean nor the spread between them is known; both get a flat prior, so that a few that
happen to agree do not make the next one certain (Gelman, "Prior distributions for variance
parameters in hierarchical models", 2006; Gelman et al., *Bayesian Data Analysis*, 3rd ed., section
5.4). Knows nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.theory._domain import require

__all__ = ["Measured", "next_of_a_kind"]

_GRID = 400
_WIDEST = 20.0
"""Largest spread that is considered, in standard deviations of what was measured."""
_FEWEST = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """A value and the standard error of its measurement, above 0."""

    value: float
    error: float


def next_of_a_kind(
    seen: Sequence[Measured], *, size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """``size`` equally likely values of one more of the kind, without an error of measurement.

    Of four at least: of fewer a flat prior on their spread leaves anything possible.

    >>> rng = np.random.default_rng(0)
    >>> made = next_of_a_kind([Measured(v, 0.1) for v in (1, 2, 3, 4, 5)], size=10_000, rng=rng)
    >>> np.quantile(made, [0.05, 0.5, 0.95]).round(1).tolist()
    [-1.7, 3.0, 7.8]
    """
    require(len(seen) >= _FEWEST, f"{len(seen)} of a kind say too little of the next")
    values = np.array([m.value for m in seen])
    errors = np.array([m.error for m in seen])
    require(bool(errors.min() > 0), "an error of measurement is above 0")
    widest = _WIDEST * max(float(values.std(ddof=1)), float(errors.min()))
    between = np.linspace(0, 1, _GRID) ** 2 * widest  # finer where it is small
    weights = 1 / (errors**2 + between[:, None] ** 2)
    precision = weights.sum(axis=1)
    means = (weights @ values) / precision
    misfit = np.sum(weights * (values - means[:, None]) ** 2, axis=1)
    log_density = 0.5 * (np.log(weights).sum(axis=1) - np.log(precision) - misfit)
    chances = np.exp(log_density - log_density.max()) * np.gradient(between)
    at = rng.choice(_GRID, size=size, p=chances / chances.sum())
    mean = means[at] + rng.standard_normal(size) / np.sqrt(precision[at])
    values_to_come: NDArray[np.float64] = mean + between[at] * rng.standard_normal(size)
    return values_to_come
