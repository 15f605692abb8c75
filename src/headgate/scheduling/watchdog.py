"""When an engine call is given up: it takes many times what was predicted, and some seconds.

An engine that hangs says nothing, so only time can tell. Given up too early, good work is thrown
away and a model loaded for nothing; too late, callers wait for what never comes.
"""

from __future__ import annotations

import math

__all__ = ["Watchdog"]

_TIMES = 10.0
"""Predictions are learned, and short by a factor of two or three where a neighbour takes the
machine: ten is beyond that. A batch of three seconds has half a minute."""
_AT_LEAST_S = 5.0
"""A call of a millisecond may stand still for a second or two: pages are read back, a shape is
compiled at first sight. Callers and their proxies seldom give up before ten seconds."""
_LONGEST_GAP_S = 2.0
"""Looks come every second. Of two that are further apart than this, the rest was no engine's time:
the machine was suspended, the clock jumped, or the shell was held up and could hear of no end."""


class Watchdog:
    """Knows which calls are overdue: after ``times`` the prediction, and ``at_least_s`` at least.

    Somebody has to look now and then, about once a second, whatever happens. Never looked at, time
    is taken as it comes.

    >>> dog = Watchdog()
    >>> give_up_s = dog.give_up_s(0.0, predicted_s=0.002)
    >>> dog.overdue(give_up_s, 4.9), dog.overdue(give_up_s, 5.0)
    (False, True)
    """

    __slots__ = ("_at_least_s", "_excused_s", "_looked_s", "_times")

    def __init__(self, *, times: float = _TIMES, at_least_s: float = _AT_LEAST_S) -> None:
        self._times = times
        self._at_least_s = at_least_s
        self._looked_s: float | None = None
        self._excused_s = 0.0

    def give_up_s(self, now_s: float, predicted_s: float) -> float:
        """When to give up a call that starts now, in seconds that were watched."""
        return self._watched_s(now_s) + max(self._at_least_s, self._times * predicted_s)

    def overdue(self, give_up_s: float, now_s: float) -> bool:
        """Whether its time is over."""
        return self._watched_s(now_s) >= give_up_s

    def look(self, now_s: float) -> float:
        """Somebody looks; when somebody did before, minus infinity where nobody has."""
        before_s = -math.inf if self._looked_s is None else self._looked_s
        self._excused_s = now_s - self._watched_s(now_s)
        self._looked_s = now_s
        return before_s

    def _watched_s(self, now_s: float) -> float:
        gap_s = 0.0 if self._looked_s is None else now_s - self._looked_s
        return now_s - self._excused_s - max(0.0, gap_s - _LONGEST_GAP_S)
