"""Little's law on live traffic: an alarm on the instruments, not on the load.

Whatever arrives, in whatever order it is served, ``L = lambda * W`` holds over a window that begins
and ends with as many in flight (Little, 1961), but for how long those at its ends had been there.
L is the integral of the data plane's own gauge; lambda and W come from what the shell saw leave.
Where the two differ, somebody is counted wrongly, or was forgotten.
"""

from __future__ import annotations

__all__ = ["LittlesLaw"]

_FEWEST = 100
"""Of fewer who left, one who stays long says more than the law."""
_LIFETIMES = 100
"""A window is at least so many times W: what its ends add to the error is about a hundredth."""
_LONGEST = 6
"""Times ``window_s``."""


class LittlesLaw:
    """Told what is in flight after every event, and how long each who left was there.

    A window lasts ``window_s``, a hundred times W, and until as many are in flight as at its
    beginning. One for which six times ``window_s`` is not enough is dropped, the traffic was not
    stationary; so is one that too few left. A relative error ``|L - lambda*W| / L`` above
    ``tolerance`` is a breach.

    >>> law = LittlesLaw(window_s=100.0)
    >>> for i in range(200):  # one a second, each there for half of it
    ...     _ = law.changed(1, float(i))
    ...     law.left(1, 0.5)
    ...     _ = law.changed(0, i + 0.5)
    >>> law.windows, law.error, law.breaches
    (1, 0.0, 0)
    """

    def __init__(self, *, window_s: float = 10.0, tolerance: float = 0.15) -> None:
        self.windows = 0
        """Windows that told something."""
        self.breaches = 0
        self.error: float | None = None
        """Of the last such window."""
        self._window_s = window_s
        self._tolerance = tolerance
        self._since_s: float | None = None
        self._first = self._last = 0
        self._at_s = 0.0
        self._area_s = 0.0  # the gauge's integral: L times the window
        self._left = 0
        self._stayed_s = 0.0  # lambda times W times the window

    def left(self, count: int, stayed_s: float) -> None:
        """``count`` items are no longer in flight, however that ended, each after ``stayed_s``."""
        self._left += count
        self._stayed_s += count * stayed_s

    def changed(self, in_flight: int, now_s: float) -> bool:
        """``in_flight`` from ``now_s`` on. True where that ends a window in breach."""
        if self._since_s is None:
            self._begin(in_flight, now_s)
            return False
        self._area_s += self._last * (now_s - self._at_s)
        self._last, self._at_s = in_flight, now_s
        lasted_s = now_s - self._since_s
        if lasted_s < self._window_s:
            return False
        short = _LIFETIMES * self._stayed_s > self._left * lasted_s
        stationary = in_flight == self._first and not short
        if not stationary and lasted_s < _LONGEST * self._window_s:
            return False
        breach = stationary and self._judge()
        self._begin(in_flight, now_s)
        return breach

    def _judge(self) -> bool:
        if self._left < _FEWEST:
            return False
        larger_s = max(self._area_s, self._stayed_s)
        if not larger_s:
            return False  # a cache has answered them all, or all were refused: nobody stayed
        self.windows += 1
        self.error = abs(self._area_s - self._stayed_s) / larger_s
        breach = self.error > self._tolerance
        self.breaches += breach
        return breach

    def _begin(self, in_flight: int, now_s: float) -> None:
        self._since_s = self._at_s = now_s
        self._first = self._last = in_flight
        self._area_s = self._stayed_s = 0.0
        self._left = 0
