"""export: what is on record of a release, in the standards of other tools."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from headgate.ledger import Store
from headgate.ledger.signing import users_key
from headgate.objects import short
from tests.attestations import judge, opened

from .conftest import Cli, Ids, keep


def statements(text: str) -> list[dict[str, Any]]:
    """What the judges read, and found nothing wrong with."""
    key, _ = users_key()
    found = [opened(line, key.public) for line in text.splitlines()]
    for statement in found:
        judge(statement)
    return found


def test_the_current_release_is_exported_without_an_id(cli: Cli, ids: Ids) -> None:
    """Signed statements on stdout, a line each; what they are is said beside them."""
    assert cli("promote", ids.accepted).code == 0
    said = cli("export")
    assert said.code == 0
    found = statements(said.out)
    key, _ = users_key()
    assert said.err == f"in-toto statements: {len(found)}, signed by {key.public.signer}\n"
    *_, made, last = found
    assert last["predicate"]["result"] == "PASSED"
    assert last["subject"][0] == {
        "name": "docs/variant/student",
        "digest": {"sha256": ids.student.removeprefix("sha256:")},
    }
    told = [s["predicate"]["buildDefinition"]["externalParameters"] for s in found[:-1]]
    names = {parameters.get("transformation") for parameters in told}
    assert {"make.student", "gate.decide"} <= names
    assert made["predicateType"] == "https://slsa.dev/provenance/v1"


def test_a_decision_that_refused_is_exported_as_a_failure(cli: Cli, ids: Ids) -> None:
    """Writing it down worked: exit code 0."""
    said = cli("export", ids.refused)
    assert said.code == 0
    assert statements(said.out)[-1]["predicate"]["result"] == "FAILED"


def test_what_was_never_judged_claims_no_result(cli: Cli, ids: Ids) -> None:
    """Generation 0 has provenance alone."""
    found = statements(cli("export").out)
    assert {s["predicateType"] for s in found} == {"https://slsa.dev/provenance/v1"}
    assert found[0]["predicate"]["buildDefinition"]["externalParameters"] == {
        "transformation": "make.baseline",
        "configuration": {"code": "sha256:c0de", "layers": 3},
        "seed": 0,
    }


def test_a_file_is_named_after_what_it_is_about(cli: Cli, ids: Ids) -> None:
    """Its path on stdout; the same bytes as without, and nothing else in the directory."""
    said = cli("export", ids.accepted, "--output", "out/deep")
    path = Path("out/deep") / f"docs-{short(ids.student)}.intoto.jsonl"
    assert (said.code, said.out) == (0, str(path))
    assert list(path.parent.iterdir()) == [path]
    assert path.read_text().rstrip("\n") == cli("export", ids.accepted).out


def test_json_says_the_same_to_machines(cli: Cli, ids: Ids) -> None:
    """With the documents, or with the file that has them."""
    key, _ = users_key()
    whole = json.loads(cli("export", ids.accepted, "--json").out)
    assert (whole["format"], whole["endpoint"]) == ("intoto", "docs")
    assert (whole["subject"], whole["decision"]) == (ids.student, ids.accepted)
    assert whole["key"] == str(key.public)
    assert whole["count"] == len(whole["documents"])
    assert whole["file"] is None
    statements("\n".join(json.dumps(d) for d in whole["documents"]))
    written = json.loads(cli("export", ids.accepted, "--json", "--output", "out").out)
    assert (written["count"], written["documents"]) == (whole["count"], [])
    assert len(Path(written["file"]).read_text().splitlines()) == whole["count"]


def test_the_traces_of_what_was_served_are_exported(cli: Cli, ids: Ids) -> None:
    """They are signed by nobody, and need no key."""
    with Store.open(Path(".headgate")) as store:
        line = b'{"release":"docs@0","request_id":"a","at":"2026-01-01T00:00:00Z","status":200,'
        keep(
            store, "traces", line + b'"total_s":0.5,"tokens":3}\n', "jsonl", "traces/generation-0",
            lineage=(ids.baseline,),
        )  # fmt: skip
    said = cli("export", "--format", "otel")
    assert said.code == 0
    assert said.err == "batches of spans: 1\n"
    (span,) = json.loads(said.out)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert span["name"] == "embeddings"
    assert json.loads(cli("export", "--format", "otel", "--json").out)["key"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--format", "prov"), 2, "--format: there is no format 'prov'"),
        (("--format", "otel"), 2, "there are no batches of spans of "),
        (("0000",), 2, "nothing here has an id that begins with 0000"),
        (("--endpoint", "other"), 2, "there is no endpoint 'other'"),
        (("--output", "taken"), 1, "cannot be written: File exists"),
        (("--bundle", "."), 2, "--bundle: . is a directory"),
        (("--bundle", "docs.hgb", "--format", "otel"), 2, "of one format, and takes no --format"),
        (("--bundle", "docs.hgb", "--output", "out"), 2, "of one format, and takes no --output"),
    ],
)
def test_what_is_wrong_is_said_and_what_to_do(
    cli: Cli, ids: Ids, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """Nothing is on stdout, no file is left."""
    Path("taken").write_text("mine")
    before = sorted(Path().iterdir())
    said = cli("export", *arguments)
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    assert "  what to do: " in said.err
    assert sorted(Path().iterdir()) == before


def test_what_came_from_outside_has_nothing_to_tell(cli: Cli, ids: Ids) -> None:
    """No step of ours made it, and nobody judged it."""
    said = cli("export", ids.model)
    assert said.code == 2
    assert f"there are no in-toto statements of {short(ids.model)}" in said.err


def test_a_file_that_was_there_stays_where_the_evidence_is_broken(cli: Cli, ids: Ids) -> None:
    """Exit code 3: what does not match its digest is signed by nobody."""
    assert cli("export", ids.accepted, "--output", "out").code == 0
    (path,) = Path("out").iterdir()
    before = path.read_bytes()
    with Store.open(Path(".headgate")) as store:
        changed = store.path_of(ids.student)
    changed.chmod(0o644)
    changed.write_bytes(changed.read_bytes().replace(b"student", b"st_dent"))
    said = cli("export", ids.accepted, "--output", "out")
    assert said.code == 3
    assert path.read_bytes() == before


def test_a_key_that_others_may_read_signs_nothing(
    cli: Cli, ids: Ids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, and how to mend it."""
    key = tmp_path / "key.pem"
    key.write_text("x")
    key.chmod(0o644)
    monkeypatch.setenv("HEADGATE_KEY", str(key))
    said = cli("export")
    assert (said.code, said.out) == (3, "")
    assert "chmod 600" in said.err


