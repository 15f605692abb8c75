"""Two verifiers that share no code find the same changes, and neither finds what is not there."""

from __future__ import annotations

import ast
import functools
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ledger.mutate import KINDS, Template, mutations
from headgate.errors import Tampered
from headgate.ledger import Store
from headgate.ledger.checkpoint import Checkpoint
from headgate.ledger.signing import SigningKey
from headgate.ledger.verify import _PARENTS, _references
from tools.verify_ledger import NAMED, STANDS_ON, Unusable, stands_on, verify

SCRIPT = Path(__file__).parents[3] / "tools" / "verify_ledger.py"
MUTATIONS = 120


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template.make(tmp_path_factory.mktemp("signed") / ".headgate")


def found(template: Template, root: Path) -> tuple[bool, bool]:
    """Whether ``headgate verify`` and the standalone verifier find something."""
    try:
        with Store.open(root) as store:
            ours = not store.verify(keys=[template.key], kept=template.kept).ok
    except Tampered:
        ours = True
    return ours, bool(verify(root, [str(template.key)], str(template.kept)))


def test_it_is_one_short_file_that_knows_nothing_of_the_package() -> None:
    """At most 300 lines; beside the standard library it imports cryptography and nothing else."""
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"cryptography"}


def test_it_follows_what_verify_follows() -> None:
    """What an entry names, entries and artifacts, is said twice and must be the same."""
    assert {kind: list(roles) for kind, roles in _PARENTS.items()} == NAMED
    roles = (
        "version", "standard", "dataset", "samples", "data", "variant", "current", "envelope",
        "lineage", "u", "z", "e", "certificate",
    )  # fmt: skip
    versions = {role: f"sha256:{n:064}" for n, role in enumerate(roles)}
    body = versions | {"lineage": [versions["lineage"]]}
    body |= {role: {"model": versions[role]} for role in ("u", "z")}
    for kind in (*NAMED, *STANDS_ON, "run", "failure", "decision", "checkpoint", "fork"):
        ours = {version for _, version in _references(kind, body)}
        assert set(stands_on(kind, body)) == ours, kind


def test_neither_finds_anything_in_an_honest_ledger(template: Template, tmp_path: Path) -> None:
    """With keys and a kept checkpoint, with neither, and in a ledger without entries."""
    assert found(template, template.root) == (False, False)
    assert verify(template.root, []) == []
    Store.open(tmp_path / "empty", create=True).close()
    assert verify(tmp_path / "empty", []) == []
    assert verify(tmp_path / "empty", [str(template.key)]) == ["nothing is signed"]


def test_both_find_every_mutation(template: Template, tmp_path: Path) -> None:
    """Bit flips, deletions, reordering, truncation, rewriting: the short form of 10,000."""
    missed = [
        (what, both)
        for what, root in mutations(template, tmp_path, MUTATIONS, seed=4)
        if (both := found(template, root)) != (True, True)
    ]
    assert missed == []


@pytest.mark.parametrize("kind", ["truncation below a checkpoint", "rewriting"])
def test_what_only_the_kept_checkpoint_or_the_key_shows_is_not_seen_without(
    template: Template, tmp_path: Path, kind: str
) -> None:
    """The mutations are as good as forgers can make them: with neither, all fits."""
    kinds = list(KINDS)
    for number, (_, root) in enumerate(mutations(template, tmp_path, 12, seed=5)):
        if kinds[number % len(kinds)] == kind:
            with Store.open(root) as store:
                assert store.verify().ok
            assert verify(root, []) == []


def test_a_wrong_key_and_a_wrong_checkpoint_are_found(template: Template) -> None:
    """Signed by another, of another ledger, or moved to another size."""
    other = SigningKey.generate()
    key, kept = str(template.key), template.kept
    assert len(verify(template.root, [str(other.public)])) == 3
    assert verify(template.root, [str(other.public), key], str(kept)) == []
    for wrong in (
        Checkpoint.signed(other, kept.origin, kept.size, kept.root),
        Checkpoint.signed(other, "headgate/other", kept.size, kept.root),
        Checkpoint(kept.origin, kept.size - 1, kept.root, kept.signatures),
    ):
        assert verify(template.root, [key], str(wrong))


def test_both_follow_a_fork(tmp_path: Path) -> None:
    """Checkpoints of before and after it fit, and none of the ledger that it left after it."""
    key, root = SigningKey.generate(), tmp_path / ".headgate"
    public = [str(key.public)]
    with Store.open(root, create=True) as store:
        store.append_all([("note", {"n": n}) for n in range(3)])
        before = store.checkpoint(key)
        shutil.copytree(root, tmp_path / "original")
        after = store.checkpoint(key, fork="a copy")
        assert verify(root, public, str(before)) == verify(root, public, str(after)) == []
        assert store.verify(keys=[key.public], kept=after).ok
    with Store.open(tmp_path / "original") as original:
        original.append_all([("note", {"n": n}) for n in range(9)])
        beyond = original.checkpoint(key)
        assert original.verify(kept=after).findings
    assert len(verify(root, public, str(beyond))) == 1
    assert len(verify(tmp_path / "original", public, str(after))) == 1


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("run", {"u": ["x"]}),
        ("failure", {"z": 7}),
        ("artifact", {"lineage": 7}),
        ("incident", {"watch": ["x"], "release": {"y": 1}}),
        ("release", {"endpoint": ["x"], "generation": {}}),
        ("checkpoint", {"note": ["x"]}),
        ("checkpoint", {}),
        ("measurement", {"dataset": ["x"], "run": [[]]}),
    ],
)
def test_a_malformed_body_is_a_finding_of_both(
    tmp_path: Path, kind: str, body: dict[str, object]
) -> None:
    """Neither trips over it, and both go on to what comes after it."""
    with Store.open(tmp_path / ".headgate", create=True) as store:
        store.append(kind, body)
        store.append("audit", {"decision": "sha256:none"})
        ours = store.verify().findings
    theirs = verify(tmp_path / ".headgate", [])
    assert len(ours) == len(theirs) >= 2
    assert theirs[-1] == "decision of entry 2 is no earlier entry"


