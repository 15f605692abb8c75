"""promote, rollback and history: what is current, and why."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from headgate.errors import Refused
from headgate.ledger import Store
from headgate.objects import Action, Artifact, Build, Release, canonical, short

from .conftest import Cli, Ids, decide
from .test_gate import YAML

FOLLOWED = "Servers that are running take it over within seconds; none needs a restart.\n"


def test_an_accepted_decision_becomes_current(cli: Cli, ids: Ids) -> None:
    """Generation 1, with the decision that it stands on."""
    said = cli("promote", ids.accepted)
    assert said.code == 0
    assert said.out == f"docs is at generation 1: student  variant {short(ids.student)}"
    assert said.err == FOLLOWED
    newest = json.loads(cli("history", "--json").out)[-1]
    assert newest["variant"] == ids.student
    assert newest["decision"] == ids.accepted


def test_the_first_promotion_makes_the_baseline_generation_0(cli: Cli, ids: Ids) -> None:
    """So that there is something to roll back to; a decision that was refused makes neither."""
    with Store.open(Path(".headgate")) as store:
        newer = json.loads(store.read(ids.student)) | {"endpoint": "fresh"}
        versions = {
            "student": store.put_bytes(canonical(newer)),
            "baseline": ids.baseline,
        }
        refused = decide(store, versions, Action.ROLLBACK)
        accepted = decide(store, versions, Action.ACCEPT)
    assert cli("promote", refused).code == 3
    assert cli("history", "--endpoint", "fresh").code == 2
    assert cli("promote", accepted).code == 0
    releases = json.loads(cli("history", "--endpoint", "fresh", "--json").out)
    assert [(r["generation"], r["name"]) for r in releases] == [(0, "baseline"), (1, "student")]


def test_the_newest_decision_on_the_same_two_counts(cli: Cli, ids: Ids) -> None:
    """An older one that accepts is no way around one that does not, until a newer one accepts."""
    versions = {"student": ids.student, "baseline": ids.baseline}
    with Store.open(Path(".headgate")) as store:
        decide(store, versions, Action.UNKNOWN)
    said = cli("promote", ids.accepted)
    assert said.code == 3
    assert "a later decision on the same two is unknown: it says unknown" in said.err
    with Store.open(Path(".headgate")) as store:
        newer = decide(store, versions, Action.ACCEPT)
    assert newer != ids.accepted
    assert cli("promote", ids.accepted).code == 0


def test_what_the_endpoint_leaves_open_stops_a_promotion(cli: Cli, ids: Ids) -> None:
    """A gap of headgate.yaml counts here as it does in `optimize --promote`."""
    for name in ("model.onnx", "evaluate.jsonl"):
        Path(name).touch()
    Path("headgate.yaml").write_text(
        "endpoint: docs\nowner: {team: t, escalate: 'command:x'}\ntask: classify\n"
        "model: {onnx: model.onnx}\ndata: {evaluate: evaluate.jsonl}\n"
        "workload: {rate_per_s: 1}\n",
        encoding="utf-8",
    )
    said = cli("promote", ids.accepted)
    assert said.code == 3
    assert said.err.startswith(
        f"headgate: {Path.cwd()}/headgate.yaml: contracts: none is declared; stated defaults were "
    )


def test_who_promotes_or_rolls_back_is_told_of_the_index(cli: Cli, ids: Ids) -> None:
    """A release of an encoder names the build whose vectors its queries must meet; a rollback goes
    back to the index of what it restores, and both say so. The student of the other tests makes
    the vectors of the baseline, and nobody is told anything."""
    with Store.open(Path(".headgate")) as store:
        body = json.loads(store.read(ids.student))
        body["build"]["files"] = {"model.onnx": "another"}
        versions = {"student": store.put_bytes(canonical(body)), "baseline": ids.baseline}
        accepted = decide(store, versions, Action.ACCEPT)
        student, baseline = (
            Build(**json.loads(store.read(version))["build"]).version
            for version in versions.values()
        )
    promoted = json.loads(cli("promote", accepted, "--json").out)
    assert promoted["extra"]["index"] == student
    assert promoted["index_change"] == (
        f"its queries need the index made by build {short(student)}: rebuild it with this release, "
        f"or restore it; until now it was made by build {short(baseline)}"
    )
    back = json.loads(cli("rollback", "--json").out)
    assert back["extra"]["restores"] == "0"
    assert f"the index made by build {short(baseline)}" in back["index_change"]
    assert f"until now it was made by build {short(baseline)}" in cli("promote", accepted).err


def test_a_variant_stands_for_its_newest_decision(cli: Cli, ids: Ids) -> None:
    """The report shows the variant's id too."""
    assert json.loads(cli("promote", short(ids.student), "--json").out)["generation"] == 1


