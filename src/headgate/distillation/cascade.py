"""Who answers: a student where it is sure, its teacher elsewhere.

Two decisions, both pure, so that server, simulator and tests take the same ones. *Who escalates*
is a property of an item alone: how sure the student is of it, against a threshold. *Which
threshold* is learnt from data that neither trained nor judge, so that what is lost is within a
declared risk (``learn_threshold``).

A classifier is as sure as its best score stands out. One value stands out from nothing, so the
student of a predictor has learnt how far off it is (``values``), and says it beside its answer.

Knows nothing of engines: outputs come in as arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.theory.intervals import exact_interval
from headgate.theory.risk import fewest_losses, risk_bound, risk_p_values
from headgate.theory.significance import binomial_p_value

__all__ = [
    "CONFIDENCE",
    "Losses",
    "Threshold",
    "answers",
    "disagreements",
    "escalates",
    "fewest_items",
    "learn_threshold",
    "lost_answers",
    "lost_worth",
    "margins",
    "sureness",
]

CONFIDENCE = 0.95
"""The risk is kept in at least this share of all calibrations."""

Floats = NDArray[np.float64]
Losses = NDArray[np.bool_] | NDArray[np.float64]
"""(items,): whether each is lost, or the share of it that is."""
Scores = NDArray[np.generic]
"""(items, classes), the highest is the answer: probabilities or logits."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """How sure the student must be to answer, and what is known of it.

    Shares are of the ``n`` items that it was learnt from.
    """

    least: float
    """Between the least sure that the student still answers and the next below it."""
    escalated_share: float
    lost_share: float
    """Of the answers; of values the mean of what each loses of the metric's range."""
    risk: float
    """Declared: what ``lost_share`` may be of all that will be asked."""
    risk_bound: float
    """The upper bound of the true share at that confidence, at most ``risk``."""
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


def sureness(outputs: NDArray[np.generic], task: str) -> Floats:
    """How sure a student is of each item, (items,), at least 0; NaN where its answer is no number.

    Of ``classify`` its ``margins``. Of ``predict`` ``outputs`` are (items, values + 1), the last
    column the logarithm of how far off the values before it may be: it is as sure as ``exp`` of
    less that. Where that is infinite it is not sure at all, 0; one that is NaN or -inf is no number
    either. Raises ``ValueError`` for another shape.

    >>> sureness(np.array([[7.0, 0.0], [8.0, np.log(4.0)], [9.0, np.inf]]), "predict").tolist()
    [1.0, 0.25, 0.0]
    >>> sureness(np.array([[np.inf, 0.0], [7.0, -np.inf]]), "predict").tolist()
    [nan, nan]
    """
    if task != "predict":
        return margins(outputs)
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"values, and how far off they may be, are two columns or more, got {outputs.shape}"
        )
    doubt = outputs[:, -1].astype(np.float64)
    with np.errstate(over="ignore"):  # infinitely sure
        sure = np.exp(-doubt)
    known = np.isfinite(outputs[:, :-1]).all(axis=1) & (doubt > -np.inf)
    return np.where(known, sure, np.nan)


def answers(outputs: NDArray[np.generic], task: str) -> NDArray[np.generic]:
    """A copy of what a caller gets of a student's ``outputs``: of ``classify`` all as float32, of
    ``predict`` the values, of the type that they have.

    >>> answers(np.array([[7.0, 0.5]]), "predict")
    array([[7.]])
    """
    return outputs[:, :-1].copy() if task == "predict" else outputs.astype(np.float32)


def escalates(outputs: NDArray[np.generic], threshold: float, task: str) -> NDArray[np.bool_]:
    """Which items the teacher answers, shape (items,), from the student's ``outputs``.

    What is no number is never sure.

    >>> escalates(np.array([[0.5, 0.5], [0.75, 0.25], [np.nan, 0.0]]), 0.5, "classify").tolist()
    [True, False, True]
    """
    kept: NDArray[np.bool_] = sureness(outputs, task) >= threshold
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


def lost_worth(
    student: Sequence[float | None], teacher: Sequence[float | None], *, span: float, higher: bool
) -> Floats:
    """How much worse the student's answers are than the teacher's, (items,), 0 to 1.

    By a metric of which an item has one value, as a share of the ``span`` of its range; ``higher``
    where that is better. What the student answers better is not set off. An item of which the
    metric says nothing is lost whole: nobody can show that it is not.

    >>> lost_worth([0.5, 0.0, 3.0, None], [0.0, 1.0, 1.0, 0.0], span=4.0, higher=False).tolist()
    [0.125, 0.0, 0.5, 1.0]
    """
    sign = 1 if higher else -1
    return np.array(
        [
            1.0 if ours is None or theirs is None else max(0.0, sign * (theirs - ours)) / span
            for ours, theirs in zip(student, teacher, strict=True)
        ]
    )


