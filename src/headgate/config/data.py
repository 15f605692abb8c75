"""Data files: JSON lines in, frozen sets out, or one error that names the line and the key.

Four kinds of row, one kind a file but for the first two::

    {"id": "p1", "passage": "..."}                                   what is searched
    {"id": "q1", "query": "...", "relevant": ["p1"], "slices": []}   what is asked
    {"id": "t1", "text": "..."}                                      both, without labels
    {"id": "1", "input": [0.5, ...] or "...", "label": 3}            classify and predict

``slices`` (``dimension:value``) and ``meta`` (an object for your own metrics) are optional
everywhere. A workload's rows have ``at_s`` instead of an id. Unknown keys are refused: a misspelt
``relevant`` would silently be a query without labels.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.config.schema import nearest
from headgate.errors import InputError, Refused

__all__ = [
    "Item",
    "LabelledSet",
    "RetrievalSet",
    "WorkloadLog",
    "check_overlap",
    "load_labelled",
    "load_retrieval",
    "load_texts",
    "load_workload",
]

Item: TypeAlias = str | NDArray[np.float64]
"""What a caller sends: a text, or numbers of one shape."""


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """Queries, passages, and which of the passages answer which query."""

    query_ids: tuple[str, ...]
    queries: tuple[str, ...]
    relevant: tuple[tuple[int, ...], ...] | None
    """Per query, indices into ``passages``; None where nothing is labelled."""
    passage_ids: tuple[str, ...]
    passages: tuple[str, ...]
    slices: tuple[tuple[str, ...], ...]
    """Per query."""
    rows: tuple[Mapping[str, object], ...]
    """Per query, the row as it stands in the file, for own metrics."""


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Inputs with their labels: a class index or a number."""

    ids: tuple[str, ...]
    inputs: tuple[Item, ...]
    labels: tuple[float, ...] | None
    """One an input, or None where nothing is labelled."""
    slices: tuple[tuple[str, ...], ...]
    rows: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class WorkloadLog:
    """What was asked, and when: ``at_s`` ascending, seconds since the log's beginning."""

    at_s: NDArray[np.float64]
    items: tuple[Item, ...]
    tenants: tuple[str, ...]


def load_retrieval(path: Path) -> RetrievalSet:
    """Queries and passages, or unlabelled texts that are both.

    Raises ``InputError``; besides those of every file: ``label_points_nowhere``,
    ``partly_labelled``, ``mixed_rows``.
    """
    queries: list[_Row] = []
    passages: list[_Row] = []
    texts: list[_Row] = []
    kinds = {"query": queries, "passage": passages, "text": texts}
    for row in _unique_ids(_rows(path)):
        kind = next((k for k in kinds if k in row.value), None)
        if kind is None:
            row.fail("has no query, passage or text", "missing_key", "give it one of them")
        row.text(kind)
        row.only("id", kind, *(("relevant",) if kind == "query" else ()), "slices", "meta")
        kinds[kind].append(row)
    if texts:
        if queries or passages:
            texts[0].fail(
                "is a text among queries and passages",
                "mixed_rows",
                "label all of the file, or none of it",
            )
        queries = passages = texts
    if not queries or not passages:
        what = "queries" if not queries else "passages"
        raise InputError(
            f"holds no {what}",
            where=str(path),
            reason="empty_split",
            fix=f'add rows with "id" and "{"query" if not queries else "passage"}"',
        )
    index = {row.id: i for i, row in enumerate(passages)}
    relevant = None if texts else _relevant(queries, index)
    kind = "text" if texts else "query"
    return RetrievalSet(
        query_ids=tuple(row.id for row in queries),
        queries=tuple(row.text(kind) for row in queries),
        relevant=relevant,
        passage_ids=tuple(index),
        passages=tuple(row.text("text" if texts else "passage") for row in passages),
        slices=tuple(row.slices() for row in queries),
        rows=tuple(row.value for row in queries),
    )


def load_labelled(path: Path) -> LabelledSet:
    """Inputs of ``classify`` and ``predict``, all labelled or none.

    Raises ``InputError``; besides those of every file: ``wrong_shape``, ``partly_labelled``.
    """
    rows = list(_unique_ids(_rows(path)))
    items: list[Item] = []
    for row in rows:
        row.only("id", "input", "label", "slices", "meta")
        items.append(row.item("input", like=items[0] if items else None))
    labelled = [row for row in rows if "label" in row.value]
    if labelled and len(labelled) < len(rows):
        row = next(row for row in rows if "label" not in row.value)
        row.fail(
            f"has no label, and {len(labelled)} of {len(rows)} rows have one",
            "partly_labelled",
            "label all rows, or none",
        )
    return LabelledSet(
        ids=tuple(row.id for row in rows),
        inputs=tuple(items),
        labels=tuple(row.number("label") for row in rows) if labelled else None,
        slices=tuple(row.slices() for row in rows),
        rows=tuple(row.value for row in rows),
    )


