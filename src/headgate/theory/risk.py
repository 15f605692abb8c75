"""Is the mean of losses between 0 and 1 below a risk? Of them only the range is known.

By betting that it is: who holds 1 and multiplies it by ``1 + b*(r - x)/(1 - r)`` for each loss x,
with ``0 <= b < 1``, gains nothing on average while the mean is at least r, so that ``1/capital`` is
a p-value (Markov; Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting", JRSS B 86, 2024, section 4.2). The bets are the same for every loss, so their order does
not matter, and the capital is the mean over two: nearly all where losses are small, and half, which
a few that are whole do not ruin.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from headgate.theory._domain import require
from headgate.theory.significance import fewest

__all__ = ["fewest_losses", "risk_bound", "risk_p_values"]

Floats = NDArray[np.float64]
_BETS = np.array([[0.5], [0.99]])
_HALVINGS = 40


def risk_p_values(losses: Floats, risk: float) -> Floats:
    """p of "the mean loss is at least ``risk``", (n,): the k-th as if after the first k of
    ``losses`` (n,), independent and each in 0 to 1, nothing were lost. ``0 < risk < 1``.

    >>> risk_p_values(np.full(1000, 0.005), 0.01)[[499, 999]]
    array([0.0011, 0.0126])
    """
    require(bool(((losses >= 0) & (losses <= 1)).all()), "a loss lies between 0 and 1")
    require(0 < risk < 1, f"a risk lies between 0 and 1, got {risk}")
    stakes, n = _BETS / (1 - risk), len(losses)
    played = np.cumsum(np.log1p(stakes * (risk - losses)), axis=1)
    spared = np.log1p(stakes * risk) * np.arange(n - 1, -1, -1)
    capital = np.logaddexp.reduce(played + spared, axis=0) - math.log(len(_BETS))
    p_values: Floats = np.exp(-np.maximum(capital, 0.0))
    return p_values


def risk_bound(losses: Floats, *, level: float) -> float:
    """The least mean loss that ``losses`` rule out at ``level``; 1 where they rule out none.

    Capital grows with the risk, so it is found by halving, and rounded up.

    >>> risk_bound(np.full(1000, 0.005), level=0.95)
    0.00854
    """
    require(0 < level < 1, f"a level lies between 0 and 1, got {level}")
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        ruled_out = risk_p_values(losses, middle)[-1] <= 1 - level
        low, high = (low, middle) if ruled_out else (middle, high)
    return high


def fewest_losses(risk: float, *, level: float) -> int:
    """With fewer than this nothing is ruled out at ``level``, even where nothing is lost.

    >>> fewest_losses(0.01, level=0.95)
    355
    """
    require(0 < risk < 1, f"a risk lies between 0 and 1, got {risk}")
    gains = np.log1p(_BETS * risk / (1 - risk))

    def enough(n: int) -> bool:
        capital = np.logaddexp.reduce(n * gains, axis=None) - math.log(len(_BETS))
        return bool(capital >= -math.log(1 - level))

    least = fewest(enough)
    assert least is not None, "a capital that grows reaches everything"
    return least
