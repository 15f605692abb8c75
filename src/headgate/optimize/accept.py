"""Whether the model takes what the endpoint's files hold, before the store absorbs any of it.

Knows files, rows and codecs, and nothing of what is measured later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headgate.config import Item, LabelledSet
from headgate.errors import InputError, RequestError, TooLong
from headgate.quantization import TensorSpec
from headgate.workload import Codec

__all__ = ["Acceptance", "classes_of"]

_OWN = ("function_failed",)
"""Reasons whose place is a function of the user's own."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How items become what the model takes: as a server of it would."""

    codec: Codec
    preprocess: Callable[[Item], Item] | None
    truncate: bool
    classes: int | None = None
    """How many classes the model's scores tell apart; None where it does not say."""

    def prepared(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """``items`` after the endpoint's own ``preprocess``."""
        return tuple(map(self.prepare, items))

    def prepare(self, item: Item) -> Item:
        """One of them."""
        return item if self.preprocess is None else self.preprocess(item)

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

    def check_learnable(self, path: Path, items: Sequence[Item], names: Sequence[str]) -> None:
        """As ``check``, of items that are learnt from: only what comes out of them is used, so that
        longer texts are cut.

        A text that ``preprocess`` leaves nothing of teaches nothing (reason ``empty_text``).
        """
        self.check(path, items, names, cut=True)
        for item, name in zip(self.prepared(items), names, strict=True):
            if isinstance(item, str) and not item.strip():
                raise InputError(
                    "the endpoint's own preprocess leaves nothing of it",
                    where=f"{path}: {name}",
                    reason="empty_text",
                    fix="remove the row, or let preprocess leave some of it",
                )

    def check_labels(self, path: Path, split: LabelledSet) -> None:
        """Raises ``InputError`` naming the first line of ``path`` whose label is no class.

        Where the model does not say how many classes it has, every label is taken.
        """
        if self.classes is None or split.labels is None:
            return
        for label, line in zip(split.labels, split.lines, strict=True):
            if label not in range(self.classes):
                raise InputError(
                    f"label {label:g}; the model has classes 0 to {self.classes - 1}",
                    where=f"{path}:{line}",
                    reason="no_such_class",
                    fix="correct the label: the index of the class in the model's scores",
                )

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


def classes_of(outputs: Sequence[TensorSpec]) -> int | None:
    """How many classes a classifier's scores (the first output of floats, a row an item) tell
    apart; None where it answers with labels alone, one number an item, or rows of any width.

    >>> classes_of([TensorSpec("label", "int64", (None,)), TensorSpec("p", "float32", (None, 3))])
    3
    """
    scores = (o.shape for o in outputs if o.dtype.startswith("float") and len(o.shape) == 2)
    width = next(scores, (None, None))[1]
    # One number an item is a class or a probability, which says nothing of how many there are.
    return width if width is not None and width > 1 else None
