"""Does an answer depend on who sat in the same batch? Measured for a build, never assumed.

Two questions that are often taken for one:

- Does it depend on the *shape* of the batch: its size, its padding, the row? Kernels sum in
  another order for another shape; in fp32 that is 1e-7, and in int8 a difference of 1e-7 now and
  then crosses a rounding boundary and becomes a whole step.
- Does it depend on what the *neighbours say*, in the same row of the same shape? Then strangers
  can change an answer, and a cached answer holds something of theirs. Fixed scales rule it out;
  one scale for the whole batch (dynamic int8) makes it the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.errors import Undecided
from headgate.objects import BatchInvariance
from headgate.workload import Codec, Encoded, Engine

__all__ = [
    "EPSILON",
    "InvarianceReport",
    "batch_invariance",
    "cosine_distance",
    "largest_difference",
]

EPSILON = 1e-3
"""Largest ``cosine_distance`` of an embedding, or ``largest_difference`` of scores and predictions,
that still counts as the same answer (docs/decisions/0004-what-counts-as-the-same-answer.md)."""

Difference = Callable[[NDArray[np.generic], NDArray[np.generic]], float]


@dataclass(frozen=True, slots=True)
class InvarianceReport:
    """The class, and the largest differences that it follows from."""

    invariance: BatchInvariance
    max_difference: float
    """Largest difference between an item alone and the same item in a batch."""
    max_neighbour_difference: float
    """Largest difference between two batches of one shape, the item in the same row of both."""
    items: int
    comparisons: int
    """Answers in batches that were compared with the answer alone."""
    neighbour_comparisons: int
    padded: int
    """Comparisons in which the item was padded."""
    epsilon: float
    by_construction: bool = False
    """DEPENDENT because the graph says so, whatever was seen on these items."""


def largest_difference(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    """max |a_i - b_i| / max(1, |a_i|, |b_i|): absolute for scores, relative for large predictions.

    A price of 200,000 is a hundredth off by float32 rounding alone, so no absolute epsilon fits
    both. Answers that are not numbers (string labels), or of other shapes, differ by 0 or 1.

    >>> largest_difference(np.array([0.25, 2000.0]), np.array([0.25, 1996.0]))
    0.002
    """
    if a.dtype.kind not in "fiub" or a.shape != b.shape:
        return float(not np.array_equal(a, b))
    x, y = a.astype(np.float64), b.astype(np.float64)
    size = np.maximum(np.maximum(np.abs(x), np.abs(y)), 1.0)
    return float((np.abs(x - y) / size).max(initial=0.0))


def cosine_distance(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    """1 - cos(a, b), 0 to 2: what a search over embeddings sees of a difference.

    >>> cosine_distance(np.array([1.0, 0.0]), np.array([0.0, 2.0]))
    1.0
    """
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(1.0 - x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def batch_invariance(
    engine: Engine,
    codec: Codec,
    items: Sequence[object],
    *,
    rng: np.random.Generator,
    epsilon: float = 1e-4,
    sizes: Sequence[int] = (2, 8, 32),
    difference: Difference = largest_difference,
    lone: Engine | None = None,
) -> InvarianceReport:
    """The batch-invariance class of ``engine`` on ``items`` (200 are a fair sample).

    For each size the items, shuffled, form batches three times: with whoever comes; with the
    longest item there is, so that all others are padded; and so again with other neighbours in
    the same shape. ``lone``, where there is one, answers each item alone, and counts as one more
    batch. Bitwise equal everywhere is EXACT; a difference up to ``epsilon`` (in the unit
    of ``difference``) EPSILON; more, or a NaN, DEPENDENT. Raises ``Undecided`` with fewer than
    two items.
    """
    encoded = codec.encode(items, truncate=True)
    if len(encoded) < 2:
        raise Undecided(
            "batch invariance needs at least two items",
            where=f"{len(encoded)} items",
            fix="give it about 200 inputs of the workload",
        )
    widths = [_width(codec, [e]) for e in encoded]
    longest = int(np.argmax(widths))
    shape_seen, neighbours_seen, padded = _Seen(difference), _Seen(difference), 0

    def run(batch: Sequence[int]) -> NDArray[np.generic]:
        return engine.run(codec.collate([encoded[i] for i in batch]))

    alone = [run([i])[0] for i in range(len(encoded))]

    if lone is not None:
        for answer, item in zip(alone, encoded, strict=True):
            shape_seen.compare(answer, lone.run(codec.collate([item]))[0])

    def against_alone(batch: Sequence[int]) -> NDArray[np.generic]:
        nonlocal padded
        answers = run(batch)
        for i, answer in zip(batch, answers, strict=True):
            shape_seen.compare(alone[i], answer)
            padded += max(widths[j] for j in batch) > widths[i]
        return answers

    for size in sizes:
        order = [int(i) for i in rng.permutation(len(encoded))]
        for batch in _chunks(order, size):
            if len(batch) > 1:  # alone again would tell nothing
                against_alone(batch)
        others = [i for i in order if i != longest]
        padding = [[*chunk, longest] for chunk in _chunks(others, max(size - 1, 1))]
        answers = {
            i: answer
            for batch in padding
            for i, answer in zip(batch, against_alone(batch), strict=True)
        }
        for batch in _other_neighbours(padding):
            for i, answer in zip(batch[:-1], run(batch), strict=False):
                neighbours_seen.compare(answers[i], answer)
    largest = max(shape_seen.largest, neighbours_seen.largest)
    if shape_seen.exact and neighbours_seen.exact:
        invariance = BatchInvariance.EXACT
    elif largest <= epsilon:
        invariance = BatchInvariance.EPSILON
    else:
        invariance = BatchInvariance.DEPENDENT
    return InvarianceReport(
        invariance,
        shape_seen.largest,
        neighbours_seen.largest,
        len(encoded),
        shape_seen.count,
        neighbours_seen.count,
        padded,
        epsilon,
    )


class _Seen:
    """Comparisons so far: how many, whether all were bitwise equal, the largest difference."""

    def __init__(self, difference: Difference) -> None:
        self._difference = difference
        self.count, self.exact, self.largest = 0, True, 0.0

    def compare(self, a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
        self.count += 1
        if a.shape == b.shape and a.tobytes() == b.tobytes():
            return
        self.exact = False
        far = self._difference(a, b) if a.shape == b.shape else np.inf
        self.largest = max(self.largest, np.inf if np.isnan(far) else far)


def _chunks(order: Sequence[int], size: int) -> list[list[int]]:
    return [list(order[k : k + size]) for k in range(0, len(order), size)]


def _other_neighbours(batches: Sequence[Sequence[int]]) -> list[list[int]]:
    """Full batches with every column moved down by its own index: same rows, other company.

    [[a, b, c], [d, e, f], [g, h, i]] -> [[a, h, f], [d, b, i], [g, e, c]]
    """
    full = [b for b in batches if len(b) == len(batches[0])]
    rows, columns = len(full), len(full[0])
    if rows < 2 or columns < 3:  # the last column is the same item throughout
        return []
    return [[full[(r - c) % rows][c] for c in range(columns)] for r in range(rows)]


def _width(codec: Codec, encoded: Sequence[Encoded]) -> int:
    """The padded length of a batch, whatever the codec rounds to."""
    tensor = next(iter(codec.collate(encoded).values()))
    return int(tensor.shape[1]) if tensor.ndim > 1 else 1
