"""A copy of a store is a store of its own."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from headgate.errors import Busy
from headgate.ledger import Store, copy_store
from headgate.objects import Artifact


def test_what_is_tried_on_a_copy_does_not_touch_the_original(tmp_path: Path) -> None:
    """Both verify; the copy has what was there, and what comes later is its own."""
    with Store.open(tmp_path / "a", create=True) as store:
        version = store.put_bytes(b"content")
        store.register(Artifact("docs/model", version, "model", "bytes", "search", 7))
        copy_store(store, tmp_path / "b")
        with Store.open(tmp_path / "b") as copy:
            assert copy.read(version) == b"content"
            copy.append("note", {"n": 1})
            assert [e.kind for e in copy.entries()] == ["artifact", "note"]
            assert copy.verify().ok
        assert [e.kind for e in store.entries()] == ["artifact"]
        assert store.verify().ok


def test_what_is_recorded_meanwhile_is_missing_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server writes while its store is copied: no entry of the copy names content that is not
    there."""
    with Store.open(tmp_path / "a", create=True) as store:
        version = store.put_bytes(b"content")
        store.register(Artifact("docs/model", version, "model", "bytes", "search", 7))
        link = os.link

        def linking(from_: Path, to: Path) -> None:
            for i in range(20):  # in directories of all kinds of names
                late = store.put_bytes(b"late %d" % i)
                store.register(Artifact(f"docs/{i}", late, "model", "bytes", "search", 6))
            link(from_, to)

        monkeypatch.setattr(os, "link", linking)
        copy_store(store, tmp_path / "b")
        with Store.open(tmp_path / "b") as copy:
            assert [entry.body["version"] for entry in copy.entries()] == [version]
            assert copy.verify().ok
        assert store.verify().ok


def test_nothing_is_collected_while_a_store_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entries are copied already, and what they name comes next."""
    with Store.open(tmp_path / "a", create=True) as store:
        store.put_bytes(b"content")
    refused = []
    link = os.link

    def linking(from_: Path, to: Path) -> None:
        with Store.open(tmp_path / "a") as other:
            try:
                other.collect()
            except Busy:
                refused.append(from_)
        link(from_, to)

    monkeypatch.setattr(os, "link", linking)
    with Store.open(tmp_path / "a") as store:
        copy_store(store, tmp_path / "b")
    assert len(refused) == 1


def test_a_ledger_that_is_held_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as any writer waits; what is in the way is said."""
    monkeypatch.setattr("headgate.ledger.copy.BUSY_TIMEOUT_S", 0.01)
    with (
        Store.open(tmp_path / "a", create=True) as store,
        contextlib.closing(sqlite3.connect(tmp_path / "a" / "ledger.sqlite")) as holder,
    ):
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Busy, match="another process is writing"):
            copy_store(store, tmp_path / "b")
        holder.rollback()
