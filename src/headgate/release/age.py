"""How old what is served is: wall time, taken only while it goes as time does.

When something was made is known in wall time alone, and a wall clock is set while a server runs: by
a time server, by hand, after a virtual machine slept. One wrong step must neither call a release
old nor, where it was, young again. So wall time counts once it has gone as monotonic time does for
a minute; until then age is not known, and what is not known changes nothing. Pure.
"""

from __future__ import annotations

__all__ = ["Age"]

_STEADY_S = 60.0
_STEP_S = 1.0
"""Between two looks a clock that is merely steered is off by a thousandth of a second."""


class Age:
    """``of`` what was made at some wall time, at every look.

    >>> age = Age()
    >>> [age.of(100.0, wall_s=1000.0 + t, now_s=t) for t in (0.0, 59.0, 60.0)]
    [None, None, 960.0]
    >>> age.of(100.0, wall_s=9000.0, now_s=61.0) is None  # somebody has set the clock
    True
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None
        """Of the wall clock from the monotonic one, when somebody looked last."""
        self._steady_since_s = 0.0

    def of(self, made_at_s: float, *, wall_s: float, now_s: float) -> float | None:
        """Seconds since ``made_at_s``, or None where the clocks cannot say.

        ``wall_s`` is in seconds since 1970, as ``made_at_s`` is; ``now_s`` is monotonic. What is
        made in the future was made, or is looked at, by a wrong clock.
        """
        offset_s, before_s = wall_s - now_s, self._offset_s
        self._offset_s = offset_s
        if before_s is None or abs(offset_s - before_s) > _STEP_S:
            self._steady_since_s = now_s
        if now_s - self._steady_since_s < _STEADY_S or wall_s < made_at_s:
            return None
        return wall_s - made_at_s
