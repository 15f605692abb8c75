"""No key vouches for two histories: the signer remembers what it signed, whatever a store says."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headgate.ledger.signed
from headgate.errors import Fault, HeadgateError, InputError, Refused, Tampered, UsageError
from headgate.ledger import Store
from headgate.ledger.checkpoint import Checkpoint
from headgate.ledger.entry import hash_row
from headgate.ledger.memory import Memory, users_memory
from headgate.ledger.signing import SigningKey
from headgate.ledger.sqlite import GUARDS, SqliteLog

from .test_checkpoints import cut, wrote


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """A key in a file, beside which its memory is."""
    made = SigningKey.generate()
    assert made.write(tmp_path / "keys" / "key.pem")
    return made


@pytest.fixture
def memory(key: SigningKey) -> Memory:
    assert key.path is not None
    return Memory.beside(key.path)


def remembered(memory: Memory) -> dict[str, tuple[list[str], int]]:
    """Origin -> (stores, size)."""
    notes = [(s["stores"], Checkpoint.parse(s["checkpoint"])) for s in json.loads(read(memory))]
    return {note.origin: (stores, note.size) for stores, note in notes}


def read(memory: Memory) -> str:
    return memory.path.read_text(encoding="utf-8")


def begun(root: Path, *, decision: str = "rollback", again: bool = False, notes: int = 5) -> Store:
    """A ledger with a decision; the first entry is the same but for one that is made ``again``."""
    store = Store.open(root, create=True)
    at = "2026-02-02T00:00:00Z" if again else "2026-01-01T00:00:00Z"
    store.append("note", {"n": "first"}, recorded_at=at)
    store.append("decision", {"action": decision})
    wrote(store, notes)
    return store


def replaced(root: Path, make: Callable[[Path], Store]) -> Store:
    """Another store in the place of the one at ``root``."""
    shutil.rmtree(root)
    return make(root)


def test_what_was_signed_is_remembered_beside_the_key(
    root: Path, key: SigningKey, memory: Memory
) -> None:
    """The note itself, for its owner alone; what nobody signed twice is not remembered twice."""
    with begun(root) as store:
        made = store.checkpoint(key)
        assert remembered(memory) == {made.origin: ([str(root)], 7)}
        before = memory.path.stat().st_ino
        assert store.checkpoint(key) == made
        assert memory.path.stat().st_ino == before
        wrote(store, 1)
        later = store.checkpoint(key)
        assert remembered(memory) == {made.origin: ([str(root)], later.size)}
        assert store.check_signed(memory) == later
    assert memory.path.stat().st_mode & 0o777 == 0o600
    assert str(later) in [said["checkpoint"] for said in json.loads(read(memory))]


def test_a_key_that_is_in_no_file_remembers_nothing(root: Path, key: SigningKey) -> None:
    """It signs once and is gone; one that is read from its file or through a link does remember."""
    with begun(root) as store:
        store.checkpoint(SigningKey.generate())
        assert key.path is not None
        link = key.path.with_name("link.pem")
        link.symlink_to(key.path)
        store.checkpoint(SigningKey.read(link))
    assert remembered(Memory.beside(key.path))
    assert Memory.beside(link).path == Memory.beside(key.path).path


def forged_from_the_second_entry(root: Path) -> Store:
    return begun(root, decision="accept", notes=40)


def forged_from_the_first_entry(root: Path) -> Store:
    return begun(root, decision="accept", again=True)


def forged_as_a_fork(root: Path) -> Store:
    store = begun(root, decision="accept", notes=40)
    store.append("fork", {"why": "the forger says so", "set_aside": None})
    return store


def forged_and_signed_by_the_forger(root: Path) -> Store:
    store = begun(root, decision="accept", notes=40)
    store.checkpoint(SigningKey.generate())
    return store


def forged_and_shorter(root: Path) -> Store:
    return begun(root, decision="accept", notes=0)


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (forged_from_the_second_entry, "first 7 entries are not those that were signed"),
        (forged_from_the_first_entry, "another ledger was signed here: headgate/.*, with 7 entr"),
        (forged_as_a_fork, "was forked"),
        (forged_and_signed_by_the_forger, "first 7 entries are not those that were signed"),
        (forged_and_shorter, "7 entries were signed, and 2 are left"),
    ],
)
def test_a_ledger_that_was_written_anew_is_never_signed(
    root: Path,
    key: SigningKey,
    memory: Memory,
    forge: Callable[[Path], Store],
    said: str,
) -> None:
    """One decision edited, the checkpoints left out, the tree as it should be: refused, and neither
    the ledger nor the memory has changed."""
    with begun(root) as store:
        store.checkpoint(key)
    before = read(memory)
    with replaced(root, forge) as forged:
        assert forged.verify().ok
        entries = list(forged.entries())
        for use in (lambda: forged.checkpoint(key), lambda: forged.check_signed(memory)):
            with pytest.raises(Tampered, match=said) as caught:
                use()
            assert caught.value.where == str(root)
            assert "headgate checkpoint --fork WHY" in str(caught.value)
        (finding,) = forged.verify(memory=memory).findings
        assert finding.reason == "not_what_was_signed"
        assert list(forged.entries()) == entries
    assert read(memory) == before


def test_an_end_that_was_cut_off_is_not_signed_however_it_grew_again(
    root: Path, key: SigningKey
) -> None:
    """Cut back to an older checkpoint of the same key, and longer than before in the end."""
    with begun(root) as store:
        store.checkpoint(key)
        wrote(store, 5)
        store.checkpoint(key)
    cut(root, 8)
    with Store.open(root) as shorter:
        with pytest.raises(Tampered, match="13 entries were signed, and 8 are left"):
            shorter.checkpoint(key)
        wrote(shorter, 20)
        with pytest.raises(Tampered, match="first 13 entries are not those"):
            shorter.checkpoint(key)


def test_an_empty_ledger_in_the_place_of_one_that_was_signed_is_told(
    root: Path, key: SigningKey, memory: Memory
) -> None:
    """Before anything is recorded in it."""
    with begun(root) as store:
        store.checkpoint(key)
    with (
        replaced(root, lambda path: Store.open(path, create=True)) as empty,
        pytest.raises(Tampered, match="another ledger was signed here"),
    ):
        empty.check_signed(memory)


def test_an_old_note_that_was_recorded_again_is_no_signature(root: Path, key: SigningKey) -> None:
    """A good signature over what was there then, put at the end of what came since."""
    with begun(root) as store:
        store.checkpoint(key)
        (signed,) = store.entries("checkpoint")
        wrote(store, 3)
        store.append("checkpoint", signed.body)
        with pytest.raises(Tampered, match="not those that were signed"):
            store.checkpoint(key)
        store.append("checkpoint", {"note": "none"})
        with pytest.raises(Tampered, match="is no checkpoint"):
            store.checkpoint(key, fork="a fork is no pardon for what is broken")
        assert not list(store.entries("fork"))


def test_a_restored_backup_is_signed_once_its_owner_says_so(
    root: Path, tmp_path: Path, key: SigningKey, memory: Memory
) -> None:
    """The reason and what was set aside are on record; from there on it is a history of its own.
    What was set aside is still what was signed."""
    with begun(root) as store:
        early = store.checkpoint(key)
        shutil.copytree(root, tmp_path / "backup")
        wrote(store, 5)
        aside = store.checkpoint(key)
    shutil.move(root, tmp_path / "lost")
    shutil.copytree(tmp_path / "backup", root)
    with Store.open(root) as restored:
        with pytest.raises(Tampered, match="13 entries were signed, and 8 are left"):
            restored.checkpoint(key)
        made = restored.checkpoint(key, fork="the disk died on Monday")
        (fork,) = restored.entries("fork")
        assert fork.body == {"why": "the disk died on Monday", "set_aside": str(aside)}
        assert made.origin == f"headgate/{fork.id[7:23]}"
        assert remembered(memory) == {aside.origin: ([], 13), made.origin: ([str(root)], 9)}
        wrote(restored, 1)
        later = restored.checkpoint(key)
        for kept in (early, made, later):
            report = restored.verify(keys=[key.public], kept=kept, memory=memory)
            assert report.ok, report.findings
        assert (report.forks, report.remembered) == ((fork.id,), later.size)
        differs = restored.verify(kept=aside).findings
        assert [finding.reason for finding in differs] == ["kept_elsewhere_differs"]
    shutil.rmtree(root)
    shutil.move(tmp_path / "lost", root)
    with Store.open(root) as found_again:  # it goes on from what was signed
        assert found_again.checkpoint(key).origin == aside.origin


def test_a_copy_is_not_signed_and_the_original_goes_on(
    store: Store, root: Path, tmp_path: Path, key: SigningKey, memory: Memory
) -> None:
    """Not tampering: other uses of a copy are nobody's business. Told, it goes on as its own."""
    wrote(store, 3)
    store.checkpoint(key)
    shutil.copytree(root, tmp_path / "copy")
    wrote(store, 1)
    with Store.open(tmp_path / "copy") as copy:
        wrote(copy, 2)
        with pytest.raises(Refused, match=f"copy of the ledger in {root}") as caught:
            copy.checkpoint(key)
        assert (caught.value.reason, type(caught.value)) == ("ledger_copied", Refused)
        assert copy.check_signed(memory) is None
        assert copy.verify(memory=memory).ok
        store.checkpoint(key)
        copy.checkpoint(key, fork="to try something")
        wrote(copy, 1)
        wrote(store, 1)
        signed = [store.checkpoint(key), copy.checkpoint(key)]
    assert remembered(memory) == {
        signed[0].origin: ([str(root)], signed[0].size),
        signed[1].origin: ([str(tmp_path / "copy")], signed[1].size),
    }


