"""Laws of the ledger, for values and mutations that nobody thought of."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.errors import HeadgateError, Refused
from headgate.ledger import Store
from headgate.ledger.entry import hash_row
from headgate.ledger.sqlite import GUARDS
from headgate.objects import Release, canonical, digest, digest_bytes

TREE = digest_bytes(b"")  # the root of no entries

# Appending waits for the disk, so the number of examples is small and time is not judged.
durable = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats() | st.integers(-(2**53) + 1, 2**53 - 1)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(text, values, max_size=5)
kinds = st.from_regex(r"[a-z][a-z0-9_.-]{0,9}", fullmatch=True).filter(
    lambda kind: kind not in ("artifact", "run", "release")
)


@contextmanager
def new_store() -> Iterator[Store]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open(Path(folder) / ".headgate", create=True) as store,
    ):
        yield store


@given(seq=st.integers(1, 2**53 - 1), kind=text, when=text, body=bodies)
def test_an_id_is_the_digest_of_the_whole_entry(
    seq: int, kind: str, when: str, body: dict[str, object]
) -> None:
    """The fast hash over stored bytes equals the digest of the entry as a value."""
    entry = {"seq": seq, "tree": TREE, "kind": kind, "recorded_at": when, "body": body}
    assert hash_row(seq, TREE, kind, when, canonical(body)) == digest(entry)


@given(
    first=st.tuples(st.integers(1, 99), text, text, text, st.binary(max_size=60)),
    second=st.tuples(st.integers(1, 99), text, text, text, st.binary(max_size=60)),
)
def test_different_rows_have_different_ids(
    first: tuple[int, str, str, str, bytes], second: tuple[int, str, str, str, bytes]
) -> None:
    """Equal ids mean equal rows, whatever bytes stand in them."""
    assert (hash_row(*first) == hash_row(*second)) == (first == second)


@given(body=st.binary(max_size=20), kind=text, tree=text, when=text)
def test_moving_text_between_columns_changes_the_id(
    body: bytes, kind: str, tree: str, when: str
) -> None:
    """A body that swallows what follows it, quotes and all, is another entry."""
    honest = hash_row(1, tree, kind, when, body)
    swallowed = body + f',"kind":"{kind}","recorded_at":"'.encode()
    assert hash_row(1, tree, "", when, swallowed) != honest
    assert hash_row(1, tree, f'{kind}","recorded_at":"{when}', when, body) != honest


@durable
@given(items=st.lists(st.tuples(kinds, bodies), max_size=8))
def test_what_is_recorded_is_read_back_and_verifies(
    items: list[tuple[str, dict[str, object]]],
) -> None:
    """Every body comes back as its canonical value, in order, and the tree holds."""
    with new_store() as store:
        written = store.append_all(items)
        assert list(store.entries()) == written
        assert [(e.kind, canonical(e.body)) for e in written] == [
            (kind, canonical(body)) for kind, body in items
        ]
        assert all(store.get(entry.id) == entry for entry in written)
        report = store.verify()
        assert report.ok, report.findings
        assert (report.root == TREE) == (not written)


@durable
@given(contents=st.lists(st.binary(max_size=200), max_size=6))
def test_content_comes_back_as_it_was(contents: list[bytes]) -> None:
    """Any bytes, put in any order and any number of times."""
    with new_store() as store:
        versions = [store.put_bytes(content) for content in contents]
        assert versions == [digest_bytes(content) for content in contents]
        assert [store.read(version) for version in versions] == contents
        assert [store.path_of(version).read_bytes() for version in versions] == contents


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a store with twelve entries and a blob, written once."""
    root = tmp_path_factory.mktemp("history") / ".headgate"
    with Store.open(root, create=True) as store:
        variant = store.put_bytes(b"variant")
        store.append_all([("note", {"n": n, "text": "größe" * n}) for n in range(10)])
        for generation, before in ((0, None), (1, 0)):
            release = Release("docs-search", generation, variant, None)
            store.promote(release, expected_generation=before)
    return root


@settings(durable, max_examples=100)
@given(
    seq=st.integers(1, 12),
    column=st.sampled_from(["id", "tree", "kind", "recorded_at", "body"]),
    place=st.integers(0, 10_000),
    bit=st.integers(0, 7),
)
def test_any_flipped_bit_of_an_entry_is_found(
    history: Path, seq: int, column: str, place: int, bit: int
) -> None:
    """One bit of one column of one entry, changed behind the back of the triggers."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        shutil.copytree(history, root)
        connection = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        for name in (*GUARDS, "entries_refuse_update"):
            connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        for index in ("artifacts_by_version", "artifacts_by_id", "runs_by_key"):
            connection.execute(f"DROP INDEX {index}")
        connection.execute("DROP INDEX releases_by_generation")  # it refuses malformed bodies
        query = f"SELECT CAST({column} AS BLOB) FROM entries WHERE seq = ?"
        ((content,),) = connection.execute(query, [seq])
        changed = bytearray(content)
        changed[place % len(changed)] ^= 1 << bit
        update = f"UPDATE entries SET {column} = CAST(? AS TEXT) WHERE seq = ?"
        connection.execute(update, [bytes(changed), seq])
        for sql in GUARDS.values():
            connection.execute(sql)
        connection.close()
        with Store.open(root) as store:
            assert "entry_changed" in {f.reason for f in store.verify().findings}


@settings(durable, max_examples=150)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_of_the_file_never_changes_what_is_read(
    history: Path, place: int, bit: int
) -> None:
    """Anywhere in the SQLite file: refused, reported, or every entry is as it was."""
    with Store.open(history) as store:
        expected = list(store.entries())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        shutil.copytree(history, root)
        content = bytearray((root / "ledger.sqlite").read_bytes())
        content[place % len(content)] ^= 1 << bit
        (root / "ledger.sqlite").write_bytes(content)
        try:
            with Store.open(root) as damaged:
                if damaged.verify().ok:
                    assert list(damaged.entries()) == expected
        except HeadgateError:
            pass


@durable
@given(
    bids=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(-1, 4), st.none() | st.integers(-1, 4)),
        max_size=10,
    )
)
def test_whatever_is_bid_generations_have_no_gap(
    bids: list[tuple[str, int, int | None]],
) -> None:
    """A bid wins if and only if it expects what is current and is the next generation."""
    model: dict[str, int] = {}
    with new_store() as store:
        variant = store.put_bytes(b"variant")
        for endpoint, generation, expected in bids:
            current = model.get(endpoint)
            wins = expected == current and generation == (0 if current is None else current + 1)
            try:
                release = Release(endpoint, generation, variant, None)
                store.promote(release, expected_generation=expected)
            except Refused:
                won = False
            else:
                won = True
                model[endpoint] = generation
            assert won == wins
        for endpoint in "ab":
            generations = [r.generation for _, r in store.history(endpoint)]
            assert generations == list(range(model.get(endpoint, -1) + 1))
        assert store.verify().ok
