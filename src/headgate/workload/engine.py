"""What an engine and a codec must offer. Implementations live in ``headgate.engines``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Codec", "Encoded", "Engine", "Tensors"]

Tensors = Mapping[str, NDArray[np.generic]]
"""Name -> array, first axis is the batch."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One item, ready to be batched: ``length`` tokens (1 where shapes are fixed) and its content.

    ``content`` is a 1-d int64 array of token ids, or an array of the fixed item shape.
    """

    length: int
    content: NDArray[np.generic]


class Codec(Protocol):
    """Turns callers' items into tensors and back. Stateless and safe to call from any thread."""

    def encode(self, items: Sequence[object], *, truncate: bool = False) -> list[Encoded]:
        """Raises ``TooLong`` or ``RequestError`` naming the item's index."""
        ...

    def collate(self, encoded: Sequence[Encoded]) -> Tensors:
        """One batch, padded to its longest item, rounded up to the build's multiple."""
        ...


class Engine(Protocol):
    """A loaded build. ``run`` is called by one thread at a time."""

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        """The model's first output for one batch; first axis as in the input.

        Raises ``EngineError``.
        """
        ...

    def close(self) -> None:
        """Frees the model; further calls of ``run`` are errors."""
        ...