def test_a_copy_that_went_its_own_way_does_not_take_the_place_of_the_original(
    root: Path, tmp_path: Path, key: SigningKey
) -> None:
    """As a synchronised folder or a restored cache would put it there."""
    with begun(root) as store:
        store.checkpoint(key)
        shutil.copytree(root, tmp_path / "copy")
        wrote(store, 1)
        store.checkpoint(key)
    with Store.open(tmp_path / "copy") as copy:
        wrote(copy, 9)
    shutil.rmtree(root)
    shutil.move(tmp_path / "copy", root)
    with Store.open(root) as other, pytest.raises(Tampered, match="not those that were signed"):
        other.checkpoint(key)


def edited(root: Path, seq: int, body: str) -> None:
    """As who knows the format writes it into the file: the entry's own id is right again, and what
    stands beside it and after it is left as it was."""
    with contextlib.closing(
        sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    ) as ledger:
        for name in GUARDS:
            ledger.execute(f"DROP TRIGGER {name}")
        found = ledger.execute("SELECT tree, kind, recorded_at FROM entries WHERE seq = ?", [seq])
        (tree, kind, at) = found.fetchone()
        id_ = hash_row(seq, tree, kind, at, body.encode())
        ledger.execute("UPDATE entries SET id = ?, body = ? WHERE seq = ?", [id_, body, seq])
        for sql in GUARDS.values():
            ledger.execute(sql)