def test_a_decision_that_did_not_accept_promotes_nothing(cli: Cli, ids: Ids) -> None:
    """Exit code 3, its reason, and the history as it was."""
    said = cli("promote", ids.refused)
    assert said.code == 3
    assert said.err == (
        f"headgate: promotion of {short(ids.student)}: the decision is rollback: it says rollback\n"
        "  what to do: only a decision to accept (or warn) can be promoted\n"
    )
    assert [r["generation"] for r in json.loads(cli("history", "--json").out)] == [0]


@pytest.mark.parametrize(("later", "what"), [(False, "optimize --fresh --promote"), (True, "")])
def test_what_to_type_instead_names_the_file_as_it_was_given(
    cli: Cli, ids: Ids, later: bool, what: str
) -> None:
    """Of a decision that does not know, and of one that a newer one overtook."""
    Path("at home").mkdir()
    for name in ("model.onnx", "evaluate.jsonl", "holdout.jsonl"):
        Path("at home", name).touch()
    Path("at home", "headgate.yaml").write_text(YAML, encoding="utf-8")
    versions = {"student": ids.student, "baseline": ids.baseline}
    with Store.open(Path(".headgate")) as store:
        unknown = decide(store, versions, Action.UNKNOWN)
    given = ids.accepted if later else unknown
    said = cli("promote", given, "-f", "at home/headgate.yaml", "--store", ".headgate")
    assert said.code == 3
    assert f"`headgate {what or 'optimize'} 'at home/headgate.yaml'`" in said.err
    shown = f"`headgate show {short(unknown)} -f 'at home/headgate.yaml' --store .headgate`"
    assert (shown in said.err) is later


def test_of_a_store_elsewhere_the_numbers_are_shown_by_what_is_printed(cli: Cli, ids: Ids) -> None:
    """A decision on what was never planned for serving."""
    with Store.open(Path(".headgate")) as store:
        model = store.put_bytes(canonical({"no": "variant"}))
        versions = {"student": model, "baseline": ids.baseline}
        unknown = decide(store, versions, Action.UNKNOWN)
    Path("at home").mkdir()
    Path(".headgate").rename("at home/.headgate")
    said = cli("promote", short(unknown), "-f", "at home")
    assert said.code == 3
    command = said.err.split("`")[1]
    assert command == f"headgate show {short(unknown)} -f 'at home'"
    assert "UNKNOWN" in cli(*shlex.split(command)[1:]).out


def test_promoting_what_is_current_changes_nothing(cli: Cli, ids: Ids) -> None:
    """It is what was asked for, so a script may repeat it; nothing is recorded."""
    cli("promote", ids.accepted)
    said = cli("promote", ids.accepted)
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        f"already current: generation 1 of docs, student  variant {short(ids.student)}"
    )
    again = json.loads(cli("promote", ids.accepted, "--json").out)
    assert (again["generation"], again["already"]) == (1, True)
    assert len(json.loads(cli("history", "--json").out)) == 2
    assert cli("promote", ids.refused).code == 3


def test_a_decision_against_what_is_current_no_more_is_refused(cli: Cli, ids: Ids) -> None:
    """By ids that fit on a line."""
    with Store.open(Path(".headgate")) as store:
        other = json.loads(store.read(ids.student)) | {"truncate": True}
        version = store.put_bytes(canonical(other))
        late = decide(store, {"student": version, "baseline": ids.baseline}, Action.ACCEPT)
    cli("promote", ids.accepted)
    said = cli("promote", late)
    assert said.code == 3
    assert (
        f"the decision is about the current {short(ids.baseline)}, not {short(ids.student)}\n"
        in said.err
    )
    assert "sha256" not in said.err


