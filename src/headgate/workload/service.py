"""How long a batch takes: the service-time curve of a build on a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headgate.errors import InputError
from headgate.workload.request import Batch

__all__ = ["BatchTimeModel", "CurvePoint", "ServiceCurve", "ServiceTimeModel"]


class ServiceTimeModel(Protocol):
    """Predicts the time of one batch, from its size and the length that it is padded to."""

    def predict_s(self, size: int, longest: int) -> float:
        """Seconds of one engine call on ``size`` items of ``longest`` tokens each."""
        ...


class BatchTimeModel(ServiceTimeModel, Protocol):
    """Knows also what a batch that is formed takes, whoever is in it: what a simulation runs on."""

    def batch_s(self, batch: Batch) -> float:
        """Seconds of one engine call on ``batch``."""
        ...


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A measured median: ``size`` items padded to ``longest`` tokens took ``seconds``."""

    size: int
    longest: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ServiceCurve:
    """``t(n, l) = fixed_s + item_s*n + token_s*n*l + square_s*n*l^2``, all coefficients >= 0.

    A call's overhead, an item's, the linear layers' (per token) and attention's (per token pair).
    Non-negative coefficients make the curve monotone in both arguments, so a scheduler that trusts
    it can never be told that a larger batch is cheaper than a smaller one.
    """

    fixed_s: float
    item_s: float
    token_s: float
    square_s: float
    length_multiple: int = 1
    """The build pads every batch up to a multiple of this, and computes what it pads."""

    @classmethod
    def fit(cls, points: Sequence[CurvePoint], *, length_multiple: int = 1) -> ServiceCurve:
        """Weighted non-negative least squares on relative errors (Lawson and Hanson, 1974).

        Raises ``InputError`` with fewer than four points or a time that is not positive.

        >>> points = [CurvePoint(n, l, 1e-3 + 1e-4 * n * l) for n in (1, 8) for l in (8, 16, 64)]
        >>> round(ServiceCurve.fit(points).predict_s(4, 32) * 1e3, 6)
        13.8
        """
        if len(points) < 4 or any(p.seconds <= 0 for p in points):
            raise InputError(
                "a service curve needs at least 4 measured points with positive times",
                where=f"{len(points)} points",
                fix="measure more batch shapes",
            )
        from scipy.optimize import nnls  # only calibration pays for importing it

        n = np.array([p.size for p in points], dtype=float)
        length = np.array([p.longest for p in points], dtype=float)
        length = np.ceil(length / length_multiple) * length_multiple
        seconds = np.array([p.seconds for p in points])
        columns = np.stack([np.ones_like(n), n, n * length, n * length**2], axis=1)
        scale = columns.max(axis=0)
        solution, _ = nnls(columns / scale / seconds[:, None], np.ones_like(seconds))
        fixed_s, item_s, token_s, square_s = (float(x) for x in solution / scale)
        return cls(fixed_s, item_s, token_s, square_s, length_multiple)

    def padded(self, longest: int) -> int:
        """The length that the build computes for a batch whose longest item has ``longest``."""
        return -(-longest // self.length_multiple) * self.length_multiple

    def predict_s(self, size: int, longest: int) -> float:
        """Seconds of one engine call on ``size`` items, the longest of ``longest`` tokens."""
        length = -(-longest // self.length_multiple) * self.length_multiple  # ``padded``, inlined
        return self.fixed_s + size * (
            self.item_s + length * (self.token_s + length * self.square_s)
        )

    def batch_s(self, batch: Batch) -> float:
        """Seconds of one engine call on ``batch``: only its shape counts."""
        return self.predict_s(batch.size, batch.longest)
