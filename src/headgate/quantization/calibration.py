"""Which range of values an activation takes: seen item by item, in bounded memory, then decided.

Arrays in, ranges out. How the items are batched changes nothing, nor does their order (but for the
rounding of a mean). Knows nothing of models, files or engines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from headgate.errors import InputError, Undecided
from headgate.quantization.grids import affine_grid
from headgate.quantization.schemes import Calibration
from headgate.workload import Tensors

__all__ = [
    "Histogram",
    "Interval",
    "Observed",
    "by_item",
    "least_information",
    "least_squares",
    "refuse_non_finite",
    "share_of_values",
]

Values = NDArray[np.generic]
Interval = tuple[float, float]

_MASK = "attention_mask"
_BITS = 8
_SHRINKS = np.linspace(1.0, 0.2, 33)
"""Shares of each end of the range that ``mse`` and ``entropy`` try, the whole of it first."""


def by_item(batches: Iterable[Tensors]) -> Iterator[Tensors]:
    """Every item of every batch alone, shape (1, ...), without the positions that its mask pads.

    What padding activates is hidden from the answer, and must be from the ranges too. An item that
    is not padded is exactly that, whichever tensors the model makes of it. Inputs of the shape of
    ``attention_mask`` are cut as it is. Raises ``InputError`` for an item of which all is masked.
    """
    count = 0
    for batch in batches:
        mask = batch.get(_MASK)
        for row in range(len(next(iter(batch.values())))):
            count += 1
            if mask is None:
                yield {name: values[row : row + 1] for name, values in batch.items()}
                continue
            real = np.flatnonzero(mask[row])
            if not real.size:
                raise InputError(
                    "all of it is masked",
                    where=f"calibration item {count}",
                    fix="leave empty items out of the calibration data",
                )
            cut = slice(real[0], real[-1] + 1)
            yield {
                name: values[row : row + 1, cut]
                if values.shape[:2] == mask.shape
                else values[row : row + 1]
                for name, values in batch.items()
            }


def refuse_non_finite(tensor: str, values: Values, *, item: int) -> None:
    """``InputError`` with the names of ``tensor`` and ``item`` (from 1) for NaN and infinity."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        what = "NaN" if np.isnan(values).any() else "infinite values"
        raise InputError(
            f"{what} in the tensor {tensor!r}",
            where=f"calibration item {item}",
            fix="a range cannot hold it: leave that item out, or mend the model",
        )


class Histogram:
    """Counts of values in bins of one width, a power of two that doubles as the range grows.

    Two bins then become one exactly, so that the histogram of a set of values is the same in
    whatever order and portions they come. Bins hold 0, as every range of a quantizer does. Memory
    is that of ``bins`` counts, of which more than half span the range.
    """

    def __init__(self, bins: int = 4096) -> None:
        self._counts = np.zeros(bins, dtype=np.int64)
        self._low = 0.0
        self._high = 0.0
        self._exponent: int | None = None
        """Bins are 2^exponent wide; None while all values are 0."""
        self._first = 0
        """The first bin begins at ``first * width``."""

    def add(self, values: Values) -> None:
        """Counts finite floats of any shape."""
        flat = values.astype(np.float32, copy=False).ravel()
        if not flat.size:
            return
        self._low = min(self._low, float(flat.min()))
        self._high = max(self._high, float(flat.max()))
        if self._low == self._high:  # nothing but zeros yet: bin 0 of any width
            self._counts[0] += flat.size
            return
        self._widen()
        assert self._exponent is not None
        # Scaling by a power of two is exact, so a value is never counted in its neighbour's bin.
        index = np.floor(np.ldexp(flat, -self._exponent)).astype(np.int64) - self._first
        self._counts += np.bincount(index, minlength=self._counts.size)

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of every bin."""
        middles: NDArray[np.float64] = np.arange(self._counts.size, dtype=np.float64)
        return (middles + (self._first + 0.5)) * self.width

    @property
    def counts(self) -> NDArray[np.int64]:
        return self._counts

    @property
    def width(self) -> float:
        return math.ldexp(1.0, self._exponent or 0)

    def _widen(self) -> None:
        """The smallest power of two with which the range fits, and the counts in such bins."""
        exponent = math.frexp(self._high - self._low)[1] - int(math.log2(self._counts.size)) - 1
        while _bin(self._high, exponent) - _bin(self._low, exponent) >= self._counts.size:
            exponent += 1
        first = _bin(self._low, exponent)
        if (exponent, first) == (self._exponent, self._first):
            return
        counts = np.zeros_like(self._counts)
        filled = np.flatnonzero(self._counts)
        coarser = 0 if self._exponent is None else exponent - self._exponent
        np.add.at(counts, ((filled + self._first) >> coarser) - first, self._counts[filled])
        self._counts, self._first, self._exponent = counts, first, exponent


def _bin(value: float, exponent: int) -> int:
    return math.floor(math.ldexp(value, -exponent))


class Observed:
    """What was seen of one tensor: its extremes, their means over items, and what lies between."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._items = 0
        self._low, self._high = 0.0, 0.0
        self._lows, self._highs = 0.0, 0.0
        self._histogram = Histogram() if calibration.counts_values else None

    def add(self, values: Values) -> None:
        """One item's values: finite floats of any shape, at least one."""
        low, high = float(values.min()), float(values.max())
        self._items += 1
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._lows += low
        self._highs += high
        if self._histogram is not None:
            self._histogram.add(values)

    @property
    def range(self) -> Interval:
        """The range (low, high), which holds 0, that an 8-bit grid should span.

        ``min_max`` clips nothing; ``mean_min_max`` takes the mean of the items' extremes; the
        others look at the histogram, as ``share_of_values``, ``least_squares`` and
        ``least_information`` say. Raises ``Undecided`` where nothing was seen.
        """
        if not self._items:
            raise Undecided(
                "no values to take a range from",
                where="calibration",
                fix="give calibration data that reach every tensor",
            )
        method = self._calibration.method
        if self._histogram is None:
            if method == "min_max":
                return self._low, self._high
            return min(self._lows / self._items, 0.0), max(self._highs / self._items, 0.0)
        if method == "percentile":
            low, high = share_of_values(self._histogram, self._calibration.share)
        elif method == "mse":
            low, high = least_squares(self._histogram)
        else:
            low, high = least_information(self._histogram)
        return max(low, self._low), min(high, self._high)


