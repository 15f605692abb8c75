"""show, compare, lineage and verify on a small store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from headgate.cli.checkpoint import begin, sign, signing
from headgate.errors import Tampered
from headgate.ledger import Store
from headgate.ledger.checkpoint import Checkpoint, origin_of
from headgate.ledger.signing import SigningKey, users_key
from headgate.objects import short

from .conftest import Cli, Ids


def made_by(version: str) -> str:
    """The id of the run that made it, as people see it."""
    with Store.open(Path(".headgate")) as store:
        return short(str(store.get(version).body["made_by"]))


def test_show_finds_an_artifact_by_a_few_digits(cli: Cli, ids: Ids) -> None:
    """Its entry, and its content where that can be read."""
    said = cli("show", short(ids.student))
    assert said.code == 0
    assert "id           docs/variant/student" in said.out
    assert f"version      {short(ids.student)}" in said.out
    assert "variant.name                        student" in said.out
    whole = json.loads(cli("show", ids.student, "--json").out)
    assert whole["entry"]["body"]["version"] == ids.student
    assert whole["content"]["content"]["endpoint"] == "docs"


def test_show_puts_a_decision_first_in_words(cli: Cli, ids: Ids) -> None:
    """A run of the gate shows what it decided, on which split."""
    out = cli("show", ids.refused).out
    assert "ROLLBACK  on the holdout split: it says rollback" in out


@pytest.mark.parametrize("best", [None, {"build": "bf16", "cache": True}, "bf16"])
def test_show_of_a_search_says_why_each_was_left_out(
    cli: Cli, ids: Ids, best: dict[str, object] | str | None
) -> None:
    """And what to do, where it found nothing; older entries name the best build alone."""
    body = {
        "endpoint": "docs",
        "stopped": "nothing keeps every promise",
        "binding": None if best else "latency_p95 at most 0.01",
        "best": best,
        "left_out": {"int8_static": "latency_p95 = 0.02 breaks 0.01"},
        "spent_s": 90.0,
        "trials": [{"level": "pilot", "build": "int8_static"}],
    }
    with Store.open(Path(".headgate")) as store:
        search = store.append("search", body)
    said = cli("show", short(search.id)).out
    assert f"recorded at    {search.recorded_at}" in said
    assert f"best           {'bf16' if best else '–'}" in said
    assert "ended because  nothing keeps every promise" in said
    assert "int8_static  latency_p95 = 20.0 ms breaks 10.0 ms" in said
    assert ("What stands in the way is latency_p95 at most 10.0 ms" in said) is (best is None)
    assert json.loads(cli("show", search.id, "--json").out)["entry"]["body"] == body


def test_show_of_nothing_names_the_store(cli: Cli, ids: Ids) -> None:
    """Exit code 2, and where ids come from."""
    said = cli("show", "0000")
    assert said.code == 2
    assert said.err == (
        "headgate: .headgate: nothing here has an id that begins with 0000\n"
        "  what to do: take an id from a report or from `headgate history`\n"
    )


def test_compare_shows_only_what_differs(cli: Cli, ids: Ids) -> None:
    """Two decisions on the same variants differ in what they decided."""
    both = json.loads(cli("compare", ids.refused, ids.accepted, "--json").out)
    assert both["differing"]["output decision.action"] == {"a": "rollback", "b": "accept"}
    assert "output decision.candidate" not in both["differing"]
    out = cli("compare", ids.refused, ids.accepted).out
    assert "output decision.action   rollback" in out


def test_what_is_too_wide_to_compare_is_put_below_each_other(
    cli: Cli, ids: Ids, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word is broken: what is pasted elsewhere is what was there."""
    monkeypatch.setenv("COLUMNS", "50")
    out = cli("compare", ids.baseline, ids.student).out
    assert (
        "\nid\n  A  docs/variant/baseline\n  B  docs/variant/student\n"
        f"made_by\n  A  {made_by(ids.baseline)}\n"
    ) in out
    assert max(map(len, out.splitlines())) <= 50


