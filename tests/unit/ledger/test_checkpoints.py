"""What is signed is what was written, and a forger without the key is found."""

from __future__ import annotations

import base64
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from headgate.errors import InputError, Tampered, UsageError
from headgate.ledger import Store
from headgate.ledger.checkpoint import Checkpoint
from headgate.ledger.entry import leaf_of
from headgate.ledger.merkle import is_consistent, is_included
from headgate.ledger.signing import PublicKey, SigningKey
from headgate.ledger.sqlite import GUARDS
from headgate.objects import Release

KEY = SigningKey.generate()
OTHER = SigningKey.generate()


def wrote(store: Store, count: int) -> None:
    store.append_all([("note", {"n": n}) for n in range(count)])


def reasons(store: Store, *keys: SigningKey, kept: Checkpoint | None = None) -> set[str]:
    report = store.verify(keys=[key.public for key in keys], kept=kept)
    return {finding.reason for finding in report.findings}


def test_a_checkpoint_is_a_signed_note_with_the_root_of_all_entries(store: Store) -> None:
    """Origin, size and root in lines, then the signature, as C2SP writes them."""
    wrote(store, 5)
    root = store.verify().root
    first = next(iter(store.entries()))
    made = store.checkpoint(KEY)
    text, _, signature = str(made).partition("\n\n")
    origin, size, encoded = text.split("\n")
    assert origin == f"headgate/{first.id[7:23]}"
    assert size == "5"
    assert base64.b64decode(encoded).hex() == root.removeprefix("sha256:")
    dash, name, proof = signature.rstrip("\n").split(" ")
    assert (dash, name) == ("—", "headgate")
    raw = base64.b64decode(proof)
    assert raw[:4].hex() == KEY.public.key_id
    assert KEY.public.verify((text + "\n").encode(), raw[4:])
    assert Checkpoint.parse(str(made)) == made


def test_go_reads_the_same_note() -> None:
    """Its own example of a signed note is parsed and verifies, and no more with a word changed."""
    key = PublicKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    signature = base64.b64decode(
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    )
    assert signature[:4].hex() == key.key_id
    assert key.verify(b"This is an example message.\n", signature[4:])
    assert not key.verify(b"This is another message.\n", signature[4:])


def test_nothing_is_signed_twice(store: Store) -> None:
    """Where nothing came after it, the last checkpoint is the answer; another key signs anew."""
    wrote(store, 3)
    made = store.checkpoint(KEY)
    assert store.checkpoint(KEY) == made
    assert len(list(store.entries("checkpoint"))) == 1
    assert store.checkpoint(OTHER).size == 4
    wrote(store, 1)
    assert store.checkpoint(KEY).size == 6


def test_an_empty_ledger_has_nothing_to_sign(store: Store) -> None:
    """The message says what makes something."""
    with pytest.raises(UsageError, match="nothing is recorded") as caught:
        store.checkpoint(KEY)
    assert caught.value.reason == "ledger_empty"


def test_a_signed_ledger_verifies_with_its_key_and_what_was_kept(store: Store) -> None:
    """Later entries and later checkpoints change nothing about an old one."""
    wrote(store, 3)
    kept = store.checkpoint(KEY)
    wrote(store, 4)
    store.checkpoint(KEY)
    wrote(store, 1)
    report = store.verify(keys=[KEY.public], kept=kept)
    assert report.ok, report.findings
    assert (report.entries, report.signed, report.unsigned) == (10, 8, 1)
    assert report.signers == (f"headgate+{KEY.public.key_id}",)


def test_the_last_of_several_keys_may_have_signed(store: Store) -> None:
    """A key that was replaced stays good for what it signed; a key that was not named is found."""
    wrote(store, 2)
    store.checkpoint(OTHER)
    store.checkpoint(KEY)
    assert reasons(store, KEY, OTHER) == set()
    assert reasons(store, KEY) == {"signer_unknown"}
    assert reasons(store) == set()


def test_what_came_after_the_last_checked_signature_is_counted(store: Store) -> None:
    """A signature by nobody's key covers nothing; without keys none is checked, and all count."""
    assert (store.verify().signed, store.verify().unsigned) == (0, 0)
    wrote(store, 2)
    assert store.verify().unsigned == 2
    store.checkpoint(KEY)
    wrote(store, 3)
    store.checkpoint(OTHER)
    wrote(store, 1)
    report = store.verify(keys=[KEY.public])
    assert (report.signed, report.unsigned) == (2, 5)
    report = store.verify()
    assert (report.signed, report.unsigned) == (6, 1)
    report = store.verify(keys=[SigningKey.generate().public])
    assert (report.signed, report.unsigned) == (0, 8)


