"""Does an answer depend on who sat in the same batch? Measured for a build, never assumed.

Each item is answered alone, and again among neighbours: batches of several sizes, with a longer
one (so that the item is padded), in another order. The largest difference gives the class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.errors import Undecided
from headgate.objects import BatchInvariance
from headgate.workload import Codec, Encoded, Engine

__all__ = ["InvarianceReport", "batch_invariance", "largest_component_difference"]

Difference = Callable[[NDArray[np.generic], NDArray[np.generic]], float]


@dataclass(frozen=True, slots=True)
class InvarianceReport:
    """The class, the largest difference seen, and what it was seen on."""

    invariance: BatchInvariance
    max_abs_difference: float
    items: int
    comparisons: int
    padded: int
    """Comparisons in which the item was padded."""
    epsilon: float


def largest_component_difference(
    alone: NDArray[np.generic], together: NDArray[np.generic]
) -> float:
    """max |a_i - b_i|; for unit vectors it bounds the change of a cosine per component.

    Answers that are not numbers (string labels) differ by 0 or 1.
    """
    if alone.dtype.kind not in "fiub":
        return float(not np.array_equal(alone, together))
    difference = np.abs(alone.astype(np.float64) - together.astype(np.float64))
    return float(difference.max(initial=0.0))


def batch_invariance(
    engine: Engine,
    codec: Codec,
    items: Sequence[object],
    *,
    rng: np.random.Generator,
    epsilon: float = 1e-4,
    sizes: Sequence[int] = (2, 8, 32),
    difference: Difference = largest_component_difference,
) -> InvarianceReport:
    """The batch-invariance class of ``engine`` on ``items`` (200 are a fair sample, 2 the least).

    For each size, the items are shuffled into batches of that size, twice: once with whoever
    comes, once each batch with the longest item there is, so that all others are padded. Bitwise
    equal everywhere is EXACT; a difference up to ``epsilon`` (in the unit of ``difference``)
    EPSILON; more, or a NaN, DEPENDENT. Raises ``Undecided`` with fewer than two items.
    """
    encoded = codec.encode(items, truncate=True)
    if len(encoded) < 2:
        raise Undecided(
            "batch invariance needs at least two items",
            where=f"{len(encoded)} items",
            fix="give it about 200 inputs of the workload",
        )
    alone = [engine.run(codec.collate([e]))[0] for e in encoded]
    longest = max(range(len(encoded)), key=lambda i: encoded[i].length)
    exact, largest, comparisons, padded = True, 0.0, 0, 0
    for size in sizes:
        for with_longest in (False, True):
            for batch in _batches(rng.permutation(len(encoded)), size, longest, with_longest):
                width = _width(codec, [encoded[i] for i in batch])
                answers = engine.run(codec.collate([encoded[i] for i in batch]))
                for i, together in zip(batch, answers, strict=True):
                    comparisons += 1
                    padded += width > _width(codec, [encoded[i]])
                    if not _bitwise_equal(alone[i], together):
                        exact = False
                        far = difference(alone[i], together)
                        largest = max(largest, np.inf if np.isnan(far) else far)
    if exact:
        invariance = BatchInvariance.EXACT
    else:
        within = largest <= epsilon
        invariance = BatchInvariance.EPSILON if within else BatchInvariance.DEPENDENT
    return InvarianceReport(invariance, largest, len(encoded), comparisons, padded, epsilon)


def _batches(
    order: NDArray[np.int64], size: int, longest: int, with_longest: bool
) -> list[list[int]]:
    if not with_longest:
        batches = [order[k : k + size].tolist() for k in range(0, len(order), size)]
    else:
        others = [int(i) for i in order if i != longest]
        step = max(size - 1, 1)
        batches = [[*others[k : k + step], longest] for k in range(0, len(others), step)]
    return [b for b in batches if len(b) > 1]  # alone again tells nothing


def _width(codec: Codec, encoded: Sequence[Encoded]) -> int:
    """The padded length of a batch, whatever the codec rounds to."""
    tensor = next(iter(codec.collate(encoded).values()))
    return int(tensor.shape[1]) if tensor.ndim > 1 else 1


def _bitwise_equal(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()
