"""Data files: JSON lines in, frozen sets out, or one error that names the line and the key.

Six kinds of row, one kind a file but for the first two::

    {"id": "p1", "passage": "..."}                                   what is searched
    {"id": "q1", "query": "...", "relevant": ["p1"], "slices": []}   what is asked
    {"id": "t1", "text": "..."}                                      both, without labels
    {"id": "1", "input": [0.5, ...] or "...", "label": 3}            classify
    {"id": "1", "input": [0.5, ...] or "...", "label": 2.5}          predict: for own metrics alone
    {"id": "1", "query": "...", "text": "...", "label": 1}           rerank: how much it answers

``slices`` (``dimension:value``) and ``meta`` (an object for your own metrics) are optional
everywhere. A workload's rows have ``at_s`` instead of an id. Unknown keys are refused: a misspelt
``relevant`` would silently be a query without labels.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.config.rows import Item, Row, read_rows, unique_ids
from headgate.config.schema import nearest
from headgate.errors import InputError
from headgate.objects import digest_bytes
from headgate.workload import Pair

__all__ = [
    "Item",
    "LabelledSet",
    "RetrievalSet",
    "WorkloadLog",
    "check_overlap",
    "item_digest",
    "load_labelled",
    "load_pairs",
    "load_retrieval",
    "load_texts",
    "load_workload",
]


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

    @property
    def labelled(self) -> bool:
        return self.relevant is not None


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Inputs with their labels: a class index, a number, or how much a text answers its query."""

    ids: tuple[str, ...]
    inputs: tuple[Item, ...]
    labels: tuple[float, ...] | None
    """One an input, or None where nothing is labelled."""
    slices: tuple[tuple[str, ...], ...]
    rows: tuple[Mapping[str, object], ...]
    lines: tuple[int, ...] = ()
    """One an input: where it stands in its file, from 1; empty where it comes from none."""

    @property
    def labelled(self) -> bool:
        return self.labels is not None


@dataclass(frozen=True, slots=True)
class WorkloadLog:
    """What was asked, and when: ``at_s`` ascending, seconds since the log's beginning."""

    at_s: NDArray[np.float64]
    items: tuple[Item, ...]
    tenants: tuple[str, ...]

    @property
    def rate_per_s(self) -> float:
        """Arrivals a second between the first and the last, which are not at one moment."""
        return (len(self.items) - 1) / float(self.at_s[-1] - self.at_s[0])


def load_retrieval(path: Path) -> RetrievalSet:
    """Queries and passages, or unlabelled texts that are both.

    Raises ``InputError``; besides those of every file: ``label_points_nowhere``,
    ``partly_labelled``, ``mixed_rows``.
    """
    queries: list[Row] = []
    passages: list[Row] = []
    texts: list[Row] = []
    kinds = {"query": queries, "passage": passages, "text": texts}
    for row in unique_ids(read_rows(path)):
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
    rows = list(unique_ids(read_rows(path)))
    items: list[Item] = []
    for row in rows:
        row.only("id", "input", "label", "slices", "meta")
        items.append(row.item("input", like=items[0] if items else None))
    return _labelled_set(rows, items)


def load_pairs(path: Path) -> LabelledSet:
    """Texts and the queries that they are judged by, all labelled or none: ``rerank``.

    Raises ``InputError``; besides those of every file: ``partly_labelled``, ``wrong_label`` for
    one below 0, ``no_relevant`` for a query of which no text has one above 0: any order of its
    texts is as good as any other.
    """
    rows = list(unique_ids(read_rows(path)))
    pairs: list[Item] = []
    best: dict[str, float] = {}
    for row in rows:
        row.only("id", "query", "text", "label", "slices", "meta")
        pair = row.pair()
        pairs.append(pair)
        label = row.number("label") if "label" in row.value else 0.0
        if label < 0:
            row.fail(
                f"{label:g} is below 0", "wrong_label", "write 0 for what is no answer", "label"
            )
        best[pair.query] = max(best.get(pair.query, 0.0), label)
    found = _labelled_set(rows, pairs)
    if found.labels is not None:
        for row in rows:
            if not best[row.text("query")]:
                row.fail(
                    "no text of this query has a label above 0",
                    "no_relevant",
                    "add a text that answers it, or leave the query out",
                )
    return found


def _labelled_set(rows: Sequence[Row], items: Sequence[Item]) -> LabelledSet:
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
        lines=tuple(row.line for row in rows),
    )


