"""Every kind of tampering is found, and named by the entry where it was done."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate.errors import HeadgateError, Tampered
from headgate.ledger import Entry, Store
from headgate.ledger.entry import hash_row
from headgate.ledger.sqlite import GUARDS
from headgate.objects import Artifact, Release, Run, canonical, digest_bytes

CONTENTS = {name: digest_bytes(name) for name in (b"model", b"data", b"samples", b"variant")}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small history of every kind, seven entries on four artifacts, written once."""
    root = tmp_path_factory.mktemp("verify") / ".headgate"
    model, data, samples, variant = CONTENTS.values()
    with Store.open(root, create=True) as store:
        for content in CONTENTS:
            store.put_bytes(content)
        for name, version in (("model", model), ("data", data)):
            store.register(Artifact(name, version, "dataset", "bytes", "search", 5))
        times = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")
        run = Run("evaluate", {"model": model}, {}, "sha256:e0", {"samples": samples}, 7, *times)
        made_by = store.record_run(run).id
        measured = {"metric": "recall@10", "value": 0.5, "dataset": data, "run": made_by}
        store.append("measurement", {**measured, "samples": samples})
        for generation, before in ((0, None), (1, 0), (2, 1)):
            release = Release("docs-search", generation, variant, None)
            store.promote(release, expected_generation=before)
    return root


@pytest.fixture
def store(template: Path, root: Path) -> Iterator[Store]:
    """A store of one's own with that history, to be tampered with."""
    shutil.copytree(template, root)
    with Store.open(root) as opened:
        yield opened


@pytest.fixture
def entries(store: Store) -> list[Entry]:
    return list(store.entries())


def tamper(root: Path, *statements: str) -> None:
    """Run SQL as somebody would who knows to drop the triggers first, and to put them back."""
    connection = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    for name in GUARDS:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    for sql in GUARDS.values():
        connection.execute(sql)
    connection.close()


def reasons(store: Store) -> set[str]:
    return {finding.reason for finding in store.verify().findings}


def test_an_untouched_store_verifies(store: Store, entries: list[Entry]) -> None:
    """Nothing is found; the report counts what it looked at and is signed by nobody."""
    report = store.verify()
    assert report.ok, report.findings
    assert (report.entries, report.artifacts) == (7, len(CONTENTS))
    assert (report.signed, report.signers) == (0, ())


def test_an_empty_store_verifies(tmp_path: Path) -> None:
    """Nothing recorded is not a fault."""
    with Store.open(tmp_path / "new", create=True) as empty:
        assert empty.verify().ok


