"""Canonical bytes and digests: the one way a value becomes a version.

Canonical JSON is RFC 8785 (JSON Canonicalization Scheme) after three rules of our own, so that the
same value gives the same bytes on every machine: floats are rounded to 12 significant digits,
NaN and the infinities are tagged (JSON has no word for them), and sets do not exist.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rfc8785

__all__ = ["canonical", "digest", "digest_bytes", "jsonable", "parse", "short"]

_PREFIX = "sha256:"


def jsonable(value: object) -> Any:
    """``value`` as plain JSON types, by the three rules above.

    Dataclasses become objects, enums their values, tuples and arrays lists.

    >>> jsonable({"p95_s": 0.1 + 0.2, "worst": float("inf"), "slices": ("short", "long")})
    {'p95_s': 0.3, 'worst': {'$float': 'Infinity'}, 'slices': ['short', 'long']}
    """
    if value is None or isinstance(value, bool | str):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return jsonable(value.value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return _float(float(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return [jsonable(v) for v in value.tolist()]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [jsonable(v) for v in value]
    raise TypeError(f"{type(value).__name__} has no canonical form; convert it first")


def _float(x: float) -> float | dict[str, str]:
    if math.isnan(x):
        return {"$float": "NaN"}
    if math.isinf(x):
        return {"$float": "Infinity" if x > 0 else "-Infinity"}
    return float(f"{x:.12g}")


def canonical(value: object) -> bytes:
    """The RFC 8785 bytes of ``value``; equal values give equal bytes, whatever their key order.

    >>> canonical({"b": 1, "a": 2.0})
    b'{"a":2,"b":1}'
    """
    return rfc8785.dumps(jsonable(value))


def parse(content: bytes) -> Any:
    """The JSON value that ``canonical`` wrote, tagged floats resolved.

    >>> parse(canonical({"worst": float("inf"), "n": 2}))
    {'n': 2, 'worst': inf}
    """
    return json.loads(content, object_hook=_untag)


def _untag(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if set(value) == {"$float"} else value


def digest(value: object) -> str:
    """``sha256:`` and the hash of the canonical bytes of ``value``.

    >>> digest({"a": 1}) == digest({"a": 1.0})
    True
    """
    return digest_bytes(canonical(value))


def digest_bytes(content: bytes) -> str:
    """``sha256:`` and the hash of ``content`` itself.

    >>> digest_bytes(b"")[:20]
    'sha256:e3b0c44298fc1'
    """
    return _PREFIX + hashlib.sha256(content).hexdigest()


def short(version: str) -> str:
    """The first 12 hex digits, for people.

    >>> short(digest_bytes(b""))
    'e3b0c44298fc'
    """
    return version.removeprefix(_PREFIX)[:12]
