"""Who answers: a student where it is confident, its teacher elsewhere.

Two decisions, both pure, so that server, simulator and tests take the same ones. *Who escalates*
is a property of an item alone: the student's margin on it, against a threshold. *Which threshold*
is learnt from data that neither trained nor judge, so that the answers lost are within a declared
risk (``learn_threshold``).

Knows nothing of engines: scores come in as arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.theory.intervals import exact_interval
from headgate.theory.significance import binomial_p_value

__all__ = [
    "CONFIDENCE",
    "Threshold",
    "disagreements",
    "escalates",
    "fewest_items",
    "learn_threshold",
    "lost_answers",
    "margins",
]

CONFIDENCE = 0.95
"""The risk is kept in at least this share of all calibrations."""

Scores = NDArray[np.generic]
"""(items, classes), the highest is the answer: probabilities or logits."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The lowest margin that the student may answer with, and what is known of it.

    Shares are of the ``n`` items that it was learnt from.
    """

    margin: float
    """Between the least margin that the student still answers with and the next below it."""
    escalated_share: float
    lost_share: float
    risk: float
    """Declared: the share of answers that may be lost."""
    risk_bound: float
    """The exact upper bound of the true share at that confidence, at most ``risk``."""
    n: int


def margins(scores: Scores) -> NDArray[np.float64]:
    """How far the highest score lies above the second, shape (items,); NaN where one is NaN.

    Of logits that is the logarithm of the odds between the two. It rises as one class stands out
    whatever the scores' scale, and asks nothing of them: a probability that is badly calibrated
    moves the threshold and not the risk. Raises ``ValueError`` with fewer than two classes.

    >>> margins(np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])).tolist()
    [0.25, 0.625]
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"a margin needs two classes or more a row, got shape {scores.shape}")
    two = np.partition(scores, -2, axis=1)[:, -2:].astype(np.float64)  # NaN counts as highest
    with np.errstate(invalid="ignore"):  # two that are infinite
        margin: NDArray[np.float64] = two[:, 1] - two[:, 0]
    return margin


def escalates(scores: Scores, threshold: float) -> NDArray[np.bool_]:
    """Which items the teacher answers, shape (items,), from the student's ``scores``.

    What is no number is never confident.

    >>> escalates(np.array([[0.5, 0.5], [0.75, 0.25], [np.nan, 0.0]]), 0.5).tolist()
    [True, False, True]
    """
    kept: NDArray[np.bool_] = margins(scores) >= threshold
    return ~kept


def lost_answers(student: Scores, teacher: Scores, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Items that the teacher has right and the student wrong, shape (items,).

    A cascade's loss of accuracy is at most the share of these that do not escalate: what the
    student has right and the teacher wrong is not set off against them.
    """
    lost: NDArray[np.bool_] = (teacher.argmax(axis=1) == labels) & disagreements(student, teacher)
    return lost


def disagreements(student: Scores, teacher: Scores) -> NDArray[np.bool_]:
    """Items on which they name different classes, shape (items,): all that can be lost."""
    differ: NDArray[np.bool_] = student.argmax(axis=1) != teacher.argmax(axis=1)
    return differ


def learn_threshold(
    margin: NDArray[np.float64],
    lost: NDArray[np.bool_],
    risk: float,
    *,
    confidence: float = CONFIDENCE,
) -> Threshold | None:
    """The threshold under which most items are the student's while ``P(R > risk)`` is at most
    ``1 - confidence``.

    ``R`` is the true share of items that the student answers and loses; ``margin`` and ``lost``
    (items,) are independent draws of what will be served, ``lost`` what would be lost were the
    item not to escalate. None where no threshold keeps the risk: with ``n`` items that is so where
    even none lost shows nothing, at 95 % below 299 for a risk of 1 %.

    Learn then test (Angelopoulos et al., arXiv 2110.01052): thresholds are tested in a fixed
    sequence, the strictest first, each by an exact binomial test of "R is at least the risk", until
    one cannot be rejected. The first true hypothesis is rejected by chance at most as often as the
    confidence allows, so no correction is needed for their number. They need not be chosen
    beforehand either: an item that is lost under a threshold is lost under every lower one, so R
    only grows along the sequence, and whichever margins fell into the sample, the test that counts
    is the one where R reaches the risk (Bates et al., arXiv 2101.02703, theorem 1).

    >>> margin, lost = np.linspace(1, 0, 1000), np.arange(1000) >= 700
    >>> learn_threshold(margin, lost, risk=0.01).escalated_share
    0.296
    >>> learn_threshold(margin[:200], lost[:200], risk=0.01) is None
    True
    """
    n = len(margin)
    order = np.argsort(-margin, kind="stable")  # NaN last: never confident, at any threshold
    sorted_margin, lost_so_far = margin[order], np.cumsum(lost[order])
    kept = 0
    for last in range(np.count_nonzero(~np.isnan(margin))):
        if last + 1 < n and sorted_margin[last + 1] == sorted_margin[last]:
            continue  # equal margins are kept together or not at all
        if binomial_p_value(int(lost_so_far[last]), n, risk) > 1 - confidence:
            break
        kept = last + 1
    if kept == 0:
        return None
    events = int(lost_so_far[kept - 1])
    return Threshold(
        margin=_between(sorted_margin, kept),
        escalated_share=1 - kept / n,
        lost_share=events / n,
        risk=risk,
        risk_bound=exact_interval(events, n, level=confidence).high,
        n=n,
    )


def fewest_items(risk: float, *, confidence: float = CONFIDENCE) -> int:
    """With fewer items than this no threshold keeps ``risk``, even where nothing is lost.

    >>> fewest_items(0.01)
    299
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-risk))


def _between(descending: NDArray[np.float64], kept: int) -> float:
    """Halfway to the next margin: what a batch's rounding moves by 1e-7 seldom crosses it."""
    least = float(descending[kept - 1])
    if kept == len(descending) or np.isnan(descending[kept]):
        return least / 2  # margins are at least 0
    return (least + float(descending[kept])) / 2
