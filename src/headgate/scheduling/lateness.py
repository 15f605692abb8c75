"""How far a predicted finish may be trusted: the factor that all but one in a hundred keep.

Under lasting overload the queue stands where a request just makes its deadline, by prediction. A
prediction that is right on average then makes half of the promises and breaks the other half. So
what is promised is what nearly all keep.
"""

from __future__ import annotations

import math

__all__ = ["Lateness"]

_STEP = 0.004
_MOST = math.log(10.0)


class Lateness:
    """Tracks a quantile of ``taken_s / predicted_s`` from one finish after another.

    Stochastic approximation (Robbins, Monro 1951) of the quantile that minimizes the pinball loss
    (Koenker, Bassett 1978), in logarithms: up by ``step * level`` after a request that took longer
    than promised, down by ``step * (1 - level)`` after one that did not. Between 1 and 10, from 1.

    >>> late = Lateness()
    >>> for i in range(100_000):
    ...     late.observe(1.0 + i % 100 / 100, 1.0)  # between 1 and 2 times as long, evenly
    >>> 1.9 < late.factor < 2.1
    True
    """

    __slots__ = ("_level", "_log", "factor")

    def __init__(self, *, level: float = 0.99) -> None:
        assert 0 < level < 1
        self._level = level
        self._log = 0.0
        self.factor = 1.0
        """By which a predicted time is to be multiplied before it is promised."""

    def observe(self, taken_s: float, predicted_s: float) -> None:
        """A request took ``taken_s`` from its arrival; ``predicted_s`` above 0 was predicted."""
        kept = taken_s <= predicted_s * self.factor
        self._log = min(max(self._log + _STEP * (self._level - kept), 0.0), _MOST)
        self.factor = math.exp(self._log)
