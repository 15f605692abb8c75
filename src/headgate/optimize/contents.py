"""What the content of an artifact says: whether it reads as its schema, and one number a row.

Reads with the readers that took it in, so that what is checked later is what was checked then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from headgate.config import (
    Item,
    RetrievalSet,
    load_labelled,
    load_pairs,
    load_retrieval,
    load_texts,
    load_workload,
)
from headgate.errors import InputError
from headgate.workload import Pair

__all__ = ["SCHEMAS", "TEXTS", "WORKLOAD", "metric_value", "numbers"]

SCHEMAS = MappingProxyType(
    {
        "embed": "jsonl {id, query, relevant, slices} and {id, passage}, or {id, text}",
        "classify": "jsonl {id, input, label, slices}",
        "predict": "jsonl {id, input, label, slices}",
        "rerank": "jsonl {id, query, text, label, slices}",
    }
)
"""Task -> how its evaluation and holdout files are written."""
TEXTS = "jsonl {id, text}"
WORKLOAD = "jsonl {at_s, text | query and text | input, tenant}"


def _queries(path: Path) -> Sequence[Item]:
    found: RetrievalSet = load_retrieval(path)
    return found.queries


_READERS: Mapping[str, Callable[[Path], Sequence[Item]]] = {
    SCHEMAS["embed"]: _queries,
    SCHEMAS["classify"]: lambda path: load_labelled(path).inputs,
    SCHEMAS["rerank"]: lambda path: load_pairs(path).inputs,
    TEXTS: load_texts,
    WORKLOAD: lambda path: load_workload(path).items,
}


def numbers(schema: str, path: Path) -> NDArray[np.float64]:
    """One number a row, shape (n,): the length of a text in characters, the mean of numbers.

    Raises ``InputError`` where the file is not as ``schema`` says, or nobody reads that schema.
    """
    if schema not in _READERS:
        raise InputError(f"no rows are read of {schema!r}", where=str(path), reason="no_rows")
    return np.array([_number(item) for item in _READERS[schema](path)], dtype=np.float64)


def metric_value(metric: str, schema: str, path: Path) -> float:
    """The metric of an artifact's standard: ``rows``, ``lowest_price``, ``readable`` or ``fits``.

    Raises ``InputError`` where the content is not as ``schema`` says.
    """
    if metric == "rows" and schema in _READERS:
        return float(len(numbers(schema, path)))
    if metric == "fits" and not schema.startswith("json "):
        return float(path.stat().st_size > 0)
    content = path.read_bytes()
    if metric == "readable":
        return float(_is_text(content))
    if schema.startswith("jsonl"):
        return float(len(content.splitlines()))
    try:
        value = json.loads(content)
    except ValueError as error:
        raise InputError(f"is no JSON: {error}", where=str(path), reason="not_json") from None
    if metric == "rows" and isinstance(value, list):
        return float(len(value))
    if metric == "lowest_price" and isinstance(value, dict):
        return min((float(v) for v in value.values() if not isinstance(v, str)), default=0.0)
    if metric == "fits" and isinstance(value, list | dict):
        return 1.0
    raise InputError(f"has no {metric}", where=str(path), reason="not_json")


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _number(item: Item) -> float:
    if isinstance(item, str):
        return float(len(item))
    if isinstance(item, Pair):
        return float(len(item.query))
    return float(item.mean())