def learn_threshold(
    sure: Floats,
    lost: Losses,
    risk: float,
    *,
    confidence: float = CONFIDENCE,
) -> Threshold | None:
    """The threshold under which most items are the student's while ``P(R > risk)`` is at most
    ``1 - confidence``.

    ``R`` is the true mean, over all items, of what is lost of those that the student answers;
    ``sure`` and ``lost`` (items,) are independent draws of what will be served, ``lost`` what would
    be lost were the item not to escalate: yes or no, or a share of it, 0 to 1. Of what the student
    is not sure at all, 0 or NaN, it answers nothing, so a threshold lies above 0. None where no
    threshold keeps the risk: with ``n`` items that is so where even none lost shows nothing, at
    95 % below 299 for a risk of 1 %.

    Learn then test (Angelopoulos et al., arXiv 2110.01052): thresholds are tested in a fixed
    sequence, the strictest first, each by a test of "R is at least the risk", until one cannot be
    rejected. The test is exact of yes and no, and bets on shares (``theory.risk``); which of both
    follows from the type, since shares that happen to be 0 and 1 are no coins. The first true
    hypothesis is rejected by chance at most as often as the confidence allows, so no correction is
    needed for their number. They need not be chosen beforehand either: what is lost under a
    threshold is lost under every lower one, so R only grows along the sequence, and whichever
    thresholds fell into the sample, the test that counts is the one where R reaches the risk: it is
    that of the same items (Bates et al., arXiv 2101.02703, theorem 1).

    >>> sure, lost = np.linspace(1, 0, 1000), np.arange(1000) >= 700
    >>> learn_threshold(sure, lost, risk=0.01).escalated_share
    0.296
    >>> learn_threshold(sure[:200], lost[:200], risk=0.01) is None
    True
    """
    n = len(sure)
    order = np.argsort(-sure, kind="stable")  # NaN last: never sure, at any threshold
    sorted_sure, sorted_lost = sure[order], lost[order]
    # Who are equally sure are kept together or not at all.
    ends = np.append(sorted_sure[1:] != sorted_sure[:-1], True)
    last = np.flatnonzero(ends & (sorted_sure > 0))
    fails = np.flatnonzero(_p_values(sorted_lost, risk)[last] > 1 - confidence)
    tested = last[: fails[0]] if len(fails) else last
    if len(tested) == 0:
        return None
    kept = int(tested[-1]) + 1
    sorted_lost[kept:] = 0  # those escalate
    return Threshold(
        least=_between(sorted_sure, kept),
        escalated_share=1 - kept / n,
        lost_share=float(sorted_lost.mean()),
        risk=risk,
        risk_bound=_bound(sorted_lost, confidence),
        n=n,
    )


def _p_values(lost: Losses, risk: float) -> Floats:
    """p of "R is at least ``risk``" if the first k of ``lost`` (n,) are kept, for each k, (n,)."""
    if lost.dtype != np.bool_:
        return risk_p_values(lost.astype(np.float64), risk)
    counts, places = np.unique(np.cumsum(lost), return_inverse=True)
    p_values: Floats = np.array([binomial_p_value(int(k), len(lost), risk) for k in counts])
    return p_values[places]


def _bound(lost: Losses, confidence: float) -> float:
    if lost.dtype != np.bool_:
        return risk_bound(lost.astype(np.float64), level=confidence)
    return exact_interval(int(lost.sum()), len(lost), level=confidence).high


def fewest_items(risk: float, *, shares: bool = False, confidence: float = CONFIDENCE) -> int:
    """With fewer items than this no threshold keeps ``risk``, even where nothing is lost; of what
    is lost or not, or of ``shares``.

    >>> fewest_items(0.01), fewest_items(0.01, shares=True)
    (299, 355)
    """
    if shares:
        return fewest_losses(risk, level=confidence)
    return math.ceil(math.log(1 - confidence) / math.log1p(-risk))


def _between(descending: Floats, kept: int) -> float:
    """Halfway to the next, or to 0: what a batch's rounding moves by 1e-7 seldom crosses it."""
    least = float(descending[kept - 1])
    if kept == len(descending) or np.isnan(descending[kept]):
        return least / 2
    return (least + float(descending[kept])) / 2