def test_something_else_cannot_be_promoted(cli: Cli, ids: Ids) -> None:
    """A model is not a decision."""
    said = cli("promote", ids.model)
    assert said.code == 2
    assert "is neither a decision nor a variant that was judged" in said.err


def test_rollback_brings_the_previous_release_back(cli: Cli, ids: Ids) -> None:
    """As a new generation, with the reason; the history keeps all three."""
    cli("promote", ids.accepted)
    said = cli("rollback", "--why", "too slow")
    assert said.code == 0
    assert " ".join(said.out.split()) == (
        f"docs is at generation 2: baseline again, as in generation 0 variant {short(ids.baseline)}"
    )
    assert said.err == FOLLOWED
    lines = cli("history").out.splitlines()
    assert lines[0] == "docs  the first line is current; times are UTC"
    assert [line.split()[:2] for line in lines[2:] if line.split()[0].isdigit()] == [
        ["2", "baseline"],
        ["1", "student"],
        ["0", "baseline"],
    ]


def test_a_rollback_without_a_reason_says_what_it_restored(cli: Cli, ids: Ids) -> None:
    """The history has no line without a note."""
    cli("promote", ids.accepted)
    cli("rollback")
    assert cli("history").out.splitlines()[2].endswith("generation 0 again")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_word_of_a_history_is_broken(
    cli: Cli, ids: Ids, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """The note takes what is left; where that is too little, the decision's id gives way."""
    cli("promote", ids.accepted)
    cli("rollback", "--why", "uninterruptible benchmarks disagreed")
    monkeypatch.setenv("COLUMNS", str(width))
    lines = cli("history").out.splitlines()[1:]
    words = " ".join(lines).split()
    assert {"baseline", "student", "uninterruptible", "benchmarks", short(ids.student)} <= {*words}
    assert max(map(len, lines)) <= width
    assert ("decision" in lines[0]) == (short(ids.accepted) in words) == (width >= 80)


def test_the_baseline_has_nothing_before_it(cli: Cli, ids: Ids) -> None:
    """Exit code 3."""
    assert cli("rollback").code == 3


def test_several_endpoints_need_a_name(cli: Cli, ids: Ids) -> None:
    """Which one is never guessed."""
    with Store.open(Path(".headgate")) as store:
        store.promote(Release("faq", 0, ids.baseline, None), expected_generation=None)
    said = cli("history")
    assert said.code == 2
    assert said.err == (
        "headgate: .headgate: there are 2 endpoints\n  what to do: give --endpoint, one of: docs, "
        "faq\n"
    )
    assert cli("history", "--endpoint", "faq").code == 0
    assert "there is no endpoint 'fax'" in cli("history", "--endpoint", "fax").err


def test_a_store_without_releases_says_how_to_get_one(cli: Cli) -> None:
    """The first command after `optimize` without --promote."""
    with Store.open(Path(".headgate"), create=True):
        pass
    said = cli("serve")
    assert said.code == 2
    assert said.err == (
        "headgate: .headgate: nothing was ever released here\n"
        "  what to do: type `headgate optimize --promote headgate.yaml`\n"
    )


@pytest.mark.parametrize("command", ["serve", "history", "rollback"])
def test_a_file_stands_for_the_endpoint_that_it_names(cli: Cli, ids: Ids, command: str) -> None:
    """Another one in its store is not served in its place, nor rolled back."""
    Path("faq.yaml").write_text("endpoint: faq\n", encoding="utf-8")
    said = cli(command, "-f", "faq.yaml")
    assert said.code == 2
    assert said.err == (
        "headgate: .headgate: faq.yaml names the endpoint faq, and released here is docs\n"
        "  what to do: type `headgate optimize --promote faq.yaml`, or say which with --endpoint\n"
    )


def test_of_several_endpoints_the_file_says_which(cli: Cli, ids: Ids) -> None:
    """``--endpoint`` says more than the file."""
    with Store.open(Path(".headgate")) as store:
        store.promote(Release("faq", 0, ids.baseline, None), expected_generation=None)
    for name in ("docs", "faq"):
        Path(f"{name}.yaml").write_text(f"endpoint: {name}\n", encoding="utf-8")
        assert cli("history", "-f", f"{name}.yaml").out.startswith(f"{name}  ")
    assert cli("history", "-f", "docs.yaml", "--endpoint", "faq").out.startswith("faq  ")


@pytest.mark.parametrize("command", ["serve", "history"])
def test_what_was_optimized_and_not_released_can_be_served_as_it_is(
    cli: Cli, ids: Ids, command: str
) -> None:
    """By the file as it was given."""
    with Store.open(Path(".headgate")) as store:
        artifact = Artifact(
            "faq/variant/baseline", ids.baseline, "variant", "json Servable", "search", 9
        )
        store.register(artifact)
    Path("my faq.yaml").write_text("endpoint: faq\n", encoding="utf-8")
    said = cli(command, "-f", "my faq.yaml")
    assert said.code == 2
    assert "faq was optimized, and nothing of it is released\n" in said.err
    assert f"`headgate serve -f 'my faq.yaml' --variant {short(ids.baseline)}` serves" in said.err
    assert "`headgate optimize --promote 'my faq.yaml'` releases it" in said.err


def test_the_store_is_beside_the_file_that_is_named(cli: Cli, ids: Ids) -> None:
    """-f names headgate.yaml or its directory; --store names the store itself."""
    Path("elsewhere").mkdir()
    Path("headgate.yaml").touch()
    for arguments in (["-f", "headgate.yaml"], ["-f", "."], ["--store", ".headgate"]):
        assert cli("history", *arguments).code == 0
    said = cli("history", "-f", "elsewhere")
    assert said.code == 2
    assert "type `headgate optimize elsewhere`, which makes one" in said.err


@pytest.mark.parametrize("command", ["serve", "history", "rollback", "verify"])
def test_a_file_that_is_not_there_is_named(cli: Cli, ids: Ids, command: str) -> None:
    """The store beside it would be another's, or none."""
    said = cli(command, "-f", "nosuch.yaml")
    assert said.code == 2
    assert said.err == (
        "headgate: nosuch.yaml: there is no such file\n"
        "  what to do: give -f the headgate.yaml, or the directory that holds it\n"
    )


def test_own_functions_that_changed_since_they_were_judged_are_not_served(tmp_path: Path) -> None:
    """What serves must be what was measured."""
    from dataclasses import replace

    from headgate.config import source_digest
    from headgate.runtime.loading import own_functions

    from .conftest import servable

    own = tmp_path / "own.py"
    own.write_text("def clean(item):\n    return item.strip()\n", encoding="utf-8")
    build = replace(servable("x").build, preprocess=source_digest("own:clean", tmp_path))
    judged = replace(servable("x"), build=build, preprocess="own:clean")
    before, after = own_functions(judged, tmp_path)
    assert before is not None
    assert before(" a ") == "a"
    assert after is None
    own.write_text("def clean(item):\n    return item\n", encoding="utf-8")
    with pytest.raises(Refused, match="not the source that this release was judged with"):
        own_functions(judged, tmp_path)


def test_a_second_rollback_names_what_is_current_and_what_that_was(cli: Cli, ids: Ids) -> None:
    """Generation 2 is current then, with what generation 0 had; 0 itself is history."""
    cli("promote", ids.accepted)
    cli("rollback")
    said = cli("rollback")
    assert said.code == 3
    told = "generation 2 is current, and is generation 0, the baseline, again; there is nothing"
    assert told in said.err


def test_a_decision_that_is_refused_says_its_times_as_everywhere(cli: Cli, ids: Ids) -> None:
    """As durations, and money without exponents."""
    because = "latency_p95 = 0.0412 (at best 0.0401 at 95 %) breaks 0.04; cost_per_1k = 1.2345e-05"
    versions = {"student": ids.student, "baseline": ids.baseline}
    with Store.open(Path(".headgate")) as store:
        refused = decide(store, versions, Action.ROLLBACK, because)
    said = cli("promote", refused).err
    assert "latency_p95 = 41.2 ms (at best 40.1 ms at 95 %) breaks 40.0 ms" in said
    assert "cost_per_1k = 0.0000123" in said
