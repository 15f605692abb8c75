"""Evidence that may be looked at after every observation, for ever: betting against a claim.

Who bets against "the mean is at most m", and cannot go broke, multiplies a capital in each round by
``1 + b * (x / m - 1)``, for ``x >= 0`` and a bet ``0 < b < 1`` that is made before x is seen. While
the claim holds (given all that was seen before) no bet gains on average, and by Ville's inequality
(1939) the capital ever reaches ``1 / alpha`` with a probability of at most alpha: however often,
and however long, somebody looks (Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", JRSS B 86, 2024; Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics
49, 2021). Of a share this is the binomial likelihood ratio of ``m + b * (1 - m)`` against m.

Nobody knows which bet is best, or when the claim begins to be false. So capital is divided among
several bets, and a new gambler begins in every round t, with ``1/log2(t + 1) - 1/log2(t + 2)``,
which add up to 1: a mixture of gamblers is one too, and those of good times do not hide what begins
later (the "e-detectors" of Shin, Ramdas and Rinaldo, 2024, with a budget that ends).

What is claimed is of *every round, given all that was seen before it*: the expected x is at most m.
Nothing else is assumed. Rounds may depend on each other, and differ, and x needs no distribution.
But that the mean over all rounds is at most m, some of them being expected to be above it, is not
the claim: such rounds are evidence. Who tests several claims spends a level on each: that none of
them is wrongly refuted has a probability of at least 1 less the sum of the levels (Boole), whether
or not they depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from headgate.theory._domain import require

__all__ = ["BETS", "Capital", "Change", "against_at_least", "against_at_most", "lower_bound"]

BETS = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
"""From small, for a mean just beyond the claim, to nearly all."""

_HALVINGS = 24

Mark = TypeVar("Mark")


def against_at_most(x: float, bound: float) -> tuple[float, ...]:
    """What each bet against "the mean is at most ``bound``" makes of 1, as a logarithm.

    ``x >= 0`` without a limit above, ``bound > 0``.

    >>> against_at_most(0.5, 0.5)
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    """
    require(x >= 0 and bound > 0, f"x is at least 0 and its bound above 0, got {x} and {bound}")
    return tuple(math.log1p(bet * (x / bound - 1.0)) for bet in BETS)


def against_at_least(x: float, bound: float, most: float) -> tuple[float, ...]:
    """The same against "the mean is at least ``bound``": ``1 + b * (bound - x) / (most - bound)``.

    ``x`` is at most ``most``, and ``bound`` below it.

    >>> against_at_least(1.0, 0.5, 1.0) == tuple(math.log1p(-bet) for bet in BETS)
    True
    """
    require(x <= most and bound < most, f"x and its bound are at most {most}, got {x} and {bound}")
    return tuple(math.log1p(bet * (bound - x) / (most - bound)) for bet in BETS)


class Capital:
    """What the gamblers hold, one round after the other; they began with 1 between them.

    Ten heads in a row against "at most half of the throws":

    >>> capital = Capital()
    >>> for _ in range(10):
    ...     capital.play(against_at_most(1.0, 0.5))
    >>> capital.log > math.log(1 / 0.05)
    True
    """

    __slots__ = ("_logs", "_rounds")

    def __init__(self, rounds: int = 0) -> None:
        self._rounds = rounds
        self._logs = [-math.inf] * len(BETS)

    @property
    def log(self) -> float:
        """Its logarithm, of what those gamblers hold who have begun; -inf before the first round.

        What the others still keep in their pockets is not counted: that only makes it smaller.
        """
        return _log_sum(self._logs)

    def play(self, gains: Sequence[float]) -> None:
        """One round: ``gains`` are the logarithms of what each bet made of 1."""
        self._rounds += 1
        begins = math.log(_share(self._rounds) / len(BETS))
        self._logs = [
            _log_add(held, begins) + gain for held, gain in zip(self._logs, gains, strict=True)
        ]

    def begin_anew(self) -> None:
        """All capital is put away; gamblers who come later begin with what is left for them."""
        self._logs = [-math.inf] * len(BETS)


class Change(Generic[Mark]):
    """Since when a claim is probably false (Page, 1954): where those last rounds begin that speak
    most against it. Says nothing of whether it is; ``Capital`` does.

    >>> change = Change[int]()
    >>> for i, x in enumerate([0.0, 0.1, 0.0, 0.9, 0.8, 1.0]):
    ...     change.play(against_at_most(x, 0.2), i)
    >>> change.since
    3
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[tuple[float, Mark]] = []

    def play(self, gains: Sequence[float], mark: Mark) -> None:
        """One round, as ``Capital.play`` takes it. ``mark`` is what is to be known of its begin."""
        before = self._held or [(0.0, mark)] * len(BETS)
        # A bet that has lost what it began with begins anew.
        self._held = [
            (held + gain, since) if held > 0 else (gain, mark)
            for (held, since), gain in zip(before, gains, strict=True)
        ]

    @property
    def since(self) -> Mark:
        """The mark of the first of those rounds; there was one round at least."""
        return max(self._held, key=lambda held: held[0])[1]


def lower_bound(xs: Sequence[float], *, alpha: float, rounds_before: int = 0) -> float:
    """The largest bound that the last ``xs`` refute at ``alpha``, after so many rounds before; or
    0. With probability ``1 - alpha`` what was expected of some round was above it, whenever this is
    asked.

    >>> lower_bound([1.0] * 100, alpha=0.05)
    0.948
    >>> lower_bound([0.0] * 100, alpha=0.05)
    0.0
    """

    values, bets = np.asarray(xs, np.float64), np.array(BETS)[:, np.newaxis]
    begins = [math.log(_share(rounds_before + t) / len(BETS)) for t in range(1, len(xs) + 1)]

    def refuted(bound: float) -> bool:
        gains = np.log1p(bets * (values / bound - 1.0))
        # What each gambler holds, by bet and by the round in which they began.
        held = np.cumsum(gains[:, ::-1], axis=1)[:, ::-1] + begins
        return bool(np.logaddexp.reduce(held, axis=None) >= -math.log(alpha))

    # Evidence falls as the bound rises, and no bound above the largest x is ever refuted.
    low, high = 0.0, max(xs, default=0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle > 0 and refuted(middle):
            low = middle
        else:
            high = middle
    return low


def _share(t: int) -> float:
    """Of all capital, that of those who begin in round t."""
    return 1 / math.log2(t + 1) - 1 / math.log2(t + 2)


def _log_add(a: float, b: float) -> float:
    """``log(e^a + e^b)``."""
    if a < b:
        a, b = b, a
    return a + math.log1p(math.exp(b - a)) if b > -math.inf else a


def _log_sum(logs: Sequence[float]) -> float:
    highest = max(logs)
    if highest == -math.inf:
        return highest
    return highest + math.log(math.fsum(math.exp(x - highest) for x in logs))
