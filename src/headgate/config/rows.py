"""One line of a data file: read, checked key by key, and named in every error.

Knows how a value of each type is written, and nothing of which rows a data set is made of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.config.schema import nearest
from headgate.errors import InputError
from headgate.workload import Pair

__all__ = ["Item", "Row", "read_rows", "unique_ids"]

Item: TypeAlias = str | Pair | NDArray[np.float64]
"""What a caller sends: a text, a query with a text to be judged by it, or numbers of one shape."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file, and the errors that name it."""

    path: Path
    line: int
    value: dict[str, Any]

    def fail(self, what: str, reason: str, fix: str, key: str | None = None) -> NoReturn:
        where = f"{self.path}:{self.line}" + (f": {key}" if key else "")
        raise InputError(what, where=where, reason=reason, fix=fix)

    def only(self, *keys: str) -> None:
        for key in self.value:
            if key not in keys:
                self.fail(f"there is no key {key!r} here", "unknown_key", nearest(key, keys))

    def need(self, key: str) -> Any:
        if key not in self.value:
            self.fail("is missing", "missing_key", f'give every row "{key}"', key)
        return self.value[key]

    @property
    def id(self) -> str:
        return self.text("id")

    def text(self, key: str) -> str:
        value = self.need(key)
        if not isinstance(value, str):
            self.fail(f"{_shown(value)} is not text", "wrong_type", "quote it", key)
        if not value.strip() and key != "tenant":
            self.fail("is empty", "empty_text", "remove the row, or fill it", key)
        return value

    def number(self, key: str) -> float:
        value = self.need(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            fix = "write the index of the class" if key == "label" else "write a number"
            self.fail(f"{_shown(value)} is not a number", "wrong_type", fix, key)
        return float(value)

    def strings(self, key: str) -> list[str]:
        value = self.value.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self.fail(f"{_shown(value)} is not a list of texts", "wrong_type", 'write ["…"]', key)
        return value

    def slices(self) -> tuple[str, ...]:
        for name in (slices := self.strings("slices")):
            dimension, _, value = name.partition(":")
            if not dimension or not value:
                self.fail(
                    f"{name!r} is not a slice",
                    "wrong_type",
                    "write dimension:value, for example length:short",
                    "slices",
                )
        return tuple(slices)

    def pair(self) -> Pair:
        return Pair(self.text("query"), self.text("text"))

    def item(self, key: str, like: Item | None) -> Item:
        value = self.need(key)
        if isinstance(value, str):
            item: Item = self.text(key)
        else:
            try:
                array = np.array(value)
            except ValueError:
                array = np.array(None)
            if array.dtype.kind not in "if" or array.size == 0:
                self.fail(
                    f"{_shown(value)} is neither text nor numbers of one shape",
                    "wrong_type",
                    "write a text, or a list of numbers",
                    key,
                )
            item = array.astype(np.float64)
            if not np.isfinite(item).all():
                self.fail("holds a number beyond a float", "not_finite", "correct it", key)
        if like is not None and _shape(item) != _shape(like):
            self.fail(
                f"has shape {_shape(item)}; the first row has {_shape(like)}",
                "wrong_shape",
                "give all rows the same shape",
                key,
            )
        return item


def _shape(item: Item) -> tuple[int, ...]:
    return item.shape if isinstance(item, np.ndarray) else ()


def unique_ids(rows: Iterator[Row]) -> Iterator[Row]:
    first: dict[str, int] = {}
    for row in rows:
        if row.id in first:
            row.fail(
                f"{row.id!r} is also the id of line {first[row.id]}",
                "duplicate_id",
                "give every row its own id",
                "id",
            )
        first[row.id] = row.line
        yield row


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of ``path``; blank lines are skipped. Raises ``InputError``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            reason="file_missing" if isinstance(error, FileNotFoundError) else "file_unreadable",
            fix="check the path",
        ) from None
    found = False
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        found = True
        yield Row(path, number, _object(path, number, line))
    if not found:
        raise InputError(
            "holds no rows", where=str(path), reason="empty_split", fix="add one JSON object a line"
        )


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    where = f"{path}:{number}"

    def refuse(constant: str) -> NoReturn:
        raise InputError(
            f"{constant} is not a number that JSON knows",
            where=where,
            reason="not_finite",
            fix="write a finite number, or leave the row out",
        )

    try:
        value = json.loads(line.decode("utf-8"), parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise InputError(
            f"byte {error.start} of the line is not UTF-8",
            where=where,
            reason="not_json",
            fix="save the file as UTF-8",
        ) from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(
            f"this is not JSON: {getattr(error, 'msg', 'too deeply nested')}",
            where=where,
            reason="not_json",
            fix="write one JSON object a line",
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{_shown(value)} is not an object",
            where=where,
            reason="not_json",
            fix='write {"id": ..., ...}',
        )
    if any(isinstance(v, float) and not math.isfinite(v) for v in value.values()):
        refuse("a number beyond a float")
    return value


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