@pytest.mark.parametrize("arguments", [(), ("--format", "otel"), ("--bundle", "docs.hgb")])
def test_nothing_is_exported_of_a_ledger_that_is_not_the_one_that_was_signed(
    cli: Cli, ids: Ids, arguments: tuple[str, ...]
) -> None:
    """Exit code 3: a key would vouch elsewhere for what a forger wrote."""
    cli("checkpoint")
    Path(".headgate").rename("honest")
    with Store.open(Path(".headgate"), create=True) as forged, Store.open(Path("honest")) as honest:
        forged.append("note", {"by": "the forger"})
        for entry in honest.entries():
            if entry.kind != "checkpoint":
                forged.append(entry.kind, entry.body)
    before = sorted(Path().iterdir())
    said = cli("export", *arguments)
    assert (said.code, said.out) == (3, "")
    assert "another ledger was signed here" in said.err
    assert sorted(Path().iterdir()) == before


def test_nothing_of_a_copy_is_signed_by_whoever_signed_the_original(cli: Cli, ids: Ids) -> None:
    """Statements are the ledger's word too, and no key vouches for two histories."""
    cli("checkpoint")
    shutil.copytree(".headgate", "copy/.headgate")
    for more in ((), ("--bundle", "docs.hgb")):
        said = cli("export", ids.accepted, "--store", "copy/.headgate", *more)
        assert (said.code, said.out) == (3, "")
        assert "this is a copy of the ledger in " in said.err
    assert cli("export", ids.accepted).code == 0


def test_a_bundle_is_in_no_other_format(cli: Cli, ids: Ids) -> None:
    """What is asked for and not done is said."""
    for more in (("--format", "otel"), ("--output", "out")):
        said = cli("export", "--bundle", "docs.hgb", *more)
        assert (said.code, said.out) == (2, "")
        assert f"--bundle: a bundle is one file of one format, and takes no {more[0]}" in said.err
