"""The one interface to the entries, for whoever writes and whoever reads.

``headgate.ledger.sqlite`` stands behind it today; another database can.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from headgate.ledger.entry import Entry, Row

__all__ = ["Log"]


class Log(Protocol):
    """Append-only entries, whose order and content a Merkle tree holds.

    Safe to share between threads; processes each open their own. Raises ``Busy`` where another
    writer is in the way for too long, ``Tampered`` where what is there is not what was written,
    ``Fault`` where the database refuses.
    """

    def close(self) -> None:
        """Nothing is pending."""

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """All that is read and appended inside happens at once, or, on any exception, not at all.

        One at a time, over all processes.
        """

    def append(self, kind: str, body: object, recorded_at: str) -> Entry:
        """Add one entry, inside a ``transaction``; it is durable once that has ended."""

    def highest_seq(self) -> int:
        """The highest seq that was ever written, whether or not its entry is still there."""

    def select(
        self, kind: str | None = None, *, newest_first: bool = False, **body: str
    ) -> Iterator[Entry]:
        """The entries of ``kind`` whose bodies have these texts, each checked against its id.

        A reader holds up no writer; what is appended meanwhile may be seen.
        """

    def called(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """(id, entry) whose id begins with ``prefix``, (version, entry) of artifacts likewise."""

    def rows(self) -> Iterator[Row]:
        """All entries, oldest first, as stored and unchecked."""

    def subtree(self, level: int, index: int) -> bytes:
        """The hash of a full subtree of the entries, see ``headgate.ledger.merkle.Subtree``."""

    def damage(self) -> Iterator[tuple[str, str]]:
        """(reason, what) that the database itself finds wrong; nothing of what entries say."""
