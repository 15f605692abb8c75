"""audit: what is unauditable, what is asked of one object, and what promote says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.ledger import Store, hold
from headgate.objects import Artifact, short

from .conftest import Cli, Ids


def forget_standard(version: str) -> None:
    """The object is registered again, held to nothing."""
    with Store.open(Path(".headgate")) as store:
        known = store.get(version).body
        store.append("artifact", {**known, "standard": None})


def test_whole_evidence_is_said_to_be_whole(cli: Cli, ids: Ids) -> None:
    """Exit code 0, and what to type next."""
    said = cli("audit")
    assert said.code == 0
    assert said.out == (
        "Nothing is missing from the evidence  16 objects\n"
        "Ask one of them everything: headgate audit --object ID"
    )
    found = json.loads(cli("audit", "--json").out)
    assert found == {"ok": True, "objects": 16, "findings": [], "told": []}


def test_a_missing_edge_is_listed_with_its_command(cli: Cli, ids: Ids) -> None:
    """Exit code 3; by name, from which object, and what brings it."""
    forget_standard(ids.model)
    said = cli("audit")
    assert said.code == 3
    assert said.out.startswith("1 missing from the evidence  16 objects in .headgate\n")
    assert "\nheld_to  it is held to no metric, contract and failure note  docs/model" in said.out
    assert said.out.endswith("What brings it\n  headgate optimize headgate.yaml")
    (found,) = json.loads(cli("audit", "--json").out)["findings"]
    assert (found["object"], found["id"], found["edge"]) == ("docs/model", ids.model, "held_to")


def test_many_objects_that_lack_the_same_take_one_row(cli: Cli, ids: Ids) -> None:
    """The first three by name; JSON has all."""
    with Store.open(Path(".headgate")) as store:
        for i in range(7):
            version = store.put_bytes(b"%d" % i)
            store.register(Artifact(f"docs/d{i}", version, "dataset", "text", "search", 1))
    said = cli("audit")
    assert said.out.startswith("7 missing from the evidence")
    assert said.out.count("held_to") == 1
    assert "docs/d2 and 4" in " ".join(said.out.split())
    assert len(json.loads(cli("audit", "--json").out)["findings"]) == 7


def test_what_the_endpoints_file_leaves_open_is_listed_too(cli: Cli, ids: Ids) -> None:
    """It stops a promotion like any missing edge."""
    for name in ("model.onnx", "evaluate.jsonl"):
        Path(name).touch()
    Path("headgate.yaml").write_text(
        "endpoint: docs\nowner: {team: t, escalate: 'command:x'}\ntask: classify\n"
        "model: {onnx: model.onnx}\ndata: {evaluate: evaluate.jsonl}\n"
        "workload: {rate_per_s: 1}\n",
        encoding="utf-8",
    )
    said = cli("audit", "--json")
    assert said.code == 3
    (found,) = json.loads(said.out)["findings"]
    assert (found["object"], found["edge"]) == ("headgate.yaml", "contracts")


def test_an_object_answers_five_questions(cli: Cli, ids: Ids) -> None:
    """With its metric, its contract, the six items and the note from before any incident."""
    said = cli("audit", "--object", short(ids.model))
    assert said.code == 0
    assert said.out.startswith(f"docs/model  model {short(ids.model)}\nwhat      weights and graph")
    assert "\nmetric    fits = 1\n" in said.out
    questions = said.out[said.out.index("The five questions") :].splitlines()[2:7]
    assert [line.split("?")[0] for line in questions] == [
        "stale", "malformed", "inconsistent", "unauditable", "too costly",
    ]  # fmt: skip
    assert [line.split("?")[1].split()[0] for line in questions] == [
        "no", "no", "unknown", "no", "no",
    ]  # fmt: skip
    assert said.out.count("\nyes  ") == 6
    assert "corrupted      its content does not match its digest" in said.out


def test_an_object_with_a_finding_ends_with_3(cli: Cli, ids: Ids) -> None:
    """A model whose content was changed: rejected, and said so in words and in JSON."""
    with Store.open(Path(".headgate")) as store:
        path = store.path_of(ids.model)
    path.chmod(0o644)
    path.write_bytes(b"the m0del")
    said = cli("audit", "--object", ids.model)
    assert said.code == 3
    assert "malformed?     yes      its content does not match its digest" in said.out
    report = json.loads(cli("audit", "--object", ids.model, "--json").out)
    assert report["ok"] is False
    (found,) = report["findings"]
    assert (found["question"], found["signal"]) == ("malformed", "changed")
    assert found["response"] == "reject"
    assert report["facts"]["intact"] is False


def test_an_object_that_is_held_to_nothing_is_shown_as_such(cli: Cli, ids: Ids) -> None:
    """No question can be answered of it."""
    forget_standard(ids.model)
    said = cli("audit", "--object", ids.model)
    assert said.code == 3
    assert "held to  nothing: no metric, no contract, no failure note" in said.out
    assert said.out.endswith("none was registered")


def test_a_variant_shows_what_it_was_judged_on(cli: Cli, ids: Ids) -> None:
    """The newest decision's contracts, where it has any; none of them here."""
    assert "What it was judged on" not in cli("audit", "--object", ids.student).out