def test_a_signed_entry_that_was_edited_in_its_place_is_found(
    root: Path, key: SigningKey, memory: Memory
) -> None:
    """Its own id fits, and the hashes of subtrees beside the others are those that were signed."""
    with begun(root) as store:
        store.checkpoint(key)
    edited(root, 2, '{"action":"accept"}')
    with Store.open(root) as store:
        assert store.latest("decision", action="accept") is not None
        with pytest.raises(Tampered, match="first 7 entries are not those that were signed"):
            store.check_signed(memory)


def test_who_looks_while_another_signs_sees_no_forgery(
    root: Path, key: SigningKey, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered by then covers more than was there when the look began."""
    looks = headgate.ledger.signed._last_checkpoint

    def meanwhile(*args: Any) -> Any:
        found = looks(*args)
        monkeypatch.undo()
        with Store.open(root) as server:
            wrote(server, 3)
            server.checkpoint(key)
        return found

    with begun(root) as store:
        store.checkpoint(key)
        monkeypatch.setattr("headgate.ledger.signed._last_checkpoint", meanwhile)
        later = store.check_signed(memory)
        assert later is not None
        assert later.size == 11


def test_a_copy_does_not_take_the_place_of_another_ledger(
    root: Path, tmp_path: Path, key: SigningKey, memory: Memory
) -> None:
    """Nor what begins like one, whose original stands elsewhere; nor the original, unless told."""
    with begun(root) as store, begun(tmp_path / "other", again=True) as other:
        store.checkpoint(key)
        other.checkpoint(key)
    shutil.rmtree(root)
    begun(root, decision="accept", again=True).close()
    for _ in range(2):
        with Store.open(root) as forged:
            with pytest.raises(Tampered, match="another ledger was signed here"):
                forged.check_signed(memory)
            with pytest.raises(Tampered, match="another ledger was signed here"):
                forged.checkpoint(key)
        shutil.rmtree(root)
        if (tmp_path / "other").exists():
            shutil.move(tmp_path / "other", root)


def test_a_fork_that_another_signer_made_is_told_by_each_for_himself(
    root: Path, tmp_path: Path, key: SigningKey
) -> None:
    """An entry is no permission: whoever writes the store can write one."""
    with begun(root) as store:
        store.checkpoint(key)
    shutil.move(root, tmp_path / "elsewhere")
    with Store.open(tmp_path / "elsewhere") as store:
        store.checkpoint(SigningKey.generate(), fork="on another machine")
        with pytest.raises(Tampered, match="did not tell this signer"):
            store.checkpoint(key)
        assert store.checkpoint(key, fork="brought back from there").size == 11
        assert store.verify().ok


def test_a_store_that_was_moved_or_is_reached_by_a_link_is_the_same(
    root: Path, tmp_path: Path, key: SigningKey, memory: Memory
) -> None:
    """Whatever it is called, one history is signed on."""
    with begun(root) as store:
        store.checkpoint(key)
    (tmp_path / "link").symlink_to(root)
    with Store.open(tmp_path / "link") as linked:
        wrote(linked, 1)
        linked.checkpoint(key)
    shutil.move(root, tmp_path / "moved")
    root.symlink_to(tmp_path / "moved")  # its old name leads there: that is no copy
    with Store.open(tmp_path / "moved") as moved:
        wrote(moved, 1)
        made = moved.checkpoint(key)
    names = [str(tmp_path / "link"), str(root), str(tmp_path / "moved")]
    assert remembered(memory) == {made.origin: (names, made.size)}


def test_where_a_store_is_gone_another_begins_once_that_is_said(
    root: Path, key: SigningKey, memory: Memory
) -> None:
    """Its first entry names what was signed there, and is signed before there is a second. What is
    gone stays known, and is not signed otherwise."""
    assert memory.signed_in(root) is None
    with begun(root) as store:
        gone = store.checkpoint(key)
    shutil.rmtree(root)
    assert memory.signed_in(root) == gone
    with Store.open(root, create=True) as store:
        with pytest.raises(UsageError, match="nothing is recorded"):
            store.checkpoint(key)
        made = store.checkpoint(key, fork="it was gone")
        (fork, _) = store.entries()
        assert fork.body == {"why": "it was gone", "set_aside": str(gone)}
        wrote(store, 1)
        later = store.checkpoint(key)
        assert made.origin == later.origin == f"headgate/{fork.id[7:23]}"
        assert store.verify(keys=[key.public], kept=made, memory=memory).ok
    assert remembered(memory) == {gone.origin: ([], 7), made.origin: ([str(root)], 3)}
    with (
        replaced(root, forged_from_the_second_entry) as forged,
        pytest.raises(Tampered, match="not those that were signed"),
    ):
        forged.checkpoint(key)


def test_a_link_in_the_place_of_a_store_leads_nowhere_else(
    root: Path, tmp_path: Path, key: SigningKey, memory: Memory
) -> None:
    """Another ledger behind the name that the user types, and behind a link that he used once."""
    link = tmp_path / "link"
    link.symlink_to(root)
    begun(root).close()
    for path in (link, root):
        with Store.open(path) as store:
            wrote(store, 1)
            store.checkpoint(key)
    begun(tmp_path / "forged", decision="accept", again=True).close()
    link.unlink()
    link.symlink_to(tmp_path / "forged")
    root.rename(tmp_path / "aside")
    root.symlink_to(tmp_path / "forged")
    for path in (link, root):
        with Store.open(path) as forged:
            with pytest.raises(Tampered, match="another ledger was signed here"):
                forged.checkpoint(key)
            with pytest.raises(Tampered, match="another ledger was signed here"):
                forged.check_signed(memory)


def test_each_key_remembers_for_itself(root: Path, tmp_path: Path, key: SigningKey) -> None:
    """Two people who sign one ledger, and neither signs what the other's forger made of it."""
    other = SigningKey.generate()
    other.write(tmp_path / "others" / "key.pem")
    with begun(root) as store:
        store.checkpoint(key)
        store.checkpoint(other)
        store.checkpoint(key)
    with replaced(root, forged_from_the_second_entry) as forged:
        for signer in (key, other):
            with pytest.raises(Tampered):
                forged.checkpoint(signer)


def test_what_was_signed_and_not_recorded_is_remembered(
    root: Path, key: SigningKey, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed in between may have shown its signature to somebody."""
    with begun(root) as store:

        def killed(self: object, kind: str, *rest: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(SqliteLog, "append", killed)
            with pytest.raises(KeyboardInterrupt):
                store.checkpoint(key)
        assert not list(store.entries("checkpoint"))
        assert [size for _, size in remembered(memory).values()] == [7]
        wrote(store, 1)
        assert store.checkpoint(key).size == 8


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"{}",
        b"[{}]",
        b"[1]",
        b'[{"stores": [], "checkpoint": "y"}]',
        b"\xff",
        b"[" * 9999,
    ],
)
def test_a_memory_that_was_damaged_is_not_an_empty_one(
    root: Path, key: SigningKey, memory: Memory, content: bytes
) -> None:
    """Nothing is signed, and the message says what to do."""
    with begun(root) as store:
        memory.path.write_bytes(content)
        memory.path.chmod(0o600)
        for use in (lambda: store.checkpoint(key), lambda: store.check_signed(memory)):
            with pytest.raises(InputError, match="not what a signer remembers") as caught:
                use()
            assert (caught.value.reason, caught.value.where) == (
                "memory_malformed",
                str(memory.path),
            )
        assert not list(store.entries("checkpoint"))
    assert memory.path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_memory_that_others_may_change_is_refused(
    root: Path, key: SigningKey, memory: Memory, mode: int
) -> None:
    """The message names the file and the cure."""
    with begun(root) as store:
        store.checkpoint(key)
        memory.path.chmod(mode)
        wrote(store, 1)
        with pytest.raises(Refused, match="others than its owner") as caught:
            store.checkpoint(key)
    assert caught.value.reason == "memory_exposed"
    assert f"chmod 600 {memory.path}" in str(caught.value)


@pytest.mark.parametrize("suffix", ["", ".lock", ".new"])
def test_a_signature_that_cannot_be_remembered_is_not_made(
    root: Path, key: SigningKey, memory: Memory, suffix: str
) -> None:
    """Whatever the disk refuses."""
    memory.path.with_name(memory.path.name + suffix).mkdir()
    with begun(root) as store:
        with pytest.raises(Fault, match="cannot be remembered") as caught:
            store.checkpoint(key)
        assert not list(store.entries("checkpoint"))
    assert (caught.value.reason, caught.value.where) == ("disk", str(memory.path))
    assert "HEADGATE_KEY" in str(caught.value)


def test_of_many_stores_that_are_signed_at_once_none_is_forgotten(
    tmp_path: Path, key: SigningKey, memory: Memory
) -> None:
    """Threads of one process, each with a store of its own."""
    together = threading.Barrier(8)
    failed: list[HeadgateError] = []

    def signs(number: int) -> None:
        with Store.open(tmp_path / f"store-{number}", create=True) as store:
            together.wait()
            try:
                for n in range(5):
                    store.append("note", {"store": number, "n": n})
                    store.checkpoint(key)
            except HeadgateError as error:
                failed.append(error)

    stores = range(8)
    threads = [threading.Thread(target=signs, args=(number,)) for number in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    places = {store for (store,), _ in remembered(memory).values()}
    assert places == {str(tmp_path / f"store-{number}") for number in stores}


SIGN = """
import sys
from pathlib import Path
from headgate.ledger import Store
from headgate.ledger.signing import SigningKey
key = SigningKey.read(Path(sys.argv[1]))
for n in range(20):
    for root in sys.argv[2:]:
        with Store.open(Path(root)) as store:
            store.append("note", {"n": n})
            store.checkpoint(key)
"""


def test_processes_that_sign_the_same_stores_are_in_nobodys_way(
    tmp_path: Path, key: SigningKey, memory: Memory
) -> None:
    """In opposite orders: each signs on from what the others signed, and the last is remembered."""
    roots = [tmp_path / "a", tmp_path / "b"]
    for number, root in enumerate(roots):
        begun(root, again=bool(number)).close()
    commands = [
        [sys.executable, "-c", SIGN, str(key.path), *map(str, order)]
        for order in (roots, roots[::-1], roots)
    ]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait() for process in processes] == [0, 0, 0]
    sizes = {store: size for (store,), size in remembered(memory).values()}
    for root in roots:
        with Store.open(root) as store:
            report = store.verify(keys=[key.public], memory=memory)
            assert report.ok, report.findings
            assert report.signed == report.remembered == sizes[str(root)]
            assert report.unsigned == 0


def test_the_users_memory_is_beside_the_users_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by the environment or not; who has no home has none."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = users_memory()
    assert found is not None
    assert found.path == tmp_path / "headgate" / "signing-key.pem.signed"
    assert found.signed_in(tmp_path) is None  # there is nothing yet, and nothing is made
    monkeypatch.setenv("HEADGATE_KEY", str(tmp_path / "ci.pem"))
    found = users_memory()
    assert found is not None
    assert found.path == tmp_path / "ci.pem.signed"
    monkeypatch.delenv("HEADGATE_KEY")
    monkeypatch.delenv("XDG_CONFIG_HOME")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert users_memory() is None