def test_compare_of_two_kinds_is_refused(cli: Cli, ids: Ids) -> None:
    """A run and an artifact have nothing to compare."""
    said = cli("compare", ids.refused, ids.model)
    assert said.code == 2
    assert f"{short(ids.refused)} is of kind run, {short(ids.model)} of artifact" in said.err


def test_lineage_goes_back_to_what_came_from_outside(cli: Cli, ids: Ids) -> None:
    """Variant, the run that made it, and the model that it was made from."""
    lines = cli("lineage", ids.student).out.splitlines()
    assert lines[0] == f"docs/variant/student  {short(ids.student)}"
    assert lines[1].startswith("└── run make.student  ")
    assert lines[2] == f"    └── docs/model  {short(ids.model)}"
    assert len(lines) == 3


def test_verify_says_that_nothing_is_signed(cli: Cli, ids: Ids) -> None:
    """Exit code 0, and the command that signs."""
    said = cli("verify")
    assert said.code == 0
    assert said.out == (
        "Everything is as it was written  21 entries, 16 artifacts\n"
        "Nothing is signed: `headgate checkpoint` signs it."
    )


def test_verify_says_what_was_not_checked(
    cli: Cli, ids: Ids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signatures take a key; a cut-off end takes what was kept, by the signer or by others."""
    cli("checkpoint")
    with Store.open(Path(".headgate")) as store:
        store.append("note", {})
    lines = cli("verify").out.splitlines()
    assert lines[1].endswith(" up to entry 21; 1 after that are not yet.")
    assert lines[2:] == [
        "Whether that is so was not checked: give --key.",
        "You signed the first 21 entries here; they are the same.",
    ]
    with Store.open(Path(".headgate")) as store:
        store.checkpoint(SigningKey.generate())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert cli("verify").out.splitlines()[3:] == [
        "Whether the end was cut off shows a checkpoint kept elsewhere: --checkpoint.",
    ]


def test_verify_names_what_was_changed(cli: Cli, ids: Ids) -> None:
    """Exit code 3, the artifact, and the entry that names it."""
    with Store.open(Path(".headgate")) as store:
        path = store.path_of(ids.model)
    path.chmod(0o644)
    path.write_bytes(b"the m0del")
    said = cli("verify", "--json")
    report = json.loads(said.out)
    assert (said.code, report["ok"]) == (3, False)
    assert [f["reason"] for f in report["findings"]] == ["artifact_changed"]
    table = cli("verify")
    assert table.code == 3
    assert table.out.startswith("1 finding in .headgate  21 entries, 16 artifacts\n")


def test_a_checkpoint_is_printed_to_be_kept_and_says_how_it_is_used(cli: Cli, ids: Ids) -> None:
    """The note alone on stdout; the command that checks it, with the public key, beside it."""
    said = cli("checkpoint")
    assert said.code == 0
    note = Path("kept.txt")
    note.write_text(said.out + "\n", encoding="utf-8")
    key = said.err.split("--key ")[-1].split()[0]
    again = json.loads(cli("checkpoint", "--json").out)
    assert (again["checkpoint"], again["entries"], again["key"]) == (note.read_text(), 21, key)
    good = cli("verify", "--key", key, "--checkpoint", "kept.txt")
    signer = "+".join(key.split("+")[:2])
    assert good.out == (
        "Everything is as it was written  22 entries, 16 artifacts\n"
        f"Signed by {signer} up to entry 21.\n"
        "You signed the first 21 entries here; they are the same.\n"
        "The first 21 entries are those of the checkpoint that was kept."
    )
    Path("key.pub").write_text(key + "\n")
    assert cli("verify", "--key", "key.pub").code == 0


def test_verify_finds_another_signer_and_another_history(cli: Cli, ids: Ids) -> None:
    """Exit code 3 for both; the table says which it is."""
    stranger = SigningKey.generate()
    with Store.open(Path(".headgate")) as store:
        first = next(iter(store.entries()))
        store.checkpoint(stranger)
    forged = Checkpoint.signed(stranger, origin_of(first.id), 5, bytes(32))
    Path("kept.txt").write_text(str(forged), encoding="utf-8")
    said = cli("verify", "--key", str(SigningKey.generate().public), "--json")
    assert said.code == 3
    assert [f["reason"] for f in json.loads(said.out)["findings"]] == ["signer_unknown"]
    assert "give their key as well" in cli("verify", "--key", str(SigningKey.generate().public)).out
    said = cli("verify", "--key", str(stranger.public), "--checkpoint", "kept.txt")
    assert said.code == 3
    assert "Restore the store from a backup" in said.out
    assert "kept_elsewhere_differs  the first 5 entries are not those" in said.out


@pytest.mark.parametrize("damaged", [b"no database at all", None])
def test_verify_lists_a_ledger_that_cannot_even_be_opened(
    cli: Cli, ids: Ids, damaged: bytes | None
) -> None:
    """Garbage, or cut off in its first page: elsewhere the advice is to type `headgate verify`."""
    ledger = Path(".headgate/ledger.sqlite")
    ledger.write_bytes(ledger.read_bytes()[:700] if damaged is None else damaged)
    assert "`headgate verify` lists what is damaged" in cli("history").err
    said = cli("verify")
    assert (said.code, said.err) == (3, "")
    first, _, row, advice = said.out.splitlines()
    assert first == "1 finding in .headgate  nothing could be read"
    assert row.startswith("database_damaged  the ledger is damaged: ")
    assert advice == "Restore the store from a backup; what is damaged proves nothing."
    body = json.loads(cli("verify", "--json").out)
    assert body["ok"] is False
    assert [f["reason"] for f in body["findings"]] == ["database_damaged"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--key", "headgate+1234"), "is no public key"),
        (("--key", "absent.pub"), "absent.pub: cannot be read: No such file"),
        (("--checkpoint", "absent.txt"), "absent.txt: cannot be read: No such file"),
        (("--checkpoint", "headgate.yaml"), "headgate.yaml: is no checkpoint"),
    ],
)
def test_verify_says_what_is_wrong_with_what_it_was_given(
    cli: Cli, ids: Ids, arguments: tuple[str, str], message: str
) -> None:
    """Exit code 2, and nothing is said about the store."""
    Path("headgate.yaml").write_text("endpoint: docs\n")
    said = cli("verify", *arguments)
    assert said.code == 2
    assert message in said.err


@pytest.mark.parametrize("why", ["", " "])
def test_a_fork_without_a_reason_signs_nothing(cli: Cli, ids: Ids, why: str) -> None:
    """The reason is what goes on record; exit code 2."""
    said = cli("checkpoint", "--fork", why)
    assert said.code == 2
    assert "why a history of its own begins was not said" in said.err
    assert "Nothing is signed" in cli("verify").out


@pytest.mark.parametrize("inline", [False, True])
def test_a_private_key_in_place_of_a_public_one_is_not_shown(
    cli: Cli, ids: Ids, *, inline: bool
) -> None:
    """A mistake of a moment does not write it into a log."""
    SigningKey.generate().write(Path("signing-key.pem"))
    secret = Path("signing-key.pem").read_text(encoding="utf-8")
    said = cli("verify", "--key", secret if inline else "signing-key.pem")
    assert said.code == 2
    assert "'-----BEGIN PRIVATE KEY-----' is no public key" in said.err
    assert secret.splitlines()[1] not in said.err + said.out


def test_what_is_promoted_is_signed_and_the_key_is_told_once(
    cli: Cli, ids: Ids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever never heard of keys has one after the first promotion, and is told where."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "fresh"))
    first = cli("promote", ids.accepted)
    assert first.code == 0
    assert f"was made: {tmp_path / 'fresh' / 'headgate' / 'signing-key.pem'}" in first.err
    key = next(line.strip() for line in first.err.splitlines() if line.startswith("  headgate+"))
    second = cli("rollback", "--why", "drill")
    assert "was made" not in second.err
    assert cli("verify", "--key", key).code == 0
    with Store.open(Path(".headgate")) as store:
        assert [e.kind for e in store.entries()][-4:] == [
            "release", "checkpoint", "release", "checkpoint",
        ]  # fmt: skip


def test_a_promotion_stands_where_no_key_can_be_kept(
    cli: Cli, ids: Ids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home that cannot be written is no reason to fail: the promotion holds, unsigned."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    said = cli("promote", ids.accepted)
    assert said.code == 0
    assert "The ledger was not signed: " in said.err
    assert "HEADGATE_KEY" in said.err
    assert cli("checkpoint").code == 1
    assert cli("verify").out.endswith("Nothing is signed: `headgate checkpoint` signs it.")


def test_gc_says_what_it_removed(cli: Cli, ids: Ids) -> None:
    """What the fixture's decisions judged without registering it, stays: entries name it."""
    with Store.open(Path(".headgate")) as store:
        store.put_bytes(bytes(1_500_000))
    assert cli("gc").out == "Removed 1 artifact that no entry names  1.43 MiB"
    assert json.loads(cli("gc", "--json").out) == {"files": 0, "freed_bytes": 0}
    assert cli("verify").code == 0


def test_a_ledger_that_was_changed_under_its_signature_is_no_footnote(cli: Cli, ids: Ids) -> None:
    """A promotion that finds the signed entries changed does nothing, and ends with exit code 3."""
    cli("checkpoint")
    with Store.open(Path(".headgate")) as store:
        first = next(iter(store.entries()))
        other = Checkpoint.signed(SigningKey.generate(), origin_of(first.id), 9, bytes(32))
        store.append("checkpoint", {"note": str(other)})
    for command in (("promote", ids.accepted), ("rollback",)):
        said = cli(*command)
        assert said.code == 3
        assert "the first 9 entries are not those that were signed" in said.err
    assert generations() == [0]


def generations() -> list[int]:
    with Store.open(Path(".headgate")) as store:
        return [release.generation for _, release in store.history("docs")]


def written_anew() -> dict[object, str]:
    """The store as a forger leaves it: all that was there and a note, but no checkpoint. What the
    entries are called now, by what they were called."""
    renamed: dict[object, str] = {}
    with Store.open(Path(".headgate")) as store, Store.open(Path("forged"), create=True) as forged:
        forged.append("note", {"by": "the forger"})
        for entry in store.entries():
            if entry.kind != "checkpoint":
                known = {k: renamed[v] for k, v in entry.body.items() if str(v) in renamed}
                written = forged.append(entry.kind, entry.body | known)
                renamed[entry.id] = written.id
    shutil.move("forged/ledger.sqlite", ".headgate/ledger.sqlite")
    return renamed


def test_nothing_is_done_on_the_word_of_a_ledger_that_was_written_anew(cli: Cli, ids: Ids) -> None:
    """promote, rollback, checkpoint, gc and verify end with 3 and change nothing; once its owner
    says that it is his, all is as before, and said where it is verified."""
    cli("checkpoint")
    accepted = written_anew()[ids.accepted]
    with Store.open(Path(".headgate")) as store:
        garbage = store.put_bytes(b"what the honest ledger named")
        entries = list(store.entries())
    for command in (("promote", accepted), ("rollback",), ("checkpoint",), ("gc",)):
        said = cli(*command)
        assert said.code == 3, command
        assert "another ledger was signed here" in said.err
        assert "`headgate checkpoint --fork WHY`" in said.err
    table = cli("verify")
    assert (table.code, "not_what_was_signed" in table.out) == (3, True)
    with Store.open(Path(".headgate")) as store:
        assert store.has(garbage)
        assert list(store.entries()) == entries
    forked = json.loads(cli("checkpoint", "--fork", "I merged two stores", "--json").out)
    report = json.loads(cli("verify", "--key", forked["key"], "--json").out)
    assert (report["ok"], report["unsigned"], len(report["forks"])) == (True, 0, 1)
    assert report["remembered"] == report["signed"] == forked["entries"]
    lines = cli("verify").out.splitlines()
    fork = short(report["forks"][0])
    assert f"Forked from another ledger: `headgate show {fork}` says why." in lines
    assert f"You signed the first {report['signed']} entries here; they are the same." in lines
    assert "I merged two stores" in cli("show", fork).out
    assert cli("promote", accepted).code == 0
    assert cli("gc").code == 0


def test_a_promotion_in_a_copy_stands_unsigned(cli: Cli, ids: Ids) -> None:
    """A copy is no forgery: what is tried there is the user's business, and is not vouched for."""
    cli("checkpoint")
    shutil.copytree(".headgate", "copy/.headgate")
    said = cli("promote", ids.accepted, "--store", "copy/.headgate")
    assert said.code == 0
    assert "The ledger was not signed: " in said.err
    assert "this is a copy of the ledger in " in said.err
    assert cli("gc", "--store", "copy/.headgate").code == 0
    assert cli("promote", ids.accepted).err.count("not signed") == 0


def test_what_is_unsigned_is_counted_for_machines(cli: Cli, ids: Ids) -> None:
    """As people read it: entries after the last checkpoint that was checked, itself aside."""
    assert json.loads(cli("verify", "--json").out)["unsigned"] == 21
    cli("checkpoint")
    with Store.open(Path(".headgate")) as store:
        store.append("note", {})
    report = json.loads(cli("verify", "--json").out)
    assert (report["signed"], report["unsigned"], report["forks"]) == (21, 1, [])
    stranger = str(SigningKey.generate().public)
    report = json.loads(cli("verify", "--key", stranger, "--json").out)
    assert (report["signed"], report["unsigned"]) == (0, 23)


def test_where_the_store_was_removed_the_next_optimize_is_told_and_signs(
    cli: Cli, ids: Ids, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its owner removed it, and sees that it is gone; nobody has to type anything. What is new is
    signed before there is work, so that nothing else can take its place meanwhile."""
    cli("checkpoint")
    begin(Path(".headgate"))
    assert capsys.readouterr().err == ""
    shutil.rmtree(".headgate")
    begin(Path(".headgate"))
    assert "which was signed in .headgate, is gone; another ledger begins." in (
        " ".join(capsys.readouterr().err.split())
    )
    with Store.open(Path(".headgate"), create=True) as store:
        store.append("note", {})
        sign(store)
        kinds = [entry.kind for entry in store.entries()]
    assert kinds == ["fork", "checkpoint", "note", "checkpoint"]
    begin(Path(".headgate"))
    assert capsys.readouterr().err == ""


def test_optimize_does_nothing_in_a_store_that_was_written_anew(cli: Cli, ids: Ids) -> None:
    """Said before the work, and not after hours of it."""
    cli("checkpoint")
    written_anew()
    with pytest.raises(Tampered, match="another ledger was signed here"):
        begin(Path(".headgate"))


def test_a_server_says_at_once_that_its_ledger_was_written_anew(
    cli: Cli, ids: Ids, caplog: pytest.LogCaptureFixture
) -> None:
    """And serves: whether to is for people to say. It signs nothing, and says that too."""
    cli("checkpoint")
    written_anew()
    with Store.open(Path(".headgate")) as store:
        with signing(store) as signs:
            assert "another ledger was signed here" in caplog.text
            assert signs is not None
            with pytest.raises(Tampered):
                signs()
        assert not list(store.entries("checkpoint"))
    assert "the ledger was not signed: " in caplog.text


def test_a_server_signs_with_the_key_that_is_there_and_makes_none(
    ids: Ids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without one it says so, and serves; with one what came last is signed in the end."""
    caplog.set_level("WARNING", "headgate.cli")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "fresh"))
    with Store.open(tmp_path / ".headgate") as store:
        with signing(store) as signs:
            assert signs is None
        assert "signed by your next command" in caplog.text
        assert not (tmp_path / "fresh").exists()
        key, _ = users_key()
        with signing(store) as signs:
            assert signs is not None
            signs()
            store.append("incident", {"n": 1})
        assert [e.kind for e in store.entries()][-3:] == ["checkpoint", "incident", "checkpoint"]
        assert store.verify(keys=[key.public]).unsigned == 0
        shutil.copytree(tmp_path / ".headgate", tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copy, signing(copy):
        pass
    assert "the ledger was not signed: " in caplog.text
