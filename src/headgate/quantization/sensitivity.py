"""How much quantizing one layer alone would disturb a model, for every layer, in one pass.

What streams through the weighted products goes in, a number a layer comes out. Knows no engine,
no file and no answer: how good the numbers are is measured by ``benchmarks.compression``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.quantization.calibration import Observed
from headgate.quantization.grids import affine_grid, symmetric_grid
from headgate.quantization.products import WeightedProduct
from headgate.quantization.schemes import Calibration

__all__ = ["Layer", "RowSample", "Sensitivity", "noise"]

Floats = NDArray[np.floating]
_BITS = 8
_ROWS = 256
"""Kept of each tensor: 256 rows of 1,536 numbers are 1.5 MB, and a median of 256 is known to about
a tenth of the distance between the quartiles."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One weighted product: what int8 does to it, and what it costs."""

    name: str
    noise: float
    """Of int8, as a share of the signal that it joins (``noise``)."""
    work: float
    """Share of the multiply-adds of all weighted products, 0 to 1."""


class RowSample:
    """Some rows of a tensor that streams by, evenly spaced, and the extremes of all of them.

    Every ``stride``-th row is kept. When there are more than ``limit``, every second of them goes
    and the stride doubles: bounded memory, no randomness, and the same rows of every tensor that
    has as many. With fewer than ``limit`` rows it keeps them all.
    """

    def __init__(self, limit: int = _ROWS) -> None:
        self.count = 0
        """Rows that streamed by."""
        self.lows: NDArray[np.float64] = np.array(np.inf)
        self.highs: NDArray[np.float64] = np.array(-np.inf)
        """Extremes of every column."""
        self._limit, self._stride = limit, 1
        self._kept: list[NDArray[np.float32]] = []

    def add(self, rows: Floats) -> None:
        """``rows`` of shape (n, width), in the order in which they come."""
        if rows.size == 0:
            return
        self.lows = np.minimum(self.lows, rows.min(axis=0))
        self.highs = np.maximum(self.highs, rows.max(axis=0))
        first = -self.count % self._stride
        self._kept += [row.astype(np.float32) for row in rows[first :: self._stride]]
        self.count += len(rows)
        while len(self._kept) > self._limit:
            self._kept = self._kept[::2]
            self._stride *= 2

    @property
    def rows(self) -> NDArray[np.float32]:
        """What is kept, shape (at most ``limit``, width)."""
        return np.stack(self._kept) if self._kept else np.empty((0, 0), dtype=np.float32)


def noise(
    x: Floats, weight: Floats, *, low: float, high: float, energy: Floats | None = None
) -> float:
    """Median over rows of ``|x W - Q(x) Q(W)|^2 / |s|^2``: noise to signal of one layer in int8.

    ``x`` (rows, inputs), ``weight`` (inputs, outputs). Q rounds activations to one affine grid from
    ``low`` to ``high``, as a static scheme does, and each column of the weight to its own symmetric
    one. ``energy`` (rows): |s|^2 of what the product is added to, bias and residual stream; of the
    product itself where it is left out. The ratio is that of Pandey et al. (2023, arXiv
    2302.05397), taken where the noise arises and not at the output, which would take one run of the
    model a layer. Against the stream, since noise in a branch that carries little of it does
    little harm; the median, since a few tokens of huge or no norm else decide it alone.

    >>> noise(np.eye(2), np.eye(2), low=0.0, high=255.0)
    0.0
    """
    wide, matrix = x.astype(np.float64), weight.astype(np.float64)
    activations = affine_grid(low, high, bits=_BITS)
    columns = symmetric_grid(np.abs(matrix).max(axis=0), bits=_BITS)
    exact = wide @ matrix
    rounded = activations.round(wide) @ columns.round(matrix)
    lost = np.square(exact - rounded).sum(axis=1)
    signal = np.square(exact).sum(axis=1) if energy is None else energy
    # A row of zeros has nothing to lose.
    known = signal > 0
    return float(np.median(lost[known] / signal[known])) if known.any() else 0.0


class Sensitivity:
    """One pass over calibration items: give it what it asks to see, and it knows every layer."""

    def __init__(self, products: Sequence[WeightedProduct], calibration: Calibration) -> None:
        """``calibration`` is that of the scheme: by which ranges it rounds, and how it smooths."""
        self._products, self._smoothing = tuple(products), calibration.smoothing
        # What is read once by several products is kept once.
        self._reads = {p.reads: RowSample() for p in self._products}
        self._ranges = {name: Observed(calibration) for name in self._reads}
        self._energies = {p.joins: RowSample() for p in self._products}

    @property
    def tensors(self) -> tuple[str, ...]:
        """What to observe of every batch."""
        return tuple(dict.fromkeys((*self._reads, *self._energies)))

    def add(self, observed: Mapping[str, Floats]) -> None:
        """The values of ``tensors`` of one item: finite, and without padding."""
        for name, sample in self._reads.items():
            sample.add(_rows(observed[name]))
            self._ranges[name].add(observed[name])
        for name, sample in self._energies.items():
            wide = _rows(observed[name]).astype(np.float64)
            sample.add(np.square(wide).sum(axis=1, keepdims=True))

    def layers(self) -> tuple[Layer, ...]:
        """Every product, in graph order; call it when something was added."""
        work = [self._reads[p.reads].count * p.weight.size for p in self._products]
        total = sum(work)
        return tuple(
            Layer(p.name, self._noise(p), w / total)
            for p, w in zip(self._products, work, strict=True)
        )

    def _noise(self, product: WeightedProduct) -> float:
        read, joined = self._reads[product.reads], self._energies[product.joins]
        # A sum that broadcasts the product has other rows; then it is held against itself.
        energy = joined.rows[:, 0] if joined.count == read.count else None
        x: Floats = read.rows
        weight: Floats = product.weight
        low, high = self._ranges[product.reads].range
        if self._smoothing is not None:
            scale = _smoothing_scale(read, weight, self._smoothing)
            x, weight = x / scale, weight * scale[:, None]
            # The range is to the extremes what it was before smoothing.
            low *= _ratio((read.lows / scale).min(), read.lows.min())
            high *= _ratio((read.highs / scale).max(), read.highs.max())
        return noise(x, weight, low=low, high=high, energy=energy)


def _smoothing_scale(
    read: RowSample, weight: NDArray[np.float32], alpha: float
) -> NDArray[np.float64]:
    """max|x_j|^alpha / max|W_j|^(1 - alpha) of every input j: what SmoothQuant divides x by and
    multiplies W with (arXiv 2211.10438, equation 4). 1 where either is all zeros."""
    largest = np.maximum(np.abs(read.lows), np.abs(read.highs))
    rows = np.abs(weight).max(axis=1)
    known = (largest > 0) & (rows > 0)
    scale = np.ones(len(rows))
    scale[known] = largest[known] ** alpha / rows[known] ** (1 - alpha)
    return scale


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else 1.0


def _rows(values: Floats) -> Floats:
    """(..., width) as (rows, width)."""
    return values.reshape(-1, values.shape[-1])
