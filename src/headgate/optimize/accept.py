"""Whether the model takes what the endpoint's files hold, before the store absorbs any of it.

Knows files, rows and codecs, and nothing of what is measured later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headgate.config import Item
from headgate.errors import InputError, RequestError, TooLong
from headgate.workload import Codec

__all__ = ["Acceptance"]

_OWN = ("function_failed",)
"""Reasons whose place is a function of the user's own."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How items become what the model takes: as a server of it would."""

    codec: Codec
    preprocess: Callable[[Item], Item] | None
    truncate: bool

    def prepared(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """``items`` after the endpoint's own ``preprocess``."""
        return tuple(items if self.preprocess is None else map(self.preprocess, items))

    def check(
        self, path: Path, items: Sequence[Item], names: Sequence[str], *, cut: bool = False
    ) -> None:
        """Raises ``InputError`` naming ``path`` and the first item that cannot be taken.

        ``names[i]`` is what ``items[i]`` is called in the file. ``cut``: only what comes out of
        them is used, so longer texts are cut and never refused.
        """
        cut = cut or self.truncate
        try:
            self._encode(items, cut)
        except (RequestError, InputError):
            for item, name in zip(items, names, strict=True):
                self._check_one(path, item, name, cut)
            raise

    def _check_one(self, path: Path, item: Item, name: str, cut: bool) -> None:
        try:
            self._encode([item], cut)
        except TooLong as error:
            raise InputError(
                error.what,
                where=f"{path}: {name}",
                reason=error.reason,
                fix="shorten it, or write `truncate: true` under model, which cuts it",
            ) from None
        except (RequestError, InputError) as error:
            where = f"{path}: {name}" + (f": {error.where}" if error.reason in _OWN else "")
            raise InputError(error.what, where=where, reason=error.reason, fix=error.fix) from None

    def _encode(self, items: Sequence[Item], cut: bool) -> None:
        self.codec.encode(self.prepared(items), truncate=cut)
