"""What every log must do, so that a store can stand on it: SQLite's, and one that needs no SQL.

The second shows that the interface is enough: whatever the store asks, a list can answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate.errors import Refused
from headgate.ledger import Entry, Store
from headgate.ledger.blobs import Blobs
from headgate.ledger.entry import Row, checked, hash_row, leaf_of, parsed
from headgate.ledger.log import Log
from headgate.ledger.merkle import Edge, root_of
from headgate.ledger.signing import SigningKey
from headgate.ledger.sqlite import SqliteLog
from headgate.objects import Artifact, Release, Run

NOW = "2026-01-01T00:00:00Z"


class ListLog:
    """Entries in a list: as durable as its process."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def close(self) -> None:
        pass

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        before = list(self._rows)
        try:
            yield
        except BaseException:
            self._rows = before
            raise

    def append(self, kind: str, body: object, recorded_at: str) -> Entry:
        stored, edge = checked(kind, recorded_at, body), Edge(0, [])
        for row in self._rows:
            edge.add(leaf_of(row.id))
        seq, tree = edge.size + 1, f"sha256:{edge.root().hex()}"
        id_ = hash_row(seq, tree, kind, recorded_at, stored)
        self._rows.append(Row(seq, id_, tree, kind, recorded_at, stored, edge.add(leaf_of(id_))))
        return Entry(seq, id_, tree, kind, recorded_at, parsed(stored))

    def highest_seq(self) -> int:
        return len(self._rows)

    def select(
        self, kind: str | None = None, *, newest_first: bool = False, **body: str
    ) -> Iterator[Entry]:
        for row in self._rows[::-1] if newest_first else list(self._rows):
            value = parsed(row.body)
            if kind in (None, row.kind) and all(value.get(k) == v for k, v in body.items()):
                yield Entry(row.seq, row.id, row.tree, row.kind, row.recorded_at, value)

    def called(self, prefix: str) -> Iterator[tuple[str, Entry]]:
        for entry in self.select():
            names = [entry.body["version"]] if entry.kind == "artifact" else []
            yield from ((name, entry) for name in (*names, entry.id) if name.startswith(prefix))

    def rows(self) -> Iterator[Row]:
        return iter(self._rows)

    def subtree(self, level: int, index: int) -> bytes:
        row = self._rows[(index + 1 << level) - 1]
        return row.filled[32 * (level - 1) : 32 * level] if level else leaf_of(row.id)

    def damage(self) -> Iterator[tuple[str, str]]:
        return iter(())


MAKERS: list[Callable[[Path], Log]] = [
    lambda folder: SqliteLog.open(folder / "ledger.sqlite", may_create=True),
    lambda folder: ListLog(),
]


@pytest.fixture(params=MAKERS, ids=["sqlite", "list"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    with contextlib.closing(request.param(tmp_path)) as made:
        yield made


@pytest.fixture
def store(log: Log, tmp_path: Path) -> Store:
    blobs = Blobs(tmp_path / "artifacts")
    blobs.create()
    return Store(tmp_path, log, blobs)


def appended(log: Log, count: int, **body: str) -> list[Entry]:
    with log.transaction():
        return [log.append("note", {"n": n, **body}, NOW) for n in range(count)]


def test_what_was_appended_is_selected_in_both_orders(log: Log) -> None:
    """All, those of a kind, those with texts in their bodies; across any paging."""
    entries = appended(log, 600) + appended(log, 3, endpoint="docs")
    assert list(log.select()) == entries
    assert list(log.select(newest_first=True)) == entries[::-1]
    assert list(log.select("note", endpoint="docs")) == entries[-3:]
    assert list(log.select("note", endpoint="do'cs")) == []
    assert list(log.select("other")) == []
    assert [row.seq for row in log.rows()] == list(range(1, 604))
    assert log.highest_seq() == 603


def test_a_transaction_that_fails_leaves_nothing_and_the_next_goes_on(log: Log) -> None:
    """Neither entries nor anything of their tree."""
    appended(log, 5)

    def interrupted() -> None:
        with log.transaction():
            log.append("note", {"n": 5}, NOW)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    last = appended(log, 1)[0]
    assert (last.seq, len(list(log.select()))) == (6, 6)
    assert last.tree == f"sha256:{root_of(5, log.subtree).hex()}"


def test_subtrees_are_those_of_the_ids(log: Log) -> None:
    """Every full subtree, against a tree that grew beside it."""
    edge = Edge(0, [])
    for entry in appended(log, 40):
        assert entry.tree == f"sha256:{edge.root().hex()}"
        edge.add(leaf_of(entry.id))
        assert root_of(edge.size, log.subtree) == edge.root()


def test_entries_and_artifacts_are_called_by_how_they_begin(log: Log) -> None:
    """Their ids and, of artifacts, their versions."""
    (note,) = appended(log, 1)
    with log.transaction():
        artifact = log.append("artifact", {"version": "sha256:" + "ab" * 32}, NOW)
    assert list(log.called("sha256:abab")) == [("sha256:" + "ab" * 32, artifact)]
    assert dict(log.called(note.id)) == {note.id: note}
    assert list(log.called("sha256:" + "0" * 64)) == []


def test_a_store_stands_on_it(store: Store) -> None:
    """Artifacts, runs, releases, checkpoints, proofs and verify, whatever is behind."""
    key = SigningKey.generate()
    data, model = store.put_bytes(b"data"), store.put_bytes(b"model")
    store.register(Artifact("data", data, "dataset", "bytes", "search", 4))
    run = Run("train", {"data": data}, {}, "e", {"model": model}, 7, NOW, NOW)
    made = store.record_run(run)
    found = store.find_run(transformation="train", u=run.u, c=run.c, e="e", seed=7)
    assert found == (made, run)
    assert store.artifact("data") == store.artifact(data)
    store.promote(Release("docs", 0, model, made.id), expected_generation=None)
    with pytest.raises(Refused, match="generation 0"):
        store.promote(Release("docs", 1, model, made.id), expected_generation=None)
    with pytest.raises(Refused, match="not in this ledger"):
        store.promote(Release("docs", 1, model, data), expected_generation=0)
    assert [release.generation for _, release in store.history("docs")] == [0]
    assert store.get(made.id[:20]) == made
    kept = store.checkpoint(key)
    report = store.verify(keys=[key.public], kept=kept)
    assert report.ok, report.findings
    assert (report.entries, report.signed) == (4, 3)
    assert [(gap.object, gap.edge) for gap in store.gaps([data])] == [("data", "held_to")]