def test_a_promotion_is_refused_with_what_is_missing(cli: Cli, ids: Ids) -> None:
    """Exit code 3, the edge by name, and the command that brings it; nothing is promoted."""
    forget_standard(ids.model)
    said = cli("promote", ids.accepted)
    assert said.code == 3
    assert said.err == (
        f"headgate: promotion of {short(ids.student)}: docs/model: held_to: it is held to no "
        "metric, contract and failure note\n"
        "  what to do: headgate optimize headgate.yaml\n"
    )
    assert [r["generation"] for r in json.loads(cli("history", "--json").out)] == [0]
    error = json.loads(cli("promote", ids.accepted, "--json").out)["error"]
    assert (error["reason"], error["exit_code"]) == ("unauditable", 3)


def test_a_long_refusal_is_cut_and_counted(cli: Cli, ids: Ids) -> None:
    """Five by name; `headgate audit` has all."""
    with Store.open(Path(".headgate")) as store:
        versions = [e.body["version"] for e in store.entries("artifact")]
    for version in dict.fromkeys(versions):
        forget_standard(version)
    said = cli("promote", ids.accepted)
    assert said.code == 3
    assert said.err.count("held_to") == 5
    assert " more\n" in said.err


@pytest.mark.parametrize("name", ["docs@0", "0"])
def test_a_release_is_asked_by_its_generation(cli: Cli, ids: Ids, name: str) -> None:
    """Or by its entry; the six items and the failure note are shown like any object's."""
    entry = json.loads(cli("history", "--json").out)[0]["entry"]
    said = cli("audit", "--object", name)
    assert said.code == 0
    assert said.out == cli("audit", "--object", entry).out
    assert said.out.startswith(f"docs@0  release {short(entry)}\n")
    assert said.out.count("\nyes  ") == 6
    assert "too expensive  a promise on cost is broken" in said.out


def test_a_generation_that_there_never_was_is_named(cli: Cli, ids: Ids) -> None:
    """Exit code 2, and the newest."""
    said = cli("audit", "--object", "docs@7")
    assert said.code == 2
    assert "docs has no generation 7; the newest is 0" in said.err


def test_a_decision_and_a_run_are_asked_too(cli: Cli, ids: Ids) -> None:
    """A decision by its run, as a report names it; the items are codes in JSON."""
    decision = json.loads(cli("audit", "--object", ids.accepted, "--json").out)
    assert (decision["kind"], decision["ok"]) == ("decision", True)
    assert list(decision["checklist"]) == [
        "stated", "named", "measured", "linked", "owned", "tested",
    ]  # fmt: skip
    with Store.open(Path(".headgate")) as store:
        made = store.get(ids.student).body["made_by"]
    said = cli("audit", "--object", made)
    assert said.code == 0
    assert said.out.startswith(f"run make.student  run {short(made)}\n")
    assert "\nmetric    outputs = 1\n" in said.out


def test_what_stops_nobody_is_told_all_the_same(cli: Cli, ids: Ids) -> None:
    """On stderr; by `audit`, and by whoever approves or promotes."""
    with Store.open(Path(".headgate")) as store:
        newer = store.put_bytes(b"a newer model")
        known = store.artifact(ids.model)
        assert known is not None
        hold(store, replace(known, version=newer))
    told = "docs/variant/student: stale: a newer version is known of docs/model; it stops nobody: "
    for command in (("audit",), ("promote", ids.accepted)):
        said = cli(*command)
        assert said.code == 0
        assert told in said.err
    found = json.loads(cli("audit", "--json").out)["told"]
    assert "docs/variant/student" in [notice["object"] for notice in found]
