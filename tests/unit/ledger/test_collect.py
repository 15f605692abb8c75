"""Garbage goes, and nothing that anybody refers to, or is about to refer to, goes with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.errors import Busy, Tampered
from headgate.ledger import Store
from headgate.ledger.memory import Memory
from headgate.ledger.signing import SigningKey
from headgate.ledger.sqlite import GUARDS
from headgate.objects import Artifact, Release, Run, canonical

from .test_checkpoints import cut


def test_what_no_entry_names_is_removed(
    store: Store, root: Path, keep: Callable[..., Artifact]
) -> None:
    """The bytes are counted; what is registered stays."""
    kept = keep(b"registered").version
    garbage = [store.put_bytes(b"left by a killed writer"), store.put_bytes(b"")]
    store.close()
    with Store.open(root) as alone:
        assert alone.collect() == (2, 23)
        assert alone.read(kept) == b"registered"
        assert not any(alone.has(version) for version in garbage)
        assert alone.verify().ok
        assert alone.collect() == (0, 0)


def test_whatever_an_entry_names_stays(
    store: Store,
    root: Path,
    run_of: Callable[..., Run],
    release: Callable[..., Release],
    keep: Callable[..., Artifact],
) -> None:
    """Inputs, outputs, lineage, variants, and a digest deep in a body of any kind."""
    versions = {name: store.put_bytes(name.encode()) for name in ("in", "out", "source", "deep")}
    store.record_run(run_of({"data": versions["in"]}, {"model": versions["out"]}))
    keep(b"made", lineage=(versions["source"],))
    store.promote(release(0), expected_generation=None)
    store.append("incident", {"seen": [{"in": f"response {versions['deep']}, cut"}]})
    store.close()
    with Store.open(root) as alone:
        assert alone.collect() == (0, 0)
        assert all(alone.has(version) for version in versions.values())


def test_what_kept_content_names_stays_too(store: Store, root: Path) -> None:
    """A variant names its build, and that its model; what only garbage names is garbage."""
    model = store.put_bytes(b"\x00model")
    build = store.put_bytes(canonical({"files": {"model.onnx": model}}))
    store.append("plan", {"build": build})
    lost = store.put_bytes(b"lost")
    store.put_bytes(canonical({"names": lost}))
    store.close()
    with Store.open(root) as alone:
        assert alone.collect()[0] == 2
        assert alone.has(model)
        assert not alone.has(lost)


def test_content_whose_entry_is_still_to_come_is_not_garbage(store: Store, root: Path) -> None:
    """Between putting and recording nobody may collect: Busy, and nothing is removed."""
    version = store.put_bytes(b"to be recorded")
    with Store.open(root) as other:
        with pytest.raises(Busy) as caught:
            other.collect()
        assert caught.value.reason == "locked"
        store.append("note", {"content": version})
        store.close()
        assert other.collect() == (0, 0)
        assert other.has(version)


def test_content_that_was_there_already_is_held_as_well(store: Store, root: Path) -> None:
    """Putting what is garbage of another's makes it one's own."""
    store.put_bytes(b"twice")
    store.close()
    with Store.open(root) as writer, Store.open(root) as other:
        writer.put_bytes(b"twice")
        with pytest.raises(Busy):
            other.collect()


def test_a_reader_is_in_nobodys_way(store: Store, root: Path) -> None:
    """A server that only reads does not keep garbage alive."""
    version = store.put_bytes(b"garbage")
    store.close()
    with Store.open(root) as reader, Store.open(root) as other:
        assert reader.read(version) == b"garbage"
        assert other.collect() == (1, 7)


def test_a_ledger_that_was_changed_is_not_collected(store: Store, root: Path) -> None:
    """What the changed entry named is not known, so nothing is removed."""
    version = store.put_bytes(b"named")
    store.append("note", {"content": version})
    store.close()
    connection = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    connection.execute("DROP TRIGGER entries_refuse_update")
    connection.execute("UPDATE entries SET body = '{}'")
    connection.execute(GUARDS["entries_refuse_update"])
    connection.close()
    with Store.open(root) as alone:
        with pytest.raises(Tampered):
            alone.collect()
        assert alone.has(version)


@pytest.mark.parametrize("seq", [1, 3, 4])
def test_what_an_entry_named_that_is_gone_is_not_garbage(
    store: Store, root: Path, seq: int
) -> None:
    """The first, one in the middle or the last: whoever took it away counts on the next gc."""
    versions = [store.put_bytes(f"named {n}".encode()) for n in range(4)]
    store.append_all([("note", {"content": version}) for version in versions])
    store.close()
    connection = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    connection.execute("DROP TRIGGER entries_refuse_delete")
    connection.execute("DELETE FROM entries WHERE seq = ?", [seq])
    connection.execute(GUARDS["entries_refuse_delete"])
    connection.close()
    with Store.open(root) as alone:
        with pytest.raises(Tampered, match="entry") as caught:
            alone.collect()
        assert caught.value.where == str(root)
        assert all(alone.has(version) for version in versions)


def test_what_the_signer_remembers_says_that_the_end_is_gone(
    store: Store, root: Path, tmp_path: Path
) -> None:
    """Cut off without a trace, down to an older checkpoint: nothing in the store shows it."""
    key = SigningKey.generate()
    key.write(tmp_path / "key.pem")
    memory = Memory.beside(tmp_path / "key.pem")
    versions = [store.put_bytes(f"named {n}".encode()) for n in range(4)]
    for version in versions:
        store.append("note", {"content": version})
        store.checkpoint(key)
    store.close()
    with Store.open(root) as alone:
        assert alone.collect(memory) == (0, 0)
    cut(root, 4)
    with Store.open(root) as alone:
        assert alone.verify().findings == ()
        with pytest.raises(Tampered, match="7 entries were signed, and 4 are left"):
            alone.collect(memory)
        assert all(alone.has(version) for version in versions)
        alone.checkpoint(key, fork="they are not needed any more")
    with Store.open(root) as alone:
        assert alone.collect(memory)[0] == 2


def test_files_that_are_no_artifacts_are_left_alone(store: Store, root: Path) -> None:
    """Only what has a digest for a name was put there by the store."""
    foreign = root / "artifacts" / "ab" / "notes.txt"
    foreign.parent.mkdir()
    foreign.write_text("mine")
    assert store.collect() == (0, 0)
    assert foreign.exists()
