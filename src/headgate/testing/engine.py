"""An engine and a codec without a model: answers that a test can work out, and planted faults."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headgate.errors import EngineError, RequestError, TooLong
from headgate.workload import Encoded, Tensors

__all__ = ["FakeCodec", "FakeEngine"]


class FakeCodec:
    """Texts become their UTF-8 bytes plus one, lists of integers become themselves; 0 is padding.

    >>> codec = FakeCodec()
    >>> codec.collate(codec.encode(["ab", [7]]))["input_ids"].tolist()
    [[98, 99], [7, 0]]
    """

    def __init__(self, max_tokens: int = 512) -> None:
        self.max_tokens = max_tokens

    def encode(self, items: Sequence[object], *, truncate: bool = False) -> list[Encoded]:
        """Raises ``TooLong`` or ``RequestError`` naming the item's index."""
        encoded = []
        for i, item in enumerate(items):
            if isinstance(item, str):
                ids = np.frombuffer(item.encode(), dtype=np.uint8).astype(np.int64) + 1
            elif isinstance(item, list):
                ids = np.array(item, dtype=np.int64)
            else:
                raise RequestError("expected a text or a list of integers", where=f"input[{i}]")
            if len(ids) == 0:
                raise RequestError("an empty input", where=f"input[{i}]")
            if len(ids) > self.max_tokens:
                if not truncate:
                    raise TooLong(
                        f"{len(ids)} tokens, at most {self.max_tokens}", where=f"input[{i}]"
                    )
                ids = ids[: self.max_tokens]
            encoded.append(Encoded(len(ids), ids))
        return encoded

    def collate(self, encoded: Sequence[Encoded]) -> Tensors:
        """``input_ids``, int64, shape (items, longest)."""
        ids = np.zeros((len(encoded), max(e.length for e in encoded)), dtype=np.int64)
        for row, item in zip(ids, encoded, strict=True):
            row[: item.length] = item.content
        return {"input_ids": ids}


class FakeEngine:
    """Answers each item with (sum of its ids, number of its ids): independent of its neighbours.

    ``poison``: an id on whose sight the whole batch fails, as engines do. ``fail_next``: that many
    next calls fail, whatever they hold. ``shapes`` records every call.
    """

    def __init__(self, *, poison: int | None = None) -> None:
        self.poison = poison
        self.fail_next = 0
        self.shapes: list[tuple[int, ...]] = []
        self.closed = False

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        """float32, shape (items, 2). Raises ``EngineError`` where a fault was planted."""
        ids = tensors["input_ids"]
        self.shapes.append(ids.shape)
        if self.closed:
            raise EngineError("the engine is closed")
        if self.fail_next > 0:
            self.fail_next -= 1
            raise EngineError("a planted fault")
        if self.poison is not None and bool(np.any(ids == self.poison)):
            raise EngineError(f"a planted fault: the batch holds {self.poison}")
        return np.stack([ids.sum(axis=1), (ids != 0).sum(axis=1)], axis=1).astype(np.float32)

    def close(self) -> None:
        """Further calls of ``run`` are errors."""
        self.closed = True
