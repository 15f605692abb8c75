"""Cuts a workload, sped up to a rate, into segments. Pure: knows indices and times, no requests.

Indices count on beyond the workload's end, where it begins anew: index ``i`` stands for request
``i % n``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Piece", "Schedule"]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Consecutive requests ``first`` to ``last``, the last not included."""

    first: int
    at_s: NDArray[np.float64]
    """When each is due, from the piece's start; the first at 0."""

    @property
    def last(self) -> int:
        return self.first + len(self.at_s)


class Schedule:
    """Takes piece after piece from request ``start`` of a workload on, at ``rate_per_s``.

    ``at_s``: (requests,) ascending, not all the same. A start beyond the middle of the workload
    becomes the middle: what is left must be worth replaying.
    """

    def __init__(self, at_s: NDArray[np.float64], start: int, rate_per_s: float) -> None:
        span_s = float(at_s[-1] - at_s[0])
        assert span_s > 0, "inputs refuse a workload at one moment"
        self._stretch = ((len(at_s) - 1) / span_s) / rate_per_s
        self._at_s = at_s
        self.first = self.last = min(start, len(at_s) // 2)
        self.rate_per_s = rate_per_s

    @property
    def remaining_s(self) -> float:
        """How long the rest of the workload takes at this rate."""
        return float(self._at_s[-1] - self._at_s[self.last]) * self._stretch

    def next(self, seconds: float) -> Piece:
        """The next ``seconds`` of the workload; it begins anew where it ends."""
        piece = self._cut(self.last, seconds)
        self.last = piece.last
        return piece

    def aside(self, seconds: float) -> Piece:
        """The same requests every time, for noise; they do not count as replayed."""
        return self._cut(self.first, seconds)

    def _cut(self, start: int, seconds: float) -> Piece:
        times = [0.0]
        while True:
            due_s = times[-1] + self._gap_s(start + len(times))
            if due_s > seconds:
                return Piece(start, np.array(times))
            times.append(due_s)

    def _gap_s(self, i: int) -> float:
        """From request ``i - 1`` to request ``i``; none where the workload begins anew."""
        i %= len(self._at_s)
        return float(self._at_s[i] - self._at_s[i - 1]) * self._stretch if i else 0.0