def test_the_database_refuses_update_and_delete(store: Store, entries: list[Entry]) -> None:
    """Whoever does not drop the triggers cannot change an entry."""
    connection = sqlite3.connect(store.root / "ledger.sqlite", isolation_level=None)
    for statement in ("UPDATE entries SET kind = 'x'", "DELETE FROM entries"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()
    assert list(store.entries()) == entries


@pytest.mark.parametrize(
    "change",
    [
        "body = replace(body, '0.5', '0.6')",
        "body = body || ' '",
        "body = 'not json'",
        "body = '[]'",
        "body = CAST(x'7b80' AS TEXT)",
        "body = CAST(body AS BLOB) || x'00'",
        "kind = 'decision'",
        "kind = x'ff'",
        "recorded_at = '2020-01-01T00:00:00Z'",
        "id = 'sha256:' || substr(id, 8, 63) || '~'",
    ],
)
def test_a_changed_entry_is_found(store: Store, entries: list[Entry], change: str) -> None:
    """Each column is covered by the hash: the finding names the entry, and reading it fails."""
    tamper(store.root, f"UPDATE entries SET {change} WHERE seq = 4")
    found = [f for f in store.verify().findings if f.reason == "entry_changed"]
    assert len(found) == 1
    assert change.startswith("id") or found[0].entry == entries[3].id
    with pytest.raises(Tampered, match="entry 4"):
        list(store.entries())


def test_an_entry_that_was_rehashed_does_not_fit_to_its_followers(
    store: Store, entries: list[Entry]
) -> None:
    """Giving the edited entry a matching id leaves its follower committed to the old one."""
    old = entries[4]
    body = canonical({**old.body, "note": "forged"})
    new_id = hash_row(old.seq, old.tree, old.kind, old.recorded_at, body)
    tamper(
        store.root,
        f"UPDATE entries SET body = '{body.decode()}', id = '{new_id}' WHERE seq = 5",
    )
    assert [(f.reason, f.entry) for f in store.verify().findings] == [
        ("tree_broken", entries[5].id)
    ]


def test_an_entry_that_commits_to_another_past_is_found(store: Store, entries: list[Entry]) -> None:
    """Even the last one, hashed anew: what was before it is here to be compared."""
    last = entries[-1]
    new_id = hash_row(last.seq, entries[-2].tree, last.kind, last.recorded_at, canonical(last.body))
    tamper(
        store.root, f"UPDATE entries SET tree = '{entries[-2].tree}', id = '{new_id}' WHERE seq = 7"
    )
    assert [(f.reason, f.entry) for f in store.verify().findings] == [("tree_broken", new_id)]


def test_a_body_that_is_no_json_is_found_even_with_a_matching_id(
    store: Store, entries: list[Entry]
) -> None:
    """The last entry can be re-hashed unseen, but not into something that nobody can read."""
    last = entries[-1]
    new_id = hash_row(last.seq, last.tree, "note", last.recorded_at, b"not json")
    tamper(
        store.root,
        f"UPDATE entries SET kind = 'note', body = 'not json', id = '{new_id}' WHERE seq = 7",
    )
    assert reasons(store) == {"entry_changed"}


@pytest.mark.parametrize("seq", [1, 4, 7])
def test_a_deleted_entry_is_found(store: Store, entries: list[Entry], seq: int) -> None:
    """The first, one in the middle and the last."""
    tamper(store.root, f"DELETE FROM entries WHERE seq = {seq}")
    assert reasons(store) & {"seq_gap", "end_missing"}


def test_a_deletion_that_closes_the_gap_is_found(store: Store, entries: list[Entry]) -> None:
    """Renumbering the rest does not help: seq is hashed, and so is all that went before."""
    tamper(
        store.root,
        "DELETE FROM entries WHERE seq = 3",
        "UPDATE entries SET seq = seq - 1 WHERE seq > 3",
    )
    assert reasons(store) >= {"tree_broken", "entry_changed"}


def test_reordered_entries_are_found(store: Store, entries: list[Entry]) -> None:
    """Two entries that changed places no longer match their ids."""
    tamper(
        store.root,
        "UPDATE entries SET seq = 100 WHERE seq = 3",
        "UPDATE entries SET seq = 3 WHERE seq = 4",
        "UPDATE entries SET seq = 4 WHERE seq = 100",
    )
    assert reasons(store) >= {"tree_broken", "entry_changed"}


def test_nothing_is_appended_after_a_cut_off_end(store: Store, entries: list[Entry]) -> None:
    """The next entry would hide the cut, so it is refused."""
    tamper(store.root, "DELETE FROM entries WHERE seq >= 6")
    assert reasons(store) == {"end_missing"}
    with pytest.raises(Tampered, match="cut off"):
        store.append("note", {})


def test_an_inserted_entry_is_found(store: Store, entries: list[Entry]) -> None:
    """A forged entry at the end does not match its own id."""
    tamper(
        store.root,
        "INSERT INTO entries (id, tree, kind, recorded_at, body, filled) "
        "SELECT 'sha256:forged', tree, kind, recorded_at, '{}', filled FROM entries WHERE seq = 7",
    )
    assert "entry_changed" in reasons(store)


def test_missing_triggers_are_found(store: Store, entries: list[Entry]) -> None:
    """A store whose guards were taken off, or made harmless, says so."""
    connection = sqlite3.connect(store.root / "ledger.sqlite", isolation_level=None)
    first, second = GUARDS
    connection.execute(f"DROP TRIGGER {first}")
    connection.execute(f"DROP TRIGGER {second}")
    connection.execute(f"CREATE TRIGGER {second} BEFORE DELETE ON entries BEGIN SELECT 1; END")
    connection.close()
    assert [f.reason for f in store.verify().findings] == ["guard_missing"] * 2


def test_every_bit_of_an_artifact_counts(
    store: Store, keep: Callable[..., Artifact], entries: list[Entry]
) -> None:
    """Each single flipped bit of a blob is found at the entry that stands on it."""
    artifact = keep(b"abc", "small")
    path = store.path_of(artifact.version)
    path.chmod(0o644)
    for bit in range(24):
        changed = bytearray(b"abc")
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        found = store.verify().findings
        assert [f.reason for f in found] == ["artifact_changed"]
        assert found[0].entry == store.get(artifact.version).id


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "artifact_missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "artifact_changed"),
        (lambda path: path.write_bytes(b""), "artifact_changed"),
    ],
    ids=["removed", "truncated", "emptied"],
)
def test_whatever_an_entry_stands_on_is_looked_at(
    store: Store,
    entries: list[Entry],
    name: bytes,
    damage: Callable[[Path], None],
    reason: str,
) -> None:
    """Artifacts, inputs and outputs of runs, samples of measurements, variants of releases."""
    path = store.path_of(CONTENTS[name])
    path.chmod(0o644)
    damage(path)
    assert reasons(store) == {reason}


