"""A build as it is served: the endpoint's own ``preprocess`` before it, ``postprocess`` behind it.

Whatever is measured of a build is measured of these two, so that lengths, times and answers are
those that callers will get. Knows nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.config import Item, guarded, load_function
from headgate.engines import codec_for, load
from headgate.objects import Build
from headgate.workload import Codec, Encoded, Engine, Pair, Tensors

__all__ = [
    "FinishedEngine",
    "PreparedCodec",
    "as_items",
    "as_json",
    "identity",
    "served_codec",
    "served_engine",
]

PathOf = Callable[[str], Path]
"""artifact version -> file"""


@dataclass(frozen=True, slots=True)
class PreparedCodec:
    """``codec``, whose items go through ``preprocess`` (item -> item) first."""

    codec: Codec
    preprocess: Callable[[object], object]

    def encode(self, items: Sequence[object], *, truncate: bool = False) -> list[Encoded]:
        return self.codec.encode([self.preprocess(item) for item in items], truncate=truncate)

    def collate(self, encoded: Sequence[Encoded]) -> Tensors:
        return self.codec.collate(encoded)


@dataclass(frozen=True, slots=True)
class FinishedEngine:
    """``engine``, whose outputs go through ``postprocess`` (a batch of outputs -> outputs)."""

    engine: Engine
    postprocess: Callable[[NDArray[np.generic]], object]

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        return np.asarray(self.postprocess(self.engine.run(tensors)))

    def close(self) -> None:
        self.engine.close()


def served_codec(build: Build, path_of: PathOf, *, preprocess: str | None, root: Path) -> Codec:
    """The build's codec behind ``preprocess`` (``module:function`` beside ``root``), if any.

    What that raises becomes ``InputError`` (reason ``function_failed``).
    """
    codec = codec_for(build, path_of)
    if preprocess is None:
        return codec
    return PreparedCodec(codec, guarded(load_function(preprocess, root)))


def served_engine(build: Build, path_of: PathOf, *, postprocess: str | None, root: Path) -> Engine:
    """The build, loaded, with ``postprocess`` (``module:function`` beside ``root``), if any."""
    engine = load(build, path_of)
    if postprocess is None:
        return engine
    return FinishedEngine(engine, guarded(load_function(postprocess, root)))


def as_json(items: Sequence[Item]) -> list[object]:
    """``items`` as plain JSON types; ``as_items`` gives them back."""
    return [_as_json(item) for item in items]


def as_items(plain: Sequence[object]) -> list[Item]:
    """Items as own steps know them: texts, pairs, or arrays."""
    return [_as_item(item) for item in plain]


def identity(item: Item) -> Hashable:
    """Equal for items that are the same question."""
    return item.tobytes() if isinstance(item, np.ndarray) else item


def _as_json(item: Item) -> object:
    if isinstance(item, Pair):
        return {"query": item.query, "text": item.text}
    return item if isinstance(item, str) else item.tolist()


def _as_item(plain: object) -> Item:
    if isinstance(plain, dict):
        return Pair(**plain)
    return plain if isinstance(plain, str) else np.array(plain)
