"""Append-only entries, each of which names the one before it by hash, in one SQLite file.

An id is a digest of its entry and of the id before it (``headgate.ledger.entry``), so the last one
commits to everything and a change anywhere shows. What a chain alone cannot show is that somebody
rewrote it from some entry to its end: for that, compare its head with one that was kept elsewhere.

The rollback journal is used instead of the write-ahead log: SQLite before 3.51.3 can corrupt a
database on a WAL reset, and Debian 12 has 3.40.1. Journal mode ``TRUNCATE`` with
``synchronous=FULL`` syncs the journal's end, so that an acknowledged entry survives a power cut;
``DELETE`` would need a sync of the directory for that.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headgate.errors import HeadgateError, InputError, Tampered
from headgate.ledger.entry import GENESIS, Entry, Row, checked, hash_row, parsed
from headgate.ledger.faults import explained_database_errors
from headgate.objects import short

__all__ = ["GUARDS", "Chain"]

FORMAT = 1
"""Format of the store. Entries are never migrated; what stands around them may be."""

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another's transaction."""

_APPLICATION_ID = 0x48444754  # "HDGT", in the file's header

GUARDS: Mapping[str, str] = {
    f"entries_refuse_{verb.lower()}": (
        f"CREATE TRIGGER entries_refuse_{verb.lower()} BEFORE {verb} ON entries "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    )
    for verb in ("UPDATE", "DELETE")
}
"""Name -> SQL of the triggers that keep entries as they are."""

_SCHEMA = (
    # AUTOINCREMENT keeps the highest seq there ever was in a table of its own, where the removal
    # of the last entries shows.
    "CREATE TABLE entries (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
    "previous TEXT NOT NULL, kind TEXT NOT NULL, recorded_at TEXT NOT NULL, body TEXT NOT NULL)",
    *GUARDS.values(),
    "CREATE INDEX entries_by_kind ON entries (kind, seq)",
    "CREATE INDEX artifacts_by_version ON entries (json_extract(body, '$.version')) "
    "WHERE kind = 'artifact'",
    "CREATE INDEX artifacts_by_id ON entries (json_extract(body, '$.id')) WHERE kind = 'artifact'",
    "CREATE INDEX runs_by_key ON entries (json_extract(body, '$.key')) WHERE kind = 'run'",
    # SQLite itself refuses a second winner of a generation.
    "CREATE UNIQUE INDEX releases_by_generation ON entries "
    "(json_extract(body, '$.endpoint'), json_extract(body, '$.generation')) "
    "WHERE kind = 'release'",
)

# As bytes, whatever type or encoding a column was tampered into.
_COLUMNS = "seq, " + ", ".join(
    f"CAST({name} AS BLOB)" for name in ("id", "previous", "kind", "recorded_at", "body")
)
_PAGE_ROWS = 500