def test_a_fork_has_checkpoints_of_its_own(store: Store) -> None:
    """Those before it are of the ledger that it left; one of that ledger does not fit after it."""
    wrote(store, 2)
    before = store.checkpoint(KEY)
    after = store.checkpoint(KEY, fork="a copy of my own")
    (fork,) = store.entries("fork")
    assert (before.origin, after.origin) == (store_origin(store), f"headgate/{fork.id[7:23]}")
    for kept in (before, after):
        assert reasons(store, KEY, kept=kept) == set()
    root = bytes.fromhex(store.verify().root.removeprefix("sha256:"))
    size = sum(1 for _ in store.entries())
    for origin, expected in ((after.origin, set()), (before.origin, {"kept_elsewhere_differs"})):
        kept = Checkpoint.signed(KEY, origin, size, root)
        assert reasons(store, KEY, kept=kept) == expected
    store.append("checkpoint", {"note": str(Checkpoint.signed(KEY, before.origin, size, root))})
    assert reasons(store, KEY) == {"checkpoint_broken"}


def store_origin(store: Store) -> str:
    return f"headgate/{next(iter(store.entries())).id[7:23]}"


def test_an_unsigned_ledger_fails_only_whoever_asks_for_a_signature(store: Store) -> None:
    """Without a key nothing is found; with one, that nothing is signed."""
    wrote(store, 2)
    assert reasons(store) == set()
    assert reasons(store, KEY) == {"unsigned"}


def rewritten(store: Store, root: Path, key: SigningKey | None) -> Store:
    """The whole ledger written anew with one entry changed, signed by ``key``, hashes and all."""
    forged = Store.open(root, create=True)
    for entry in store.entries():
        if entry.kind == "checkpoint":
            if key is not None:
                forged.checkpoint(key)
        else:
            body = {"n": 99} if entry.body == {"n": 1} else entry.body
            forged.append(entry.kind, body, recorded_at=entry.recorded_at)
    return forged


def test_whoever_writes_the_ledger_anew_cannot_sign_it(store: Store, tmp_path: Path) -> None:
    """Everything fits, but for the signature, and for the checkpoint that somebody kept."""
    wrote(store, 3)
    kept = store.checkpoint(KEY)
    with rewritten(store, tmp_path / "forged", OTHER) as forged:
        assert reasons(forged) == set()
        assert reasons(forged, KEY) == {"signer_unknown"}
        assert reasons(forged, kept=kept) == {"kept_elsewhere_differs"}
    with rewritten(store, tmp_path / "unsigned", None) as forged:
        assert reasons(forged, KEY) == {"unsigned"}


def test_an_old_signature_does_not_fit_to_other_entries(store: Store, tmp_path: Path) -> None:
    """Copied beside forged entries, it is found without any key."""
    wrote(store, 3)
    store.checkpoint(KEY)
    (signed,) = store.entries("checkpoint")
    with rewritten(store, tmp_path / "forged", None) as forged:
        forged.append("checkpoint", signed.body)
        assert reasons(forged) == {"checkpoint_broken"}


def test_a_checkpoint_of_another_origin_does_not_fit(store: Store) -> None:
    """Size and root are right, and it is signed: but for another ledger."""
    wrote(store, 3)
    root = bytes.fromhex(store.verify().root.removeprefix("sha256:"))
    foreign = Checkpoint.signed(KEY, "headgate/other", 3, root)
    store.append("checkpoint", {"note": str(foreign)})
    assert reasons(store, KEY) == {"checkpoint_broken", "unsigned"}
    with pytest.raises(Tampered, match="not those that were signed"):
        store.checkpoint(KEY)


@pytest.mark.parametrize(
    "note",
    ["", "headgate/x\n1\n", "{good}\n", "{good}".replace("{", "{{") + "x"],
    ids=["empty", "short", "longer", "text"],
)
def test_a_checkpoint_entry_that_is_none_is_found(store: Store, note: str) -> None:
    """Whatever stands there instead."""
    wrote(store, 1)
    good = Checkpoint.signed(KEY, "headgate/x", 1, bytes(32))
    store.append("checkpoint", {"note": note.replace("{good}", str(good))})
    assert reasons(store) == {"checkpoint_broken"}


def cut(root: Path, after: int) -> None:
    """Remove the last entries as somebody would who knows where SQLite counts them."""
    connection = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    for name in GUARDS:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("DELETE FROM entries WHERE seq > ?", [after])
    connection.execute("UPDATE sqlite_sequence SET seq = ?", [after])
    for sql in GUARDS.values():
        connection.execute(sql)
    connection.close()


def test_a_truncation_below_a_kept_checkpoint_is_found(store: Store, root: Path) -> None:
    """Cut back to an older signature all fits, but for what was kept; grown again, that too."""
    wrote(store, 3)
    store.checkpoint(KEY)
    wrote(store, 3)
    kept = store.checkpoint(KEY)
    assert kept.size == 7
    store.close()
    cut(root, 4)
    with Store.open(root) as shorter:
        assert reasons(shorter, KEY) == set()
        report = shorter.verify(keys=[KEY.public], kept=kept)
        assert [f.reason for f in report.findings] == ["kept_elsewhere_differs"]
        assert report.findings[0].what == (
            "7 entries were there when the kept checkpoint was made, and 4 are left"
        )
        wrote(shorter, 6)
        assert reasons(shorter, KEY, kept=kept) == {"kept_elsewhere_differs"}


