"""Evidence as in-toto statements, read by the in-toto project's own code."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.ledger.signing import SigningKey
from headgate.objects import (
    Action,
    Artifact,
    Axis,
    Bound,
    Contract,
    ContractResult,
    Decision,
    Run,
    Verdict,
    digest_bytes,
)
from headgate.report.export import FORMATS, Composed, Dossier, Judged, Ran
from headgate.report.export.intoto import statements
from tests.attestations import judge, opened

INTOTO = FORMATS["intoto"]
KEY = SigningKey.generate()
ENVIRONMENT = {"python": "3.11.7", "architecture": "x86_64", "libraries": {"onnx": "1.18"}}


def version(name: str) -> str:
    return digest_bytes(name.encode())


def hexes(name: str) -> dict[str, str]:
    return {"sha256": version(name).removeprefix("sha256:")}


def result(metric: str, verdict: Verdict, axis: Axis = Axis.QUALITY) -> ContractResult:
    contract = Contract(
        metric, axis, Bound.AT_LEAST, 0.5, "why", Action.ROLLBACK, "command:page", "previous"
    )
    return ContractResult(contract, verdict, 0.6, 0.55, 0.65, 400, "it says so")


ALL_AXES = tuple(result(f"{axis}_metric", Verdict.PASS, axis) for axis in Axis)


def decided(
    action: Action, results: tuple[ContractResult, ...] = ALL_AXES, **fields: Any
) -> Decision:
    return Decision(
        version("variant"), version("baseline"), "holdout", results, action, "because",
        rule=version("rule"), **fields,
    )  # fmt: skip


def dossier(decision: Decision | None = None, **fields: Any) -> Dossier:
    """A model that was quantized, a variant that was put together of it, and its decision."""
    run = Run(
        transformation="quantize.static_int8",
        u={"model": version("fp32")},
        c={"code": version("code"), "bits": 8, "share": 0.25, "names": ["a", None]},
        e=version("environment"),
        z={"model.xml": version("xml"), "model.bin": version("bin")},
        seed=7,
        started_at="2026-01-01T00:00:00.250Z",
        ended_at="2026-01-01T00:01:00.000Z",
    )
    artifact = Artifact(
        "docs/variant/int8", version("variant"), "variant", "json Servable", "search", 10,
        lineage=(version("xml"), version("bin")),
    )  # fmt: skip
    whole = Dossier(
        endpoint="docs",
        subject=version("variant"),
        task="embed",
        steps=(
            Ran(version("entry 1"), run, ENVIRONMENT),
            Composed(version("entry 2"), artifact, "2026-01-01T00:02:00.000001Z"),
        ),
        judged=None
        if decision is None
        else Judged(version("entry 3"), decision, version("case"), (version("holdout"),)),
        names={
            version("fp32"): "docs/model",
            version("variant"): "docs/variant/int8",
            version("xml"): "docs/quantize.static_int8/model.xml",
            version("bin"): "docs/quantize.static_int8/model.bin",
            version("holdout"): "docs/holdout",
        },
    )
    return replace(whole, **fields)


def outcome(decision: Decision) -> dict[str, Any]:
    *_, statement = statements(dossier(decision))
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate: dict[str, Any] = statement["predicate"]
    return predicate


def test_every_statement_is_what_in_toto_reads() -> None:
    """Opened by securesystemslib, validated by in_toto_attestation, without a field too many."""
    lines = list(INTOTO.lines(dossier(decided(Action.ACCEPT)), KEY))
    assert len(lines) == 3
    for line in lines:
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        judge(opened(line, KEY.public))


def test_a_run_is_told_as_what_it_made_of_what_and_how() -> None:
    """z = T(u; c, e) in the words of SLSA; times and ids are the ledger's."""
    made, _ = statements(dossier())
    assert [s["name"] for s in made["subject"]] == [
        "quantize.static_int8/model.xml",
        "quantize.static_int8/model.bin",
    ]
    assert [s["digest"] for s in made["subject"]] == [hexes("xml"), hexes("bin")]
    definition = made["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {
        "transformation": "quantize.static_int8",
        "configuration": {
            "code": version("code"),
            "bits": 8,
            "share": 0.25,
            "names": ["a", None],
        },
        "seed": 7,
    }
    assert definition["internalParameters"] == {"environment": ENVIRONMENT}
    assert definition["resolvedDependencies"] == [
        {"name": "model", "digest": hexes("fp32"), "annotations": {"artifact": "docs/model"}},
        {"name": "environment", "digest": hexes("environment")},
    ]
    details = made["predicate"]["runDetails"]
    assert details["metadata"] == {
        "invocationId": version("entry 1"),
        "startedOn": "2026-01-01T00:00:00.250Z",
        "finishedOn": "2026-01-01T00:01:00.000Z",
    }
    assert details["builder"]["version"] == {"python": "3.11.7", "onnx": "1.18"}


def test_what_was_put_together_names_its_parts() -> None:
    """So that whoever holds the variant's digest gets to the runs that made its files."""
    _, variant = statements(dossier())
    assert variant["subject"] == [{"name": "docs/variant/int8", "digest": hexes("variant")}]
    definition = variant["predicate"]["buildDefinition"]
    assert [d["digest"] for d in definition["resolvedDependencies"]] == [hexes("xml"), hexes("bin")]
    assert variant["predicate"]["runDetails"]["metadata"] == {
        "invocationId": version("entry 2"),
        "finishedOn": "2026-01-01T00:02:00.000001Z",
    }


