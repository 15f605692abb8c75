"""A copy of a store is a store of its own."""

from __future__ import annotations

from pathlib import Path

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
