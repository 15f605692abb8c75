"""Evidence in the formats of other tools: ``FORMATS`` has them by name.

An exporter is a pure function of a :class:`Dossier`: documents of plain JSON types, in an order
that the evidence alone decides. Another format is another exporter, and a line in the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from headgate.ledger.dsse import Envelope
from headgate.ledger.signing import SigningKey
from headgate.objects import canonical
from headgate.report.export import intoto, otel
from headgate.report.export.dossier import Composed, Dossier, Judged, Ran

__all__ = ["FORMATS", "Composed", "Dossier", "Exporter", "Format", "Judged", "Ran"]

Exporter = Callable[[Dossier], Iterator[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Format:
    """One standard, written as JSON lines."""

    what: str
    """What a document is, in the plural, for people."""
    suffix: str
    """Of the file's name, as the standard has it."""
    documents: Exporter
    fix: str
    """What to do where there are none."""
    signed_as: str | None = None
    """The payload type of the envelope that each is signed in; None where they are not signed."""

    def lines(self, dossier: Dossier, key: SigningKey | None) -> Iterator[bytes]:
        """A document a line, signed with ``key`` where the standard has it."""
        for document in self.documents(dossier):
            if self.signed_as is None:  # what nobody hashes takes no canonical form, which is slow
                content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
            else:
                assert key is not None, "what is signed takes a key"
                content = bytes(Envelope.signed(key, self.signed_as, canonical(document)))
            yield content + b"\n"


FORMATS = MappingProxyType(
    {
        "intoto": Format(
            "in-toto statements",
            ".intoto.jsonl",
            intoto.statements,
            "it came from outside: give the id of something that was made of it",
            signed_as=intoto.PAYLOAD_TYPE,
        ),
        "otel": Format(
            "batches of spans",
            ".otlp.jsonl",
            otel.spans,
            "serve it, without --no-traces: they are on record once the server has ended",
        ),
    }
)
