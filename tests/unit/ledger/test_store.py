"""The store records, finds and returns what was recorded."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.errors import InputError, Refused, Tampered, UsageError
from headgate.ledger import Store, utc_now
from headgate.ledger.merkle import Edge, leaf_hash
from headgate.objects import Artifact, Run, canonical, digest, digest_bytes, short


def test_an_entry_is_the_digest_of_its_parts_and_of_all_before_it(store: Store) -> None:
    """id = digest of {seq, tree, kind, recorded_at, body}; tree is the root over the ids so far."""
    first = store.append("note", {"text": "größer", "x": 0.1 + 0.2})
    second = store.append("note", {"n": 2})
    assert (first.seq, first.tree) == (1, digest_bytes(b""))
    edge = Edge(0, [])
    edge.add(leaf_hash(bytes.fromhex(first.id.removeprefix("sha256:"))))
    assert (second.seq, second.tree) == (2, f"sha256:{edge.root().hex()}")
    assert first.body == {"text": "größer", "x": 0.3}
    parts = ("seq", "tree", "kind", "recorded_at", "body")
    for entry in (first, second):
        assert entry.id == digest({part: getattr(entry, part) for part in parts})
    assert list(store.entries()) == [first, second]


def test_bodies_are_stored_as_their_canonical_bytes(store: Store, root: Path) -> None:
    """What is in the file is exactly the RFC 8785 form."""
    body = {"b": [1.0, float("nan")], "a": {"z": None, "y": "ü\n"}}
    store.append("note", body)
    with sqlite3.connect(root / "ledger.sqlite") as connection:
        ((stored,),) = connection.execute("SELECT CAST(body AS BLOB) FROM entries")
    connection.close()
    assert stored == canonical(body)


def test_entries_outlive_the_process(store: Store, root: Path) -> None:
    """What one opening wrote, the next one reads."""
    written = store.append("note", {"n": 1})
    with Store.open(root) as again:
        assert again.get(written.id) == written


def test_the_time_of_recording_may_be_given_and_is_utc(store: Store) -> None:
    """A given time is kept; one without Z is refused, as is a kind that is not a word."""
    assert store.append("note", {}, recorded_at="2026-01-01T00:00:00Z").recorded_at[:4] == "2026"
    assert store.append("note", {}).recorded_at <= utc_now()
    with pytest.raises(ValueError, match="UTC"):
        store.append("note", {}, recorded_at="2026-01-01 00:00")
    with pytest.raises(ValueError, match="kind"):
        store.append("A Note", {})
    with pytest.raises(TypeError, match="mapping"):
        store.append("note", [1])


def test_append_all_is_all_or_nothing(store: Store) -> None:
    """One body without a canonical form keeps all of them out."""
    with pytest.raises(TypeError, match="canonical"):
        store.append_all([("note", {"n": 1}), ("note", {"n": object()})])
    assert list(store.entries()) == []
    assert [e.seq for e in store.append_all([("note", {"n": n}) for n in range(3)])] == [1, 2, 3]


def test_entries_of_a_kind_come_in_order_across_pages(store: Store) -> None:
    """More entries than one page come once each, oldest first."""
    store.append_all([("odd" if n % 2 else "even", {"n": n}) for n in range(1203)])
    assert [e.body["n"] for e in store.entries("odd")] == list(range(1, 1203, 2))
    assert [e.body["n"] for e in store.entries()] == list(range(1203))


def test_reading_does_not_hold_up_a_writer(store: Store) -> None:
    """An entry can be appended in the middle of an iteration, which then shows it."""
    store.append_all([("note", {"n": n}) for n in range(600)])
    seen = 0
    for entry in store.entries():
        if entry.seq == 1:
            store.append("note", {"n": 600})
        seen += 1
    assert seen == 601


def test_latest_is_the_newest_that_matches(store: Store) -> None:
    """All given values must match; a key that is absent matches nothing, not even None."""
    store.append("plan", {"endpoint": "a", "n": 1})
    newest = store.append("plan", {"endpoint": "a", "n": 2})
    store.append("plan", {"endpoint": "b", "n": 3})
    assert store.latest("plan", endpoint="a") == newest
    assert store.latest("plan", endpoint="a", n=3) is None
    assert store.latest("plan", absent=None) is None
    assert store.latest("decision") is None


def test_get_takes_a_unique_prefix(store: Store) -> None:
    """The full id, and 4 or more digits with or without sha256:, find the entry."""
    entry = store.append("note", {"n": 1})
    digits = entry.id.removeprefix("sha256:")
    for name in (entry.id, digits, digits[:8], f"sha256:{digits[:4]}", digits[:6].upper()):
        assert store.get(name) == entry


def test_get_takes_an_artifacts_version(store: Store, keep: Callable[..., Artifact]) -> None:
    """A version finds the newest entry that registers it, whatever it was called before."""
    keep(b"content", "old-name")
    artifact = keep(b"content", "new-name")
    assert store.get(artifact.version[:14]).body["id"] == "new-name"


def test_get_lists_the_candidates_of_an_ambiguous_prefix(
    store: Store, keep: Callable[..., Artifact]
) -> None:
    """Where several ids begin alike, the message names them; more digits tell them apart."""
    contents: dict[str, bytes] = {}
    numbered = (str(n).encode() for n in itertools.count())
    for second in numbered:
        first = contents.setdefault(digest_bytes(second)[:11], second)
        if first != second:
            break
    versions = [keep(content, f"docs-{n}").version for n, content in enumerate((first, second))]
    with pytest.raises(UsageError, match="begins 2 ids") as caught:
        store.get(versions[0][:11])
    assert caught.value.reason == "ambiguous_id"
    for n, version in enumerate(versions):
        assert f"{short(version)} (artifact docs-{n})" in str(caught.value)
        assert store.get(version[:20]).body["version"] == version


@pytest.mark.parametrize(
    ("name", "reason"),
    [("abc", "malformed_id"), ("model.onnx", "malformed_id"), ("f" * 64, "unknown_id")],
)
def test_get_says_what_is_wrong_with_an_id(store: Store, name: str, reason: str) -> None:
    """Too short, no digest at all, and simply absent are told apart."""
    store.append("note", {})
    with pytest.raises(UsageError) as caught:
        store.get(name)
    assert caught.value.reason == reason


def test_an_artifact_is_registered_once(store: Store, keep: Callable[..., Artifact]) -> None:
    """The same id, version and lineage give the first entry; another lineage is new evidence."""
    source = keep(b"source", "source")
    artifact = keep(b"made", "made", lineage=(source.version,))
    first = store.get(artifact.version)
    assert store.register(artifact) == first
    keep(b"made", "made")
    assert len(list(store.entries("artifact"))) == 3
    again = store.register(artifact)  # the newest is what counts, so it is said once more
    assert again.seq == 4
    assert store.register(artifact) == again


def test_an_artifact_is_found_by_version_and_by_id(
    store: Store, keep: Callable[..., Artifact]
) -> None:
    """By version that very one, by id the newest; equal to what was registered."""
    old, new = keep(b"1", "docs"), keep(b"2", "docs", lineage=(f"sha256:{'0' * 64}",))
    assert store.artifact(old.version) == old
    assert store.artifact("docs") == new
    assert store.artifact("other") is None


def test_an_artifact_without_content_is_refused(store: Store) -> None:
    """A digest of something that is not in the store is no evidence."""
    absent = Artifact("docs", digest("absent"), "dataset", "bytes", "search", 0)
    with pytest.raises(Refused) as caught:
        store.register(absent)
    assert caught.value.reason == "artifact_missing"
    assert list(store.entries()) == []


def test_a_run_is_found_again_by_what_it_did(store: Store, run_of: Callable[..., Run]) -> None:
    """The same T(u; c, e) and seed find it, equal to what was recorded; any difference does not."""
    model, made = store.put_bytes(b"model"), store.put_bytes(b"int8")
    run = run_of({"model": model}, {"model": made})
    entry = store.record_run(run)
    same = {"transformation": run.transformation, "u": run.u, "c": run.c, "e": run.e, "seed": 7}
    assert store.find_run(**same) == (entry, run)
    assert store.find_run(**{**same, "c": {"bits": 8, "code": "sha256:c0de"}}) == (entry, run)
    others = {
        "transformation": "quantize.dynamic_int8",
        "u": {"model": made},
        "c": {"code": "sha256:c0de", "bits": 4},
        "e": "sha256:e1",
        "seed": 8,
    }
    for part, other in others.items():
        assert store.find_run(**{**same, part: other}) is None


def test_a_run_whose_output_is_gone_is_not_reused(store: Store, run_of: Callable[..., Run]) -> None:
    """An older run whose outputs are complete is; one with a missing output is not."""
    kept, lost = store.put_bytes(b"kept"), store.put_bytes(b"lost")
    older = store.record_run(run_of({}, {"model": kept}))
    store.record_run(run_of({}, {"model": kept, "curve": lost}))
    store.path_of(lost).unlink()
    run = run_of({}, {})
    found = store.find_run(
        transformation=run.transformation, u=run.u, c=run.c, e=run.e, seed=run.seed
    )
    assert found is not None
    assert found[0] == older


def test_an_absent_store_is_named_with_the_command_that_makes_one(root: Path) -> None:
    """Opening nothing is an InputError, and makes nothing."""
    with pytest.raises(InputError, match="no store here") as caught:
        Store.open(root)
    assert "headgate optimize" in str(caught.value)
    assert not root.exists()


def test_a_store_whose_making_was_interrupted_is_made_on_the_next_try(root: Path) -> None:
    """An empty ledger file without artifacts is what a kill at the first moment leaves."""
    root.mkdir()
    (root / "ledger.sqlite").touch()
    with pytest.raises(InputError, match="no store here"):
        Store.open(root)
    with Store.open(root, create=True) as store:
        assert store.append("note", {}).seq == 1


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("empty", [True, False])
def test_a_ledger_that_vanished_is_not_silently_begun_anew(
    store: Store, root: Path, create: bool, empty: bool
) -> None:
    """Artifacts without a ledger, or with an emptied one, are evidence of a loss."""
    store.close()
    ledger = root / "ledger.sqlite"
    ledger.unlink()
    if empty:
        ledger.touch()
    with pytest.raises(Tampered, match="gone"):
        Store.open(root, create=create)


@pytest.mark.parametrize(("version", "cure"), [(1, "move the store away"), (3, "upgrade")])
def test_another_format_is_refused(store: Store, root: Path, version: int, cure: str) -> None:
    """A store of an older or a later Headgate is left alone, and the message says what to do."""
    store.close()
    connection = sqlite3.connect(root / "ledger.sqlite")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(InputError, match=f"format {version}") as caught:
        Store.open(root, create=True)
    assert cure in str(caught.value)
    assert caught.value.reason == "store_format"


def test_another_programs_database_is_refused(root: Path) -> None:
    """A SQLite file with another application's mark is not taken for an empty ledger."""
    root.mkdir()
    connection = sqlite3.connect(root / "ledger.sqlite")
    connection.execute("PRAGMA application_id = 1")
    connection.execute("CREATE TABLE entries (x)")
    connection.close()
    with pytest.raises(InputError, match="another program"):
        Store.open(root, create=True)


def test_the_size_counts_ledger_and_artifacts(store: Store, root: Path) -> None:
    """Keeping a megabyte makes the store a megabyte larger."""
    before = store.size_bytes()
    store.put_bytes(bytes(1_000_000))
    assert before + 1_000_000 <= store.size_bytes() < before + 1_001_000
    assert before >= (root / "ledger.sqlite").stat().st_size
