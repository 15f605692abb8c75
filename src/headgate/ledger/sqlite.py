"""Append-only entries under a Merkle tree, in one SQLite file.

An id is a digest of its entry and of the tree of all before it (``headgate.ledger.entry``), so the
last one commits to everything and a change anywhere shows. Beside each entry stand the hashes of
the subtrees that it fills, one on average: from those any root, proof or right edge is read in
O(log n) rows, so that a new process appends as cheaply as an old one.

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
from headgate.ledger.entry import Entry, Row, checked, hash_row, leaf_of, parsed
from headgate.ledger.faults import explained_database_errors
from headgate.ledger.merkle import Edge, peaks
from headgate.objects import short

__all__ = ["GUARDS", "SqliteLog"]

FORMAT = 2
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
    "tree TEXT NOT NULL, kind TEXT NOT NULL, recorded_at TEXT NOT NULL, body TEXT NOT NULL, "
    "filled BLOB NOT NULL)",
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
_COLUMNS = "seq, " + ", ".join(f"CAST({name} AS BLOB)" for name in Row._fields[1:])
_PAGE_ROWS = 500
_HASH_BYTES = 32


class SqliteLog:
    """The entries of one ``ledger.sqlite``: a ``headgate.ledger.log.Log``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        # One connection for all threads; held for the whole of a transaction.
        self._mutex = threading.RLock()
        # The right edge of the tree as this process last saw it, and the last entry's id, which
        # tells whether that is still so: also after an entry was taken back.
        self._edge, self._last_id = Edge(0, []), ""
        self._caught_up = False  # whether nobody can have appended since: inside a transaction

    @classmethod
    def open(cls, path: Path, *, may_create: bool) -> SqliteLog:
        """Open the ledger at ``path``; an empty or absent one is made where ``may_create``.

        Raises ``InputError`` (``store_missing``, ``store_format``) where there is none, or one of
        another format or of another program; ``Tampered`` where it is damaged or gone.
        """
        if not may_create and not path.exists():
            raise _no_ledger(path)
        mode = "rwc" if may_create else "rw"
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        with explained_database_errors(path):
            connection = sqlite3.connect(
                uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        log = cls(path, connection)
        try:
            log._prepare(may_create=may_create)
        except BaseException:
            connection.close()
            raise
        return log

    def close(self) -> None:
        """Close the file; nothing is pending."""
        with self._mutex:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """See ``Log``."""
        with self._mutex, explained_database_errors(self.path):
            assert not self._in_transaction()
            self._caught_up = False
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
        """See ``Log``."""
        assert self._in_transaction()
        stored = checked(kind, recorded_at, body)
        if not self._caught_up:
            self._catch_up()
        seq, tree = self._edge.size + 1, f"sha256:{self._edge.root().hex()}"
        entry_id = hash_row(seq, tree, kind, recorded_at, stored)
        filled = self._edge.add(leaf_of(entry_id))
        self._last_id = entry_id
        self._connection.execute(
            "INSERT INTO entries (seq, id, tree, kind, recorded_at, body, filled) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (seq, entry_id, tree, kind, recorded_at, stored.decode(), filled),
        )
        return Entry(seq, entry_id, tree, kind, recorded_at, parsed(stored))

    def _catch_up(self) -> None:
        """Brings the edge to the last entry; raises ``Tampered`` where that does not fit."""
        last = next(self._rows(newest_first=True), None)
        size = 0 if last is None else last.seq
        if size != (highest := self.highest_seq()):
            raise Tampered(
                f"the last entry is {size}, but {highest} were written",
                where=str(self.path),
                fix="restore the ledger from a backup: its end was cut off",
            )
        if last is None:
            self._edge = Edge(0, [])
        elif (self._edge.size, self._last_id) != (size, last.id):
            edge = Edge(size - 1, [self.subtree(*peak) for peak in peaks(size - 1)])
            if f"sha256:{edge.root().hex()}" != last.tree:
                raise self._not_its_tree(size)
            edge.add(self.subtree(0, size - 1))
            self._edge, self._last_id = edge, last.id
        self._caught_up = True

    def subtree(self, level: int, index: int) -> bytes:
        """See ``Log``; raises ``Tampered`` where the entry that fills it has no such hash."""
        seq = index + 1 << level
        rows = self._query(
            "SELECT CAST(id AS BLOB), CAST(filled AS BLOB) FROM entries WHERE seq = ?", [seq]
        )
        try:
            ((entry_id, filled),) = rows
            if level == 0:
                return leaf_of(entry_id.decode())
            found: bytes = filled[_HASH_BYTES * (level - 1) : _HASH_BYTES * level]
            if len(found) != _HASH_BYTES:
                raise ValueError
        except ValueError:
            raise self._not_its_tree(seq) from None
        return found

    def _not_its_tree(self, seq: int) -> Tampered:
        return Tampered(
            f"entry {seq} does not fit to those before it",
            where=str(self.path),
            fix="restore the ledger from a backup; `headgate verify` lists what is damaged",
        )

    def highest_seq(self) -> int:
        """The highest seq that was ever written, whether or not its entry is still there."""
        rows = self._query("SELECT seq FROM sqlite_sequence WHERE name = 'entries'")
        return int(rows[0][0]) if rows else 0

    def damage(self) -> Iterator[tuple[str, str]]:
        """See ``Log``: what SQLite finds wrong with its file, and guards that are not there."""
        for (found,) in self._query("PRAGMA integrity_check"):
            if found != "ok":
                yield "database_damaged", str(found)
        guards = dict(self._query("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
        for name, sql in GUARDS.items():
            if guards.get(name) != sql:
                yield "guard_missing", f"the trigger {name} is missing or was changed"

    def select(
        self, kind: str | None = None, *, newest_first: bool = False, **body: str
    ) -> Iterator[Entry]:
        """See ``Log``."""
        # Kind and keys stand in the text, where SQLite sees that an index is meant.
        where = ["TRUE"] if kind is None else [f"kind = {_literal(kind)}"]
        where += [f"json_extract(body, {_literal('$.' + key)}) = ?" for key in body]
        rows = self._rows(" AND ".join(where), tuple(body.values()), newest_first=newest_first)
        return map(self._entry, rows)

    def called(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        """See ``Log``."""
        span = (prefix, prefix + "~")
        version = "json_extract(body, '$.version')"
        where = f"kind = 'artifact' AND {version} >= ? AND {version} < ?"
        for entry in map(self._entry, self._rows(where, span)):
            yield entry.body["version"], entry
        for entry in map(self._entry, self._rows("id >= ? AND id < ?", span)):
            yield entry.id, entry

    def rows(self) -> Iterator[Row]:
        """See ``Log``."""
        return self._rows()

    def _rows(
        self, where: str = "TRUE", values: Sequence[object] = (), *, newest_first: bool = False
    ) -> Iterator[Row]:
        # Page by page: a reader that held its place open would hold up every writer.
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        place = 1 << 62 if newest_first else -1 << 62
        # A first page of one: who wants the newest seldom wants another.
        limit = 1 if newest_first else _PAGE_ROWS
        while True:
            page = self._query(
                f"SELECT {_COLUMNS} FROM entries WHERE ({where}) AND seq {beyond} ? "
                f"ORDER BY seq {order} LIMIT {limit}",
                (*values, place),
            )
            for seq, *texts, body, filled in page:
                entry_id, tree, kind, recorded_at = (
                    (text or b"").decode("utf-8", "surrogateescape") for text in texts
                )
                yield Row(seq, entry_id, tree, kind, recorded_at, body or b"", filled or b"")
            if len(page) < limit:
                return
            place, limit = page[-1][0], _PAGE_ROWS

    def _entry(self, row: Row) -> Entry:
        seq, entry_id, tree, kind, recorded_at, body, _ = row
        if hash_row(seq, tree, kind, recorded_at, body) != entry_id:
            raise Tampered(
                f"entry {seq} ({short(entry_id)}) does not match its own id",
                where=str(self.path),
                fix="restore the ledger from a backup; `headgate verify` lists what is damaged",
            )
        return Entry(seq, entry_id, tree, kind, recorded_at, parsed(body))

    def _in_transaction(self) -> bool:
        return self._connection.in_transaction

    def _query(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
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
                f"the store has format {version}; this Headgate reads format {FORMAT}",
                where=str(self.path),
                fix="install the newer Headgate that wrote it: pip install --upgrade headgate",
                reason="store_format",
            )
        if 0 < version < FORMAT:
            raise InputError(
                f"the store has format {version}; this Headgate reads format {FORMAT}",
                where=str(self.path),
                fix="move the store away and run `headgate optimize` again, or use the Headgate "
                "that wrote it",
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


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


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
