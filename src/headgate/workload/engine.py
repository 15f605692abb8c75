"""What an engine and a codec must offer. Implementations live in ``headgate.engines``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Codec", "Encoded", "Engine", "Pair", "Segmented", "Tensors"]

Tensors = Mapping[str, NDArray[np.generic]]
"""Name -> array, first axis is the batch."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One item, ready to be batched: ``length`` tokens (1 where shapes are fixed) and its content.

    ``content`` is a 1-d int64 array of token ids, or an array of the fixed item shape.
    """

    length: int
    content: NDArray[np.generic]

    @property
    def identity(self) -> bytes:
        """Equal for two items of one codec only where a model is given the same of both."""
        return self.content.tobytes()

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return self.content.nbytes

    def resized(self, length: int) -> Encoded:
        """Its tokens repeated or cut to ``length``."""
        return Encoded(length, np.resize(self.content, length))


@dataclass(frozen=True, slots=True)
class Segmented(Encoded):
    """Token ids of more than one segment, for a model that is told which token is of which.

    A type of its own, so that an item of one segment carries nothing for it.
    """

    segments: NDArray[np.uint8]
    """One number a token, 0 for the first segment: the model's ``token_type_ids``."""

    @property
    def identity(self) -> bytes:
        """The ids and then the segments: the same ids split elsewhere are another question."""
        return self.content.tobytes() + self.segments.tobytes()

    @property
    def nbytes(self) -> int:
        return self.content.nbytes + self.segments.nbytes

    def resized(self, length: int) -> Encoded:
        return Segmented(length, np.resize(self.content, length), np.resize(self.segments, length))


@dataclass(frozen=True, slots=True)
class Pair:
    """A text to be judged by a query: one item of a cross-encoder, before it is encoded."""

    query: str
    text: str
    cut: Literal["left", "right"] = "right"
    """Which end of them goes first where they are too long and may be cut."""
    max_text_tokens: int | None = None
    """What is longer of the text is cut off, asked for or not; None is as long as it is."""

    @property
    def characters(self) -> int:
        return len(self.query) + len(self.text)


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