def test_an_environment_that_is_gone_is_not_made_up() -> None:
    """Its digest is still a dependency."""
    ran, composed = dossier().steps
    assert isinstance(ran, Ran)
    made, _ = statements(dossier(steps=(replace(ran, environment=None), composed)))
    judge(made)
    assert "internalParameters" not in made["predicate"]["buildDefinition"]
    assert "version" not in made["predicate"]["runDetails"]["builder"]
    names = [d["name"] for d in made["predicate"]["buildDefinition"]["resolvedDependencies"]]
    assert names == ["model", "environment"]


def test_the_decision_is_about_the_variant_and_not_about_its_files() -> None:
    """A tokenizer that it shares with one that failed has passed nothing."""
    *_, statement = statements(dossier(decided(Action.ACCEPT)))
    assert statement["subject"] == [{"name": "docs/variant/int8", "digest": hexes("variant")}]
    assert [(c["name"], c["digest"]) for c in statement["predicate"]["configuration"]] == [
        ("case", hexes("case")),
        ("rule", hexes("rule")),
        ("dataset", hexes("holdout")),
    ]


def test_what_was_never_judged_has_no_test_result() -> None:
    """The baseline has provenance and no decision."""
    assert {s["predicateType"] for s in statements(dossier())} == {"https://slsa.dev/provenance/v1"}


def test_a_decision_without_a_rule_names_none() -> None:
    """An older one was made by contracts that were not registered."""
    told = outcome(replace(decided(Action.ACCEPT), rule=None))
    assert [c["name"] for c in told["configuration"]] == ["case", "dataset"]


RESULTS = {
    Action.ACCEPT: "PASSED",
    Action.WARN: "WARNED",
    Action.ROLLBACK: "FAILED",
    Action.RETRAIN: "FAILED",
    Action.ESCALATE: "FAILED",
    Action.UNKNOWN: "FAILED",
    Action.INVALID: "FAILED",
}


@pytest.mark.parametrize("action", Action)
def test_not_to_know_is_no_pass(action: Action) -> None:
    """The predicate has three words, and only what accepts says PASSED."""
    assert outcome(decided(action))["result"] == RESULTS[action]


def test_each_contract_is_listed_by_its_verdict() -> None:
    """Unknown and invalid ones have failed to pass."""
    results = tuple(result(v.value, v) for v in Verdict)
    told = outcome(decided(Action.ROLLBACK, results, missing_axes=(Axis.SAFETY,)))
    held = ["quality is judged", "latency is judged", "cost is judged", "the decision is valid"]
    assert told["passedTests"] == ["pass at least 0.5", *held]
    assert told["warnedTests"] == ["warn at least 0.5"]
    assert told["failedTests"] == [
        "fail at least 0.5",
        "unknown at least 0.5",
        "invalid at least 0.5",
        "safety is judged",
    ]


@pytest.mark.parametrize(
    ("decision", "failed"),
    [
        # Its rule was edited after the samples, though every contract was kept.
        (decided(Action.INVALID), ["the decision is valid"]),
        # An axis has no contract, and so no verdict that could say it.
        (decided(Action.UNKNOWN, missing_axes=(Axis.COST,)), ["cost is judged"]),
    ],
)
def test_what_failed_is_always_named(decision: Decision, failed: list[str]) -> None:
    """FAILED with an empty list would tell nobody why."""
    assert outcome(decision)["failedTests"] == failed


def test_the_same_evidence_gives_the_same_bytes() -> None:
    """Nothing of the moment of the export is in it."""
    twice = [list(INTOTO.lines(dossier(decided(Action.WARN)), KEY)) for _ in range(2)]
    assert twice[0] == twice[1]


def _without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def spoil(statement: dict[str, Any]) -> None:
        place: Any = statement
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        _without("_type"),
        _without("subject"),
        _without("subject", 0, "digest"),
        _without("predicateType"),
        _without("predicate"),
        lambda s: s.update(added=1),
        lambda s: s["predicate"].update(added=1),
        lambda s: s["predicate"]["buildDefinition"]["resolvedDependencies"][0].update(uri=5),
        lambda s: s["predicate"]["runDetails"]["metadata"].update(startedOn="yesterday"),
    ],
)
def test_the_judges_refuse_what_is_spoilt(spoil: Callable[[dict[str, Any]], None]) -> None:
    """A judge that lets everything pass would prove nothing."""
    good = next(statements(dossier()))
    judge(good)
    bad = copy.deepcopy(good)
    spoil(bad)
    with pytest.raises(Exception):  # noqa: B017, PT011  # each judge has its own
        judge(bad)


def test_the_judge_of_signatures_refuses_another_payload() -> None:
    """One byte of the payload, and securesystemslib finds nobody who signed it."""
    line = json.loads(next(INTOTO.lines(dossier(), KEY)))
    line["payload"] = line["payload"].replace("e", "f", 1)
    with pytest.raises(Exception, match="signatures"):
        opened(json.dumps(line), KEY.public)