def load_texts(path: Path) -> list[str]:
    """Unlabelled texts, to train on or to calibrate with. Raises ``InputError``."""
    texts: list[str] = []
    for row in unique_ids(read_rows(path)):
        row.only("id", "text", "slices", "meta")
        texts.append(row.text("text"))
    return texts


def load_workload(path: Path) -> WorkloadLog:
    """Timed requests. Raises ``InputError``; besides those of every file: ``not_ascending``,
    ``mixed_rows``.
    """
    at_s: list[float] = []
    items: list[Item] = []
    tenants: list[str] = []
    for row in read_rows(path):
        row.only("at_s", "query", "text", "input", "tenant")
        at = row.number("at_s")
        if at < (at_s[-1] if at_s else 0.0):
            row.fail(
                f"at_s is {at:g} after {at_s[-1]:g}" if at_s else f"at_s is {at:g}, before 0",
                "not_ascending",
                "sort the log by at_s, counted from its beginning",
            )
        at_s.append(at)
        if "query" in row.value:
            item: Item = row.pair()
        elif "text" in row.value:
            item = row.text("text")
        else:
            item = row.item("input", items[0] if items else None)
        if items and type(item) is not type(items[0]):
            row.fail(
                "asks for another kind of item than the first row",
                "mixed_rows",
                "give texts, or queries with a text each, or inputs: one kind a file",
            )
        items.append(item)
        tenants.append(row.text("tenant") if "tenant" in row.value else "")
    return WorkloadLog(np.array(at_s), tuple(items), tuple(tenants))


_EXAMPLES = 3
"""Of what is in two splits, that are named."""


def check_overlap(
    splits: Mapping[str, Sequence[Item]],
    *,
    path: Path | None = None,
    after: str = "",
    names: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Refuses splits that share an item: what was learnt from or tuned on judges nothing.

    ``splits`` maps a split's name to its items; ``path`` is the file that names them, ``after``
    what was done to them before, and ``names`` what its items are called, where they are. Texts are
    compared after NFKC, case folding and collapsing of white space; numbers exactly; pairs by their
    queries: who learnt from a query knows something of its other texts. Raises ``InputError``
    (reason ``split_overlap``), naming examples.
    """
    seen: dict[object, str] = {}
    called: dict[object, str] = {}
    for name, items in splits.items():
        keys = {_normal(item): item for item in items}
        own = dict(reversed([*zip(map(_normal, items), (names or {}).get(name, ()), strict=False)]))
        for other in dict.fromkeys(seen.values()):
            shared = [key for key in keys if seen.get(key) == other]
            if shared:
                examples = "; ".join(
                    (f"{own[key]}, there {called[key]}: " if key in own and key in called else "")
                    + _shorten(keys[key])
                    for key in shared[:_EXAMPLES]
                ) + (f"; and {len(shared) - _EXAMPLES} more" if len(shared) > _EXAMPLES else "")
                raise InputError(
                    f"{len(shared)} items of {name} are also in {other}{after}: {examples}",
                    where=f"data.{name}" if path is None else f"{path}: data.{name}",
                    reason="split_overlap",
                    fix="remove them from one of the two; what was learnt from judges nothing",
                )
        for key in keys:
            seen.setdefault(key, name)
        called = {**own, **called}


def item_digest(item: Item) -> str:
    """The same of two items exactly where ``check_overlap`` takes them for one; of numbers as a
    function of the user's may return them, too.

    >>> item_digest("What  is IT?") == item_digest("what is it?") != item_digest("that is it?")
    True
    """
    whole = item if isinstance(item, str | Pair) else np.asarray(item, dtype=np.float64)
    return digest_bytes(repr(_normal(whole)).encode())


def _normal(item: Item) -> object:
    if isinstance(item, str):
        return " ".join(unicodedata.normalize("NFKC", item).casefold().split())
    if isinstance(item, Pair):
        return _normal(item.query)
    return item.shape, item.tobytes()


def _shorten(item: Item) -> str:
    if isinstance(item, Pair):
        return _shorten(item.query)
    text = item if isinstance(item, str) else "[" + ", ".join(f"{x:g}" for x in item.ravel()[:4])
    return repr(text if len(text) <= 48 else text[:47] + "…")


def _relevant(
    queries: Sequence[Row], index: Mapping[str, int]
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
