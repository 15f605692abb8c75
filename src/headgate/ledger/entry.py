"""An entry of the ledger, and how its identity follows from its parts.

The id is the SHA-256 of the canonical JSON of ``{body, kind, recorded_at, seq, tree}``, where
``tree`` is the root of the Merkle tree of all entries before it: an entry commits to its whole
past, and its own leaf in the tree is the 32 bytes of its id. Knows nothing of where entries are
kept.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from headgate.ledger.merkle import leaf_hash
from headgate.objects import canonical

__all__ = ["Entry", "Row", "checked", "hash_row", "leaf_of", "parsed", "utc_now"]


class Row(NamedTuple):
    """An entry exactly as it is stored."""

    seq: int
    id: str
    tree: str
    kind: str
    recorded_at: str
    body: bytes
    filled: bytes
    """Hashes of the subtrees that it fills (``merkle.Edge.add``), which no id covers: they follow
    from the ids."""


_KIND = re.compile(r"[a-z][a-z0-9_.-]*")
_RECORDED_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger, whose ``id`` was checked against its content when it was read."""

    seq: int
    """1, 2, 3 ... without gaps."""
    id: str
    """Digest of all the rest."""
    tree: str
    """The root of the Merkle tree of all entries before it, ``sha256:`` and 64 hex digits."""
    kind: str
    """artifact, run, measurement, decision, release, checkpoint ..."""
    recorded_at: str
    """UTC, ISO 8601, ending in Z."""
    body: dict[str, Any]
    """What was recorded, parsed from its canonical JSON."""


def hash_row(seq: int, tree: str, kind: str, recorded_at: str, body: bytes) -> str:
    """The id of an entry, from its stored parts.

    ``body`` goes in byte for byte: a body that was edited into another spelling of the same value
    has another id. For canonical bodies this is the digest of the whole entry as a value:

    >>> from headgate.objects import digest
    >>> parts = {"seq": 1, "tree": "sha256:e3", "kind": "note", "recorded_at": "2026-01-01T00:00Z"}
    >>> hash_row(**parts, body=b'{"x":1}') == digest({**parts, "body": {"x": 1}})
    True
    """
    # The keys in the order of RFC 8785. Everything after the body is quoted JSON, so no two
    # different entries give the same bytes.
    head = b'{"body":' + body
    tail = (
        f',"kind":{_quoted(kind)},"recorded_at":{_quoted(recorded_at)},'
        f'"seq":{seq},"tree":{_quoted(tree)}}}'
    )
    return "sha256:" + hashlib.sha256(head + tail.encode("utf-8", "surrogateescape")).hexdigest()


def leaf_of(entry_id: str) -> bytes:
    """The hash that stands for an entry in the tree. Raises ``ValueError`` for what is no id."""
    return leaf_hash(bytes.fromhex(entry_id.removeprefix("sha256:")))


def checked(kind: str, recorded_at: str, body: object) -> bytes:
    """The canonical bytes of ``body``, after all three are found fit to be recorded.

    Raises ``ValueError`` or ``TypeError``: what an entry is made of is its writer's code's doing.
    """
    if not _KIND.fullmatch(kind):
        raise ValueError(f"kind must be lower-case words, got {kind!r}")
    if not _RECORDED_AT.fullmatch(recorded_at):
        raise ValueError(f"recorded_at must be UTC like {utc_now()}, got {recorded_at!r}")
    stored = canonical(body)
    if not stored.startswith(b"{"):
        raise TypeError(f"a body is a mapping or a dataclass, got {type(body).__name__}")
    return stored


def parsed(body: bytes) -> Any:
    """The value of canonical JSON, such that its canonical form is ``body`` again."""
    return _READER.decode(body.decode())


def _int_or_float(text: str) -> int | float:
    # RFC 8785 writes the float 1e17 as an integer, but takes none beyond 2^53 - 1.
    number = int(text)
    return number if abs(number) < 1 << 53 else float(text)


# Made once: making one takes as long as using it.
_READER = json.JSONDecoder(parse_int=_int_or_float)
_WRITER = json.JSONEncoder(ensure_ascii=False)


def utc_now() -> str:
    """The time now as the ledger writes it: UTC, microseconds, Z."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _quoted(text: str) -> str:
    # Python's json escapes what RFC 8785 says (quote, backslash, controls) and nothing else.
    return _WRITER.encode(text)