def test_a_checkpoint_that_somebody_else_signed_proves_nothing(store: Store) -> None:
    """Nor one of another ledger, nor one whose signature is broken."""
    wrote(store, 3)
    kept = store.checkpoint(KEY)
    assert reasons(store, KEY, kept=kept) == set()
    forged = Checkpoint.signed(OTHER, kept.origin, kept.size, kept.root)
    assert reasons(store, KEY, kept=forged) == {"signer_unknown"}
    foreign = Checkpoint.signed(KEY, "headgate/other", kept.size, kept.root)
    assert reasons(store, KEY, kept=foreign) == {"kept_elsewhere_differs"}
    moved = Checkpoint(kept.origin, 2, kept.root, kept.signatures)
    assert reasons(store, KEY, kept=moved) == {"signer_unknown", "kept_elsewhere_differs"}


def test_nobody_signs_two_histories(store: Store, root: Path, tmp_path: Path) -> None:
    """A ledger that no longer begins with what was signed is refused, and so is its signer."""
    wrote(store, 3)
    store.checkpoint(KEY)
    (signed,) = store.entries("checkpoint")
    with rewritten(store, tmp_path / "forged", None) as forged:
        forged.append("checkpoint", signed.body)
        with pytest.raises(Tampered, match="not those that were signed"):
            forged.checkpoint(KEY)


def test_what_is_no_checkpoint_is_refused() -> None:
    """Whatever is missing or too much, an error says where it was read."""
    good = str(Checkpoint.signed(KEY, "headgate/0123", 12, bytes(32)))
    assert Checkpoint.parse(good).size == 12
    for bad in (
        "",
        good.replace("12\n", "012\n"),
        good.replace("12\n", "-1\n"),
        good.replace("12\n", "0\n"),
        good.replace("—", "-"),
        good.rstrip("\n"),
        good + "\n",
        good.split("\n\n")[0] + "\n\n",
        good.replace("\n", "\r\n"),
        good.replace("AAAA=", "AAA=="),
        good.replace("12\n", "12\nmore\n"),
    ):
        with pytest.raises(InputError, match="no checkpoint") as caught:
            Checkpoint.parse(bad, "kept.txt")
        assert (caught.value.reason, caught.value.where) == ("checkpoint_malformed", "kept.txt")


def test_who_holds_two_checkpoints_and_no_store_is_given_proofs(store: Store) -> None:
    """That one ledger grew out of the other, and that an entry is in it, in a few hashes."""
    wrote(store, 5)
    old = store.checkpoint(KEY)
    wrote(store, 20)
    new = store.checkpoint(KEY)
    growth = store.prove_growth(old.size, new.size)
    assert is_consistent(old.size, old.root, new.size, new.root, growth)
    for entry in list(store.entries())[: new.size]:
        proof = store.prove(entry, new.size)
        assert len(proof) <= 5
        assert is_included(leaf_of(entry.id), entry.seq - 1, new.size, proof, new.root)


def test_a_copy_of_a_store_goes_on_where_it_was(
    store: Store, root: Path, tmp_path: Path, release: Callable[..., Release]
) -> None:
    """A process that did not write the tree continues it, at every size."""
    for size in range(1, 20):
        with Store.open(root) as other:
            wrote(other, 1)
        with Store.open(root) as other:
            assert other.checkpoint(KEY).size == size * 2 - 1
    assert store.verify(keys=[KEY.public]).ok
    store.promote(release(0), expected_generation=None)
    assert store.verify().ok
    shutil.copytree(root, tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copy:
        assert copy.checkpoint(KEY).size == 39
        assert reasons(copy, KEY) == set()


def test_an_entry_that_was_taken_back_leaves_nothing_in_the_tree(store: Store, root: Path) -> None:
    """Where another process writes in its place, this one goes on from that."""
    wrote(store, 5)

    class Interrupting(dict[str, int]):
        """A body during whose reading the user gives up."""

        def items(self) -> NoReturn:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.append_all([("note", {"n": 5}), ("note", Interrupting())])
    with Store.open(root) as other:
        other.append("note", {"n": "another"})
    wrote(store, 3)
    assert store.verify().ok


@pytest.mark.parametrize("filled", ["zeroblob(64)", "zeroblob(40)", "''"])
def test_subtrees_that_were_changed_are_found(store: Store, root: Path, filled: str) -> None:
    """verify names the entry, and nothing is appended to a tree that does not fit."""
    wrote(store, 6)
    store.close()
    connection = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    connection.execute("DROP TRIGGER entries_refuse_update")
    connection.execute(f"UPDATE entries SET filled = {filled} WHERE seq = 4")
    connection.execute(GUARDS["entries_refuse_update"])
    connection.close()
    with Store.open(root) as damaged:
        assert [f.reason for f in damaged.verify().findings] == ["tree_broken"]
        for use in (lambda: wrote(damaged, 1), lambda: damaged.checkpoint(KEY)):
            with pytest.raises(Tampered, match="does not fit"):
                use()