def test_a_body_that_nests_beyond_measure_is_a_finding_of_both(tmp_path: Path) -> None:
    """It is no JSON that anybody wrote."""
    root = tmp_path / ".headgate"
    with Store.open(root, create=True) as store:
        store.append("note", {})
    connection = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    connection.execute("DROP TRIGGER entries_refuse_update")
    connection.execute("UPDATE entries SET body = ?", ["[" * 100_000])
    connection.close()
    with Store.open(root) as store:
        assert not store.verify().ok
    assert "the body of entry 1 is no JSON object" in verify(root, [])


def test_a_writer_that_was_killed_is_told_plainly(tmp_path: Path) -> None:
    """Its journal is not yet undone: that is neither good nor bad, and any command undoes it."""
    root, copy = tmp_path / ".headgate", tmp_path / "copy"
    with Store.open(root, create=True) as store:
        store.append("note", {})
    connection = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA cache_size = 2")  # so that it is written before it is committed
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO entries (id, tree, kind, recorded_at, body, filled) "
        "VALUES (?, '', '', '', ?, '')",
        [(f"sha256:{n}", "x" * 1000) for n in range(200)],
    )
    shutil.copytree(root, copy)  # what a kill would leave
    connection.execute("ROLLBACK")
    connection.close()
    with pytest.raises(Unusable, match="a writer was killed"):
        verify(copy, [])
    code, said = ran(str(copy))
    assert (code, "`headgate history` takes back" in said) == (2, True)
    with Store.open(copy) as store:
        assert [entry.kind for entry in store.entries()] == ["note"]
    assert verify(copy, []) == []


def test_a_ledger_that_is_being_written_is_no_finding(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited long enough is asked to try again."""
    root = tmp_path / "busy"
    shutil.copytree(template.root, root)
    connection = sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    impatient = functools.partial(sqlite3.connect, timeout=0)
    monkeypatch.setattr("tools.verify_ledger.sqlite3.connect", impatient)
    with pytest.raises(Unusable, match="another process writes"):
        verify(root, [])
    connection.close()
    assert verify(root, []) == []


@pytest.fixture
def files(template: Template, tmp_path: Path) -> list[str]:
    """The arguments of a command line: a copy of the store, the key, the checkpoint as files."""
    root = tmp_path / "copy"
    shutil.copytree(template.root, root)
    (tmp_path / "key.pub").write_text(f"{template.key}\n", encoding="utf-8")
    (tmp_path / "kept.txt").write_text(str(template.kept), encoding="utf-8")
    key, kept = str(tmp_path / "key.pub"), str(tmp_path / "kept.txt")
    return [str(root), "--key", key, "--checkpoint", kept]


def ran(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-I", str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_it_runs_alone(files: list[str]) -> None:
    """Exit code 0 where nothing is wrong, 3 with a line for each finding."""
    assert ran(*files) == (0, "nothing is wrong\n")
    (first, *_) = sorted((Path(files[0]) / "artifacts").glob("??/*"))
    first.unlink()
    code, said = ran(*files)
    assert code == 3
    assert said.endswith("is missing\n")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("place", "given", "message"),
    [
        (0, "absent", "there is no ledger in absent"),
        (2, "headgate+00000000+AQ==", "is no public key"),
        (4, "absent.txt", "No such file"),
    ],
)
def test_it_says_what_it_cannot_use(files: list[str], place: int, given: str, message: str) -> None:
    """Exit code 2: neither good nor bad."""
    files[place] = given
    code, said = ran(*files)
    assert code == 2
    assert message in said


def test_a_private_key_in_place_of_a_public_one_is_not_shown(
    files: list[str], tmp_path: Path
) -> None:
    """A mistake of a moment does not write it into a log."""
    SigningKey.generate().write(tmp_path / "signing-key.pem")
    files[2] = str(tmp_path / "signing-key.pem")
    code, said = ran(*files)
    assert code == 2
    assert "signing-key.pem' is no public key" in said
    assert "PRIVATE" not in said


def test_it_refuses_a_checkpoint_that_is_none(template: Template) -> None:
    """An empty or cut-off file is no proof of anything."""
    for text in ("", str(template.kept).partition("\n\n")[0]):
        with pytest.raises(Unusable, match="checkpoint is none"):
            verify(template.root, [], text)