def share_of_values(histogram: Histogram, share: float) -> Interval:
    """The bins that are left when half of ``1 - share`` of the values is cut off at each end."""
    below = np.cumsum(histogram.counts) / histogram.counts.sum()
    tail = (1 - share) / 2
    first = int(np.searchsorted(below, tail, side="right"))
    last = int(np.searchsorted(below, 1 - tail, side="left"))
    half = histogram.width / 2
    low, high = histogram.centres[first] - half, histogram.centres[last] + half
    return min(float(low), 0.0), max(float(high), 0.0)


def least_squares(histogram: Histogram) -> Interval:
    """The range whose grid is off least, as the sum of squares over all values."""
    filled = np.flatnonzero(histogram.counts)
    centres, counts = histogram.centres[filled], histogram.counts[filled]

    def squares(low: float, high: float) -> float:
        off = affine_grid(low, high, _BITS).round(centres) - centres
        return float(counts @ np.square(off))

    return _least(squares, *share_of_values(histogram, 1.0))


def least_information(histogram: Histogram) -> Interval:
    """The range whose grid loses least information: the smallest Kullback-Leibler divergence.

    The reference is the distribution with what is outside moved to the ends; against it stands
    what the grid's steps make of the inside, spread evenly over the bins that each step had
    (Migacz, 8-bit inference with TensorRT, GTC 2017; there for ranges that are symmetric).
    """
    filled = np.flatnonzero(histogram.counts)
    centres, counts = histogram.centres[filled], histogram.counts[filled].astype(np.float64)

    def divergence(low: float, high: float) -> float:
        first, last = np.searchsorted(centres, [low, high])
        inside = counts[first:last]
        if not inside.size:
            return math.inf
        reference = inside.copy()
        reference[0] += counts[:first].sum()
        reference[-1] += counts[last:].sum()
        step = affine_grid(low, high, _BITS).quantize(centres[first:last])
        spread = np.bincount(step, inside) / np.maximum(np.bincount(step), 1)
        p, q = reference / reference.sum(), spread[step] / inside.sum()
        return float(p @ np.log(p / q))

    return _least(divergence, *share_of_values(histogram, 1.0))


def _least(loss: Callable[[float, float], float], low: float, high: float) -> Interval:
    """The ends, each cut back by one of ``_SHRINKS``, that lose least; of equals the widest."""
    if low == high:
        return low, high
    lows = _SHRINKS * low if low else (0.0,)
    highs = _SHRINKS * high if high else (0.0,)
    return min(((float(a), float(b)) for a in lows for b in highs), key=lambda ends: loss(*ends))
