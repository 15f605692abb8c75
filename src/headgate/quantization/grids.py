"""Quantization grids: how few bits round, and by how much they can be wrong.

Arrays in, arrays out. Knows nothing of models, files or engines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grid", "affine_grid", "expected_sqnr_db", "sqnr_db", "symmetric_grid"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """The reals ``scale * (q - zero_point)`` for the integers q from ``low`` to ``high``.

    ``scale`` and ``zero_point`` broadcast against what is quantized: numbers for one grid for the
    whole tensor, arrays for one grid per channel (Jacob et al., 2018, arXiv 1712.05877).
    """

    scale: float | Floats
    zero_point: int | NDArray[np.int64]
    low: int
    high: int

    def quantize(self, x: Floats) -> NDArray[np.int64]:
        """The nearest grid point's integer, half to even; outside the range, the range's end."""
        nearest = np.rint(np.asarray(x, dtype=np.float64) / self.scale) + self.zero_point
        clipped: NDArray[np.int64] = np.clip(nearest, self.low, self.high).astype(np.int64)
        return clipped

    def dequantize(self, q: NDArray[np.int64]) -> Floats:
        """The reals that the integers stand for."""
        steps: Floats = (q - self.zero_point).astype(np.float64)
        return steps * self.scale

    def round(self, x: Floats) -> Floats:
        """What is left of ``x``: quantized and back.

        >>> symmetric_grid(1.0, bits=3).round(np.array([0.1, 0.5, 2.0]))
        array([0.  , 0.67, 1.  ])
        """
        return self.dequantize(self.quantize(x))

    @property
    def error_bound(self) -> float | Floats:
        """|x - round(x)| <= scale / 2 for every x inside the range; beyond it there is none.

        >>> symmetric_grid(127.0, bits=8).error_bound
        0.5
        """
        return self.scale / 2


def symmetric_grid(max_abs: float | Floats, bits: int) -> Grid:
    """Zero in the middle, ``scale = max|x| / (2^(bits-1) - 1)``: the grid of weights.

    An all-zero channel gets scale 1: nothing to divide by, and nothing lost.

    >>> symmetric_grid(127.0, bits=8)
    Grid(scale=1.0, zero_point=0, low=-127, high=127)
    """
    top = _levels(bits) // 2 - 1
    return Grid(_positive(np.asarray(max_abs, dtype=np.float64) / top), 0, -top, top)


def affine_grid(smallest: float, largest: float, bits: int) -> Grid:
    """``scale = (max - min) / (2^bits - 1)`` over a range that holds 0: the grid of activations.

    Zero is a grid point exactly, so that padding and ReLU add no error.

    >>> affine_grid(-1.0, 4.1, bits=8)
    Grid(scale=0.02, zero_point=50, low=0, high=255)
    """
    if not (math.isfinite(smallest) and math.isfinite(largest) and smallest <= largest):
        raise ValueError(f"not a range: {smallest} to {largest}")
    low, high = min(smallest, 0.0), max(largest, 0.0)
    top = _levels(bits) - 1
    scale = float(_positive(np.asarray((high - low) / top)))
    return Grid(scale, int(np.clip(round(-low / scale), 0, top)), 0, top)


def sqnr_db(x: Floats, rounded: Floats) -> float:
    """Signal to quantization noise, ``10 log10(sum x^2 / sum (x - rounded)^2)`` decibel.

    Infinite where nothing was lost.

    >>> sqnr_db(np.array([1.0, 1.0]), np.array([0.9, 1.1]))
    20.0
    """
    noise = float(np.square(x - rounded).sum())
    signal = float(np.square(x).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def expected_sqnr_db(bits: int, *, peak_to_rms: float = math.sqrt(3)) -> float:
    """``6.02 b + 4.77 - 20 log10(peak/rms)`` decibel: uniform noise of scale^2/12, no clipping.

    sqrt(3) is a uniform signal, sqrt(2) a full-scale sine (the textbook's 6.02 b + 1.76); a
    tensor with outliers has a far larger ratio and loses a bit for every factor of two: what
    SmoothQuant removes, and per-channel grids avoid (Bennett, 1948).

    >>> round(expected_sqnr_db(8, peak_to_rms=math.sqrt(2)), 2)
    49.92
    """
    if peak_to_rms < 1:
        raise ValueError(f"a peak is at least the rms, got {peak_to_rms}")
    return 10 * math.log10(3 * 4**bits) - 20 * math.log10(peak_to_rms)


def _levels(bits: int) -> int:
    if not 2 <= bits <= 16:
        raise ValueError(f"bits must be 2 to 16, got {bits}")
    return int(2**bits)


def _positive(scale: Floats) -> float | Floats:
    fixed: Floats = np.where(scale > 0, scale, 1.0)
    return float(fixed) if fixed.ndim == 0 else fixed
