"""A build's answers to many items at once, offline: length-sorted batches, on all its instances.

Used for quality, for teacher outputs and for pilots. Knows nothing of what the answers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from headgate.workload import Codec, Encoded, Engine

__all__ = ["MAX_ITEMS", "Answerer", "batches_by_length"]

MAX_ITEMS = 64


def batches_by_length(
    lengths: Sequence[int], *, max_padded_tokens: int, max_items: int = MAX_ITEMS
) -> list[list[int]]:
    """Indices of ``lengths`` in batches of near-equal length, each within the token budget.

    >>> batches_by_length([9, 2, 3, 8], max_padded_tokens=16)
    [[0], [3, 2], [1]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for i in order:
        if (
            batches
            and len(batches[-1]) < max_items
            and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= max_padded_tokens
        ):
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


class Answerer:
    """An engine with its codec, as they are served.

    ``beside``: further engines of the same build, which share the work of ``answer``.
    """

    def __init__(
        self,
        engine: Engine,
        codec: Codec,
        *,
        truncate: bool = False,
        beside: Sequence[Engine] = (),
        max_padded_tokens: int = 1024,
        max_items: int = MAX_ITEMS,
    ) -> None:
        self.engine = engine
        self._engines = (engine, *beside)
        self.codec = codec
        self._truncate = truncate
        self._max_padded_tokens = max_padded_tokens
        self._max_items = max_items

    def encode(self, items: Sequence[object]) -> list[Encoded]:
        """The items as the model takes them; raises ``RequestError`` naming the item."""
        return self.codec.encode(items, truncate=self._truncate)

    def run(self, encoded: Sequence[Encoded]) -> NDArray[np.generic]:
        """The outputs of one batch, first axis as in ``encoded``."""
        return self.engine.run(self.codec.collate(encoded))

    def answer(self, items: Sequence[object]) -> NDArray[np.generic]:
        """Outputs in the order of ``items``, shape (n, ...)."""
        encoded = self.encode(items)
        batches = batches_by_length(
            [e.length for e in encoded],
            max_padded_tokens=self._max_padded_tokens,
            max_items=self._max_items,
        )
        free: SimpleQueue[Engine] = SimpleQueue()
        for engine in self._engines:
            free.put(engine)

        def run(batch: list[int]) -> NDArray[np.generic]:
            engine = free.get()
            try:
                return engine.run(self.codec.collate([encoded[i] for i in batch]))
            finally:
                free.put(engine)

        rows: list[NDArray[np.generic] | None] = [None] * len(items)
        with ThreadPoolExecutor(len(self._engines)) as pool:
            for batch, output in zip(batches, pool.map(run, batches), strict=True):
                for i, row in zip(batch, output, strict=True):
                    rows[i] = row
        return np.stack([row for row in rows if row is not None])

    def close(self) -> None:
        """Frees the engines."""
        for engine in self._engines:
            engine.close()
