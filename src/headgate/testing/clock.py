"""A clock that moves when it is told to."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """Time for tests, in seconds.

    >>> clock = ManualClock()
    >>> clock.advance(0.5)
    0.5
    >>> clock.now_s()
    0.5
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        """The time."""
        return self._now_s

    def advance(self, seconds: float) -> float:
        """Moves on by ``seconds`` >= 0 and returns the new time."""
        if seconds < 0:
            raise ValueError(f"time does not go back, got {seconds}")
        self._now_s += seconds
        return self._now_s
