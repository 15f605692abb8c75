"""An entry of the ledger, and how its identity follows from its parts.

The id is the SHA-256 of the canonical JSON of ``{body, kind, previous, recorded_at, seq}``. Knows
nothing of where entries are kept.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from headgate.objects import canonical

__all__ = ["GENESIS", "Entry", "Row", "checked", "hash_row", "parsed", "utc_now"]

GENESIS = "sha256:" + 64 * "0"
"""What the first entry names as the one before it."""

Row: TypeAlias = tuple[int, str, str, str, str, bytes]
"""(seq, id, previous, kind, recorded_at, body), exactly as stored."""

_KIND = re.compile(r"[a-z][a-z0-9_.-]*")
_RECORDED_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger, whose ``id`` was checked against its content when it was read."""

    seq: int
    """1, 2, 3 ... without gaps."""
    id: str
    """Digest of all the rest."""
    previous: str
    """The id of the entry before it; ``GENESIS`` for the first."""
    kind: str
    """artifact, run, measurement, decision, release ..."""
    recorded_at: str
    """UTC, ISO 8601, ending in Z."""
    body: dict[str, Any]
    """What was recorded, parsed from its canonical JSON."""


def hash_row(seq: int, previous: str, kind: str, recorded_at: str, body: bytes) -> str:
    """The id of an entry, from its stored parts.

    ``body`` goes in byte for byte: a body that was edited into another spelling of the same value
    has another id. For canonical bodies this is the digest of the whole entry as a value:

    >>> from headgate.objects import digest
    >>> parts = {"seq": 1, "previous": GENESIS, "kind": "note", "recorded_at": "2026-01-01T00:00Z"}
    >>> hash_row(**parts, body=b'{"x":1}') == digest({**parts, "body": {"x": 1}})
    True
    """
    # The keys in the order of RFC 8785. Everything after the body is quoted JSON, so no two
    # different entries give the same bytes.
    head = b'{"body":' + body
    tail = (
        f',"kind":{_quoted(kind)},"previous":{_quoted(previous)},'
        f'"recorded_at":{_quoted(recorded_at)},"seq":{seq}}}'
    )
    return "sha256:" + hashlib.sha256(head + tail.encode("utf-8", "surrogateescape")).hexdigest()


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
    return json.loads(body, parse_int=_int_or_float)


def _int_or_float(text: str) -> int | float:
    # RFC 8785 writes the float 1e17 as an integer, but takes none beyond 2^53 - 1.
    number = int(text)
    return number if abs(number) < 1 << 53 else float(text)


def utc_now() -> str:
    """The time now as the ledger writes it: UTC, microseconds, Z."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _quoted(text: str) -> str:
    # Python's json escapes what RFC 8785 says (quote, backslash, controls) and nothing else.
    return json.dumps(text, ensure_ascii=False)