def load_texts(path: Path) -> list[str]:
    """Unlabelled texts, to train on or to calibrate with. Raises ``InputError``."""
    texts: list[str] = []
    for row in _unique_ids(_rows(path)):
        row.only("id", "text", "slices", "meta")
        texts.append(row.text("text"))
    return texts


def load_workload(path: Path) -> WorkloadLog:
    """Timed requests. Raises ``InputError``; besides those of every file: ``not_ascending``."""
    at_s: list[float] = []
    items: list[Item] = []
    tenants: list[str] = []
    for row in _rows(path):
        row.only("at_s", "text", "input", "tenant")
        at = row.number("at_s")
        if at < (at_s[-1] if at_s else 0.0):
            row.fail(
                f"at_s is {at:g} after {at_s[-1]:g}" if at_s else f"at_s is {at:g}, before 0",
                "not_ascending",
                "sort the log by at_s, counted from its beginning",
            )
        at_s.append(at)
        key = "text" if "text" in row.value else "input"
        items.append(
            row.text("text") if key == "text" else row.item(key, items[0] if items else None)
        )
        tenants.append(row.text("tenant") if "tenant" in row.value else "")
    return WorkloadLog(np.array(at_s), tuple(items), tuple(tenants))


def check_overlap(splits: Mapping[str, Sequence[Item]]) -> None:
    """Refuses splits that share an item: what was learnt from or tuned on judges nothing.

    ``splits`` maps a split's name to its items. Texts are compared after NFKC, case folding and
    collapsing of white space; numbers exactly. Raises ``Refused`` (reason ``split_overlap``),
    naming examples.
    """
    seen: dict[object, str] = {}
    for name, items in splits.items():
        keys = {_normal(item): item for item in items}
        for other in dict.fromkeys(seen.values()):
            shared = [item for key, item in keys.items() if seen.get(key) == other]
            if shared:
                examples = "; ".join(_shorten(item) for item in shared[:3])
                raise Refused(
                    f"{len(shared)} items of {name} are also in {other}: {examples}",
                    where=f"data.{name}",
                    reason="split_overlap",
                    fix="remove them from one of the two; what was learnt from judges nothing",
                )
        for key in keys:
            seen.setdefault(key, name)


def _normal(item: Item) -> object:
    if isinstance(item, str):
        return " ".join(unicodedata.normalize("NFKC", item).casefold().split())
    return item.shape, item.tobytes()


def _shorten(item: Item) -> str:
    text = item if isinstance(item, str) else "[" + ", ".join(f"{x:g}" for x in item.ravel()[:4])
    return repr(text if len(text) <= 48 else text[:47] + "…")


@dataclass(frozen=True, slots=True)
class _Row:
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
        if like is not None and np.shape(item) != np.shape(like):
            self.fail(
                f"has shape {np.shape(item)}; the first row has {np.shape(like)}",
                "wrong_shape",
                "give all rows the same shape",
                key,
            )
        return item


def _relevant(
    queries: Sequence[_Row], index: Mapping[str, int]
) -> tuple[tuple[int, ...], ...] | None:
    labelled = [row for row in queries if "relevant" in row.value]
    if not labelled:
        return None
    result: list[tuple[int, ...]] = []
    for row in queries:
        names = row.strings("relevant")
        if not names:
            row.fail(
                f"names no passage, and {len(labelled)} of {len(queries)} queries do",
                "partly_labelled",
                "give every query its passages, or none of them any",
                "relevant",
            )
        for name in names:
            if name not in index:
                row.fail(
                    f"there is no passage {name!r} in this file",
                    "label_points_nowhere",
                    nearest(name, list(index)[:10_000])
                    if len(index) < 20
                    else "add the passage, or correct the label",
                    "relevant",
                )
        result.append(tuple(dict.fromkeys(index[name] for name in names)))
    return tuple(result)


def _unique_ids(rows: Iterator[_Row]) -> Iterator[_Row]:
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


def _rows(path: Path) -> Iterator[_Row]:
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
        yield _Row(path, number, _object(path, number, line))
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
