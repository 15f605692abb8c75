"""From a few small pilot runs to the full run: an ensemble of power laws.

A student's loss against its teacher, trained on ``n`` examples for ``s`` steps, is taken to be::

    loss(n, s) = e + a (n / N)^-alpha + b (s / S)^-beta,     a, b >= 0

with ``N`` and ``S`` of the run that is asked about, so that its loss is ``e + a + b``. A start that
is already good is worth texts and steps that nobody saw or took (Hernandez et al., "Scaling Laws
for Transfer", 2021): where its own loss is among the anchors, every law has so many of both, and
``n`` and ``s`` are counted from there. A few anchors cannot identify five parameters, so none is
chosen: many laws are drawn, the scale of each fitted, and each votes with the weight at which it
explains the anchors (Bayes' rule by importance sampling). The exponents and how ``a`` and ``b``
share the excess are drawn at random; how much of it is left to fall, from trainings that are over.
That draw matters most: a tenth of a training is far from its end, and near its floor training slows
down faster than any power law. How often a nominal 90 % holds, tests simulate. The form is that of
Hoffmann et al., "Training Compute-Optimal Large Language Models" (2022). Knows nothing of models,
clocks or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.errors import InputError
from headgate.theory.hierarchy import Measured, next_of_a_kind

__all__ = ["Anchor", "Forecast", "forecast"]

_HEAD_STARTS = (0.1, 10.0)
"""Of the longest anchor's texts and steps, what a start may be worth."""
_EXPONENTS = (0.05, 1.25)
"""Of alpha and beta, before the anchors are seen: from hardly falling to faster than 1/n."""
_LAWS = 40_000
_LEAST_VOTERS = 50.0
"""Laws that must count, however precise the anchors are."""
_LEAST_ANCHORS = 4


@dataclass(frozen=True, slots=True)
class Anchor:
    """One pilot: ``examples`` seen, ``steps`` taken, the ``loss`` then measured.

    None of either is the start, from which all others went on.

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
    falls: Sequence[Measured],
    more_texts: float,
    coverage: float = 0.9,
    standard_error: float = 0.0,
    batch_ratio: float = 1.0,
    draws: int = 2000,
) -> Forecast:
    """Forecasts the loss measured after a run of ``steps`` on ``examples``.

    The first anchor is where all began. ``falls``: of trainings that are over, by which power of
    the texts seen their loss fell from there to their end (``history.Finished.fall``);
    ``more_texts``: how many times as many this one sees. Where the batches asked about are
    ``batch_ratio`` times the anchors', one of its steps is worth something between one of theirs
    and ``batch_ratio`` of them: steps count where batches are large, examples where they are small
    (McCandlish et al., arXiv 1812.06162), and which they are is not known.
    ``standard_error`` is that of the measurement to come: with it the interval is one for what
    will be measured, without it one for the underlying loss. The same generator state gives the
    same forecast. Raises ``InputError`` with fewer than four anchors, or with any that is not
    positive in examples, steps and standard error.
    """
    _check(anchors, examples, steps)
    loss = np.array([a.loss for a in anchors])
    error = np.array([a.standard_error for a in anchors])
    seen, taken = (np.array([getattr(a, of) for a in anchors]) for of in ("examples", "steps"))
    alpha, beta = rng.uniform(*_EXPONENTS, size=(2, _LAWS, 1))
    worth = batch_ratio ** rng.uniform(size=(_LAWS, 1)) if batch_ratio != 1 else 1.0
    low, high = np.log(_HEAD_STARTS)
    head = np.exp(rng.uniform(low, high, size=(_LAWS, 1))) if taken.min() == 0 else 0.0
    data = ((seen + head * seen.max()) / (examples + head * seen.max())) ** -alpha
    time = ((taken + head * taken.max()) / (steps * worth + head * taken.max())) ** -beta
    # What a law loses at its end is 1. How much more it loses at the first anchor is drawn from
    # what became of other trainings, and how the excess is shared at random: a and b follow.
    fall = next_of_a_kind(falls, size=_LAWS, rng=rng)[:, None]
    excess = more_texts**fall - 1
    share = rng.uniform(size=(_LAWS, 1))
    growth = share * (data[:, [0]] - 1) + (1 - share) * (time[:, [0]] - 1)
    part = np.divide(excess, growth, out=np.zeros_like(growth), where=growth > 0)
    possible = part >= 0  # neither a nor b is below 0; a fall that is drawn counts, whatever e is
    at_anchors = 1 + part * (share * (data - 1) + (1 - share) * (time - 1))

    # The best scale of each law, and how well the anchors fit it then. Every order of magnitude of
    # it is as likely before they are seen: else laws that promise little would win by that alone.
    information = np.sum((at_anchors / error) ** 2, axis=1)
    scale = np.sum(at_anchors * loss / error**2, axis=1) / information
    misfit = np.sum(((scale[:, None] * at_anchors - loss) / error) ** 2, axis=1)
    # Where even the best law misses the anchors by more than their errors allow, the errors are
    # too small, or the law is wrong: they are widened until it fits as well as it should.
    inflation = max(1.0, misfit[possible[:, 0]].min() / max(len(anchors) - 3, 1))
    log_evidence = np.where(
        possible[:, 0], -0.5 * (misfit / inflation + np.log(information * scale**2)), -np.inf
    )
    voters = rng.choice(_LAWS, size=draws, p=_votes(log_evidence))
    spread = np.sqrt(inflation / information[voters])
    underlying = np.maximum(scale[voters] + spread * rng.standard_normal(draws), 0.0)
    outcome = underlying + standard_error * rng.standard_normal(draws)
    return Forecast(tuple(float(x) for x in np.sort(outcome)), coverage)


def _votes(log_evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of votes of each law, shape (laws,).

    Precise anchors can leave next to none of the laws that were drawn, and those would agree with
    each other by chance. The evidence is flattened until at least ``_LEAST_VOTERS`` count.
    """
    flat = 1.0
    while True:
        weight = np.exp(flat * (log_evidence - log_evidence.max()))
        votes: NDArray[np.float64] = weight / weight.sum()
        if 1 / float(votes @ votes) >= _LEAST_VOTERS:  # Kish's effective sample size
            return votes
        flat *= 0.8


def _check(anchors: Sequence[Anchor], examples: int, steps: int) -> None:
    if len(anchors) < _LEAST_ANCHORS:
        raise InputError(
            f"a forecast needs at least {_LEAST_ANCHORS} pilot figures, got {len(anchors)}",
            where="distillation preview",
            fix="run pilots at three data sizes and two step counts",
        )
    runs = [a for a in anchors if a.examples != 0 or a.steps != 0]
    figures = [(examples, steps, 1.0), *((a.examples, a.steps, 1.0) for a in runs)]
    if min(min(f) for f in figures) <= 0 or min(a.standard_error for a in anchors) <= 0:
        raise InputError(
            "examples, steps and standard errors are above 0",
            where="distillation preview",
            fix="measure each pilot on enough queries to give its figure a standard error",
        )