def test_content_that_was_verified_before_is_hashed_again(
    store: Store, entries: list[Entry]
) -> None:
    """verify trusts no memory of this process, not even where size and time did not change."""
    path = store.path_of(CONTENTS[b"model"])
    facts = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"modem")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert reasons(store) == {"artifact_changed"}


def test_a_rewritten_history_with_a_gap_in_generations_is_found(
    store: Store, entries: list[Entry]
) -> None:
    """Whoever writes the whole ledger anew still has to explain where generation 1 went."""
    root = store.verify().root
    store.close()
    rewritten = store.root.parent / "rewritten"
    with Store.open(rewritten, create=True) as forged:
        for content in CONTENTS:
            forged.put_bytes(content)
        for entry in entries:
            if entry.body.get("generation") != 1:
                forged.append(entry.kind, entry.body, recorded_at=entry.recorded_at)
        assert reasons(forged) == {"generation_gap"}
        # What only a checkpoint that was kept elsewhere can show:
        assert forged.verify().root != root


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.95])
def test_a_truncated_ledger_is_found(store: Store, entries: list[Entry], share: float) -> None:
    """However much of the file is left, opening refuses it or verify reports it."""
    store.append_all([("note", {"n": n, "text": "x" * 100}) for n in range(300)])
    store.close()
    path = store.root / "ledger.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    try:
        with Store.open(store.root) as damaged:
            found = reasons(damaged)
    except Tampered:
        return
    assert "database_damaged" in found


def test_a_file_that_is_no_database_is_refused(store: Store) -> None:
    """Overwritten by something else, the ledger is Tampered, not a crash."""
    store.close()
    (store.root / "ledger.sqlite").write_bytes(b"not a database, but long enough" * 200)
    with pytest.raises(Tampered, match="damaged"):
        Store.open(store.root, create=True)


def test_zeroed_pages_never_go_unnoticed(store: Store, entries: list[Entry]) -> None:
    """Each page of the file overwritten in turn: refused, reported, or nothing was lost."""
    store.close()
    path = store.root / "ledger.sqlite"
    content = path.read_bytes()
    for page in range(len(content) // 4096):
        path.write_bytes(content[: page * 4096] + bytes(4096) + content[(page + 1) * 4096 :])
        try:
            with Store.open(store.root) as damaged:
                report = damaged.verify()
        except HeadgateError:
            continue
        assert not report.ok, f"page {page}"
    path.write_bytes(content)
    with Store.open(store.root) as restored:
        assert restored.verify().ok


@pytest.mark.parametrize(
    ("kind", "role"),
    [
        ("artifact", "made_by"),
        ("measurement", "run"),
        ("measurement", "current_run"),
        ("release", "decision"),
        ("requalification", "import"),
        ("certificate", "decision"),
        ("certificate", "requalification"),
    ],
)
def test_an_entry_that_stands_on_one_that_is_not_there_is_found(
    store: Store, entries: list[Entry], kind: str, role: str
) -> None:
    """And one whose parent is there is in order."""
    model = CONTENTS[b"model"]
    body = {"id": "x", "version": model, "lineage": [], "endpoint": "other", "generation": 0}
    body |= {"variant": model}
    store.append(kind, {**body, role: entries[3].id})
    assert store.verify().ok
    missing = store.append(kind, {**body, "endpoint": "third", role: "sha256:" + "1" * 64})
    (finding,) = store.verify().findings
    assert (finding.reason, finding.entry) == ("parent_missing", missing.id)
    assert role in finding.what


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("run", {"u": ["sha256:0"]}),
        ("run", {"z": "sha256:0"}),
        ("failure", {"u": 7}),
        ("artifact", {"lineage": 7}),
        ("artifact", {"lineage": True, "version": "none"}),
    ],
)
def test_a_body_that_does_not_name_things_as_its_kind_does_is_found(
    store: Store, kind: str, body: dict[str, object]
) -> None:
    """However it is malformed, verify goes on to the end and names it."""
    malformed = store.append(kind, body)
    (finding,) = store.verify().findings
    assert (finding.reason, finding.entry) == ("entry_malformed", malformed.id)


@pytest.mark.parametrize("role", ["watch", "incident", "run"])
def test_a_name_of_an_entry_that_is_no_text_is_found(store: Store, role: str) -> None:
    """A list or an object is no earlier entry."""
    kind = "incident" if role == "watch" else "response"
    for value in ([], {}, ["x"], 7):
        store.append(kind, {role: value})
    assert [f.reason for f in store.verify().findings] == ["parent_missing"] * 4


def test_what_is_no_version_is_not_looked_for(store: Store, run_of: Callable[..., Run]) -> None:
    """Names in a run's inputs that are no digests are not artifacts."""
    store.record_run(run_of({"url": "https://example.org/model"}, {}))
    report = store.verify()
    assert (report.ok, report.artifacts) == (True, len(CONTENTS))
