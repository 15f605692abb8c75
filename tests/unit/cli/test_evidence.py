"""show, compare, lineage and verify on a small store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.ledger import Store
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
    assert f"{short(ids.refused)} is of kind run, " in said.err


def test_lineage_goes_back_to_what_came_from_outside(cli: Cli, ids: Ids) -> None:
    """Variant, the run that made it, and the model that it was made from."""
    lines = cli("lineage", ids.student).out.splitlines()
    assert lines[0] == f"docs/variant/student  {short(ids.student)}"
    assert lines[1].startswith("└── run make.student  ")
    assert lines[2] == f"    └── docs/model  {short(ids.model)}"
    assert len(lines) == 3


def test_verify_gives_the_head_to_keep(cli: Cli, ids: Ids) -> None:
    """Exit code 0, and the one id that commits to all of it."""
    said = cli("verify")
    assert said.code == 0
    with Store.open(Path(".headgate")) as store:
        head = list(store.entries())[-1].id
    assert said.out == (
        "Everything is as it was written  19 entries, 14 artifacts\n"
        f"Keep this elsewhere, to prove it later: {head}"
    )


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
    assert table.out.startswith("1 finding in .headgate  19 entries, 14 artifacts\n")