class Chain:
    """The entries of one ``ledger.sqlite``. Safe to share between threads and processes."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        # One connection for all threads; held for the whole of a transaction.
        self._mutex = threading.RLock()

    @classmethod
    def open(cls, path: Path, *, may_create: bool) -> Chain:
        """Open the ledger at ``path``; an empty or absent one is made where ``may_create``.

        Raises ``InputError`` (``store_missing``, ``store_format``) where there is none, or one of
        a newer format or of another program; ``Tampered`` where it is damaged or gone.
        """
        if not may_create and not path.exists():
            raise _no_ledger(path)
        mode = "rwc" if may_create else "rw"
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        with explained_database_errors(path):
            connection = sqlite3.connect(
                uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        chain = cls(path, connection)
        try:
            chain._prepare(may_create=may_create)
        except BaseException:
            connection.close()
            raise
        return chain

    def close(self) -> None:
        """Close the file; nothing is pending."""
        with self._mutex:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is read and appended inside happens at once, or, on any exception, not at all.

        Raises ``Busy`` where another process's transaction does not end in time.
        """
        with self._mutex, explained_database_errors(self.path):
            assert not self._in_transaction()
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # A disk error may have rolled it back already.
                if self._in_transaction():
                    self._connection.execute("ROLLBACK")
                raise

    def append(self, kind: str, body: object, recorded_at: str) -> Entry:
        """Add one entry, inside a ``transaction``; it is durable once that has ended."""
        assert self._in_transaction()
        stored = checked(kind, recorded_at, body)
        last_seq, previous = self.head()
        if last_seq != self.highest_seq():
            raise Tampered(
                f"the last entry is {last_seq}, but {self.highest_seq()} were written",
                where=str(self.path),
                fix="restore the ledger from a backup: its end was cut off",
            )
        seq = last_seq + 1
        entry_id = hash_row(seq, previous, kind, recorded_at, stored)
        self._connection.execute(
            "INSERT INTO entries (seq, id, previous, kind, recorded_at, body) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (seq, entry_id, previous, kind, recorded_at, stored.decode()),
        )
        return Entry(seq, entry_id, previous, kind, recorded_at, parsed(stored))

    def head(self) -> tuple[int, str]:
        """(seq, id) of the last entry; (0, ``GENESIS``) where there is none."""
        rows = self._query("SELECT seq, id FROM entries ORDER BY seq DESC LIMIT 1")
        return (int(rows[0][0]), str(rows[0][1])) if rows else (0, GENESIS)

    def highest_seq(self) -> int:
        """The highest seq that was ever written, whether or not its entry is still there."""
        rows = self._query("SELECT seq FROM sqlite_sequence WHERE name = 'entries'")
        return int(rows[0][0]) if rows else 0

    def guards(self) -> Mapping[str, str]:
        """Name -> SQL of the triggers that are there now."""
        return dict(self._query("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))

    def damage(self) -> list[str]:
        """What SQLite itself finds wrong with its file; empty where nothing is."""
        found = [str(row[0]) for row in self._query("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found

    def select(
        self, where: str = "TRUE", values: Sequence[object] = (), *, newest_first: bool = False
    ) -> Iterator[Entry]:
        """The entries for which the SQL condition ``where`` holds, each checked against its id."""
        for row in self.rows(where, values, newest_first=newest_first):
            yield self._entry(row)

    def rows(
        self, where: str = "TRUE", values: Sequence[object] = (), *, newest_first: bool = False
    ) -> Iterator[Row]:
        """Like ``select``, as stored, unchecked."""
        # Page by page: a reader that held its place open would hold up every writer.
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        place = 1 << 62 if newest_first else -1 << 62
        while True:
            page = self._query(
                f"SELECT {_COLUMNS} FROM entries WHERE ({where}) AND seq {beyond} ? "
                f"ORDER BY seq {order} LIMIT {_PAGE_ROWS}",
                (*values, place),
            )
            for seq, *texts, body in page:
                entry_id, previous, kind, recorded_at = (
                    (text or b"").decode("utf-8", "surrogateescape") for text in texts
                )
                yield seq, entry_id, previous, kind, recorded_at, body or b""
            if len(page) < _PAGE_ROWS:
                return
            place = page[-1][0]

    def _entry(self, row: Row) -> Entry:
        seq, entry_id, previous, kind, recorded_at, body = row
        if hash_row(seq, previous, kind, recorded_at, body) != entry_id:
            raise Tampered(
                f"entry {seq} ({short(entry_id)}) does not match its own id",
                where=str(self.path),
                fix="restore the ledger from a backup; `headgate verify` lists what is damaged",
            )
        return Entry(seq, entry_id, previous, kind, recorded_at, parsed(body))

    def _in_transaction(self) -> bool:
        return self._connection.in_transaction

    def read(self, sql: str, values: Mapping[str, object]) -> list[Any]:
        """The rows that a query of ``entries`` gives, unchecked."""
        return self._query(sql, values)

    def _query(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Any]:
        with self._mutex, explained_database_errors(self.path):
            return self._connection.execute(sql, values).fetchall()

    def _prepare(self, *, may_create: bool) -> None:
        with explained_database_errors(self.path):
            self._connection.execute("PRAGMA journal_mode = TRUNCATE")
            self._connection.execute("PRAGMA synchronous = FULL")
        if self._format() == 0:
            if not may_create:
                raise _no_ledger(self.path)
            with self.transaction():
                if self._format() == 0:  # else another process has just made it
                    self._create()

    def _format(self) -> int:
        ((version,),) = self._query("PRAGMA user_version")
        ((application,),) = self._query("PRAGMA application_id")
        if application not in (0, _APPLICATION_ID):
            raise InputError(
                "is another program's database, not a ledger of Headgate",
                where=str(self.path),
                fix="name another store with --store",
                reason="store_format",
            )
        if version > FORMAT:
            raise InputError(
                f"the store has format {version}; this Headgate reads formats up to {FORMAT}",
                where=str(self.path),
                fix="install the newer Headgate that wrote it: pip install --upgrade headgate",
                reason="store_format",
            )
        return int(version)

    def _create(self) -> None:
        if _artifacts_of(self.path).exists():
            raise _no_ledger(self.path)
        for statement in _SCHEMA:
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version = {FORMAT}")


def _artifacts_of(path: Path) -> Path:
    return path.parent / "artifacts"


def _no_ledger(path: Path) -> HeadgateError:
    # The ledger is made before the artifacts: where they are, it was here once.
    if _artifacts_of(path).exists():
        return Tampered(
            "the ledger is gone, but the artifacts that it described are here",
            where=str(path),
            fix="restore it from a backup, or remove the store to begin a new one",
        )
    return InputError(
        "there is no store here",
        where=str(path.parent),
        fix="type `headgate optimize headgate.yaml`, which makes one, or name another with --store",
        reason="store_missing",
    )
