"""Six signals, five questions and six items, asked of the facts of one object."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from headgate.errors import ConfigError, Refused
from headgate.objects import (
    FAILURE_QUESTIONS,
    STANDARDS,
    Action,
    Answer,
    Artifact,
    Axis,
    Bound,
    CheckItem,
    Contract,
    ContractResult,
    Direction,
    Facts,
    FailureNote,
    Limits,
    Measurement,
    Response,
    Signal,
    SignalAndResponse,
    Standard,
    Verdict,
    answers,
    checklist,
    findings,
    planted,
)

LINES = [f.name for f in fields(FailureNote)]
DATASET = STANDARDS["dataset"]
DAY_S = 86_400.0


def healthy(standard: Standard = DATASET, **changes: object) -> Facts:
    facts = Facts("docs/it", "sha256:1", "json", "search", metric_value=standard.contract.limit)
    return replace(facts, **changes)  # type: ignore[arg-type]  # a test's own keywords


def due(facts: Facts, standard: Standard = DATASET) -> dict[str, str]:
    """Question -> response, of those that are answered with yes."""
    replies = answers(standard, facts)
    return {r.question.name: r.response for r in replies if r.answer is Answer.YES}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("kind", STANDARDS)
def test_a_planted_failure_makes_its_own_signal_fire(kind: str, line: str) -> None:
    """Of every kind of object, each line of its failure note: that signal, that response alone."""
    standard = STANDARDS[kind]
    promised = getattr(standard.failure_note, line)
    (found,) = findings(standard, planted(standard, line))
    assert (found.signal, found.response) == (promised.signal, promised.response)


@pytest.mark.parametrize("kind", STANDARDS)
def test_of_a_healthy_object_no_signal_fires(kind: str) -> None:
    """Each question is answered, none with yes, and all six items hold."""
    standard = STANDARDS[kind]
    facts = healthy(standard)
    assert findings(standard, facts) == ()
    assert [r.question for r in answers(standard, facts)] == list(FAILURE_QUESTIONS)
    assert not due(facts, standard)
    assert all(checklist(standard, facts).values())


def test_every_kind_declares_what_its_metric_is_held_to() -> None:
    """A contract like any other: a rationale, an escalation, and what returns."""
    for kind, standard in STANDARDS.items():
        assert standard.kind == kind
        assert standard.contract.bound is Bound.AT_LEAST
        assert standard.contract.rationale


@pytest.mark.parametrize(
    ("changes", "question", "response"),
    [
        ({"age_s": 91 * DAY_S}, "stale", Response.WARN),
        ({"lag_s": 31 * DAY_S}, "stale", Response.WARN),
        ({"present": False}, "malformed", Response.BACKFILL),
        ({"intact": False}, "malformed", Response.REJECT),
        ({"metric_value": 1.0}, "malformed", Response.REJECT),
        ({"metric_value": None}, "malformed", Response.REJECT),
        ({"metric_value": float("nan")}, "malformed", Response.REJECT),
        ({"unfit": "is no JSON"}, "malformed", Response.REJECT),
        ({"gaps": ("docs/it: owned_by: nobody owns it",)}, "unauditable", Response.BLOCK),
        ({"size_bytes": 5 * 2**30}, "too_costly", Response.DOWNSCALE),
    ],
)
def test_a_question_is_answered_with_yes_by_its_own_facts(
    changes: dict[str, object], question: str, response: Response
) -> None:
    """One thing is wrong with a data set, and one response is due."""
    assert due(healthy(**changes)) == {question: response}


@pytest.mark.parametrize(("axis", "question"), [(Axis.LATENCY, "stale"), (Axis.COST, "too_costly")])
def test_a_broken_promise_of_a_variant_stops_it(axis: Axis, question: str) -> None:
    """Late answers and dear ones; a broken promise on quality is the gate's own affair."""
    variant = STANDARDS["variant"]
    assert due(healthy(variant, broken=(axis,)), variant) == {question: Response.BLOCK}
    assert not due(healthy(variant, broken=(Axis.QUALITY,)), variant)


def promised(metric: str, verdict: Verdict, on_breach: Action) -> ContractResult:
    contract = Contract(
        metric, Axis.QUALITY, Bound.AT_MOST, 0.2, "why", on_breach, "command:page", "previous"
    )
    return ContractResult(contract, verdict, 0.3, 0.25, 0.35, 900, "it is far away")


@pytest.mark.parametrize(
    ("on_breach", "response"),
    [
        (Action.WARN, Response.WARN),
        (Action.ROLLBACK, Response.BLOCK),
        (Action.RETRAIN, Response.BACKFILL),
        (Action.ESCALATE, Response.BLOCK),
    ],
)
def test_a_contract_on_data_is_answered_as_it_declares(
    on_breach: Action, response: Response
) -> None:
    """Drift is an inconsistency, and the response is the contract's own."""
    facts = healthy(promised=(promised("drift", Verdict.FAIL, on_breach),))
    assert due(facts) == {"inconsistent": response}


def test_what_cannot_be_told_of_data_stops_like_a_breach_and_says_so() -> None:
    """Not knowing is its own answer, and it never accepts."""
    facts = healthy(promised=(promised("drift", Verdict.UNKNOWN, Action.ROLLBACK),))
    (found,) = findings(DATASET, facts)
    assert found.stops
    reply = answers(DATASET, facts)[2]
    assert (reply.question.name, reply.answer) == ("inconsistent", Answer.UNKNOWN)


def test_a_declared_age_stands_in_the_place_of_the_stated_default() -> None:
    """Older than a quarter, and within what the endpoint itself allows."""
    facts = healthy(age_s=100 * DAY_S, promised=(promised("age", Verdict.PASS, Action.ROLLBACK),))
    assert findings(DATASET, facts) == ()


def test_an_object_that_is_held_to_nothing_lacks_three_items() -> None:
    """No metric, no response, and no check that could have been tested."""
    lacking = [item for item, holds in checklist(None, healthy()).items() if not holds]
    assert lacking == [CheckItem.MEASURED, CheckItem.OWNED, CheckItem.TESTED]


def test_a_signal_that_cannot_fire_fails_the_sixth_item() -> None:
    """A freshness limit without an end is a check that nobody could test; and nothing is promoted
    on it."""
    endless = replace(DATASET, limits=Limits())
    items = checklist(endless, healthy())
    assert not items[CheckItem.TESTED]
    (found,) = findings(endless, healthy())
    assert (found.signal, found.question, found.response) == ("untested", "unauditable", "block")


@pytest.mark.parametrize("signal", [Signal.UNFIT, Signal.BROKEN, Signal.UNTESTED])
def test_a_note_whose_signal_no_failure_can_be_planted_for_is_untested(signal: Signal) -> None:
    """As only another program could have registered it; it stops, and is no error."""
    note = replace(DATASET.failure_note, stale=SignalAndResponse(signal, Response.WARN))
    (found,) = findings(replace(DATASET, failure_note=note), healthy(age_s=1e12))
    assert found.signal is Signal.UNTESTED


@pytest.mark.parametrize("field", ["id", "version", "schema", "owner"])
def test_a_data_set_that_is_only_a_name_is_refused(field: str) -> None:
    """Without a hash, a schema or an owner it is no evidence: ``artifact_incomplete``."""
    given = {"id": "docs/it", "version": "sha256:1", "schema": "jsonl", "owner": "search"}
    with pytest.raises(Refused, match=f"has no {field}") as refused:
        Artifact(**{**given, field: ""}, kind="dataset", size_bytes=1)
    assert refused.value.reason == "artifact_incomplete"
    assert refused.value.exit_code == 3


@pytest.mark.parametrize(
    ("field", "nothing"), [("run", ""), ("dataset", ""), ("artifact", ""), ("seed", None)]
)
def test_a_metric_without_its_origin_is_refused(field: str, nothing: object) -> None:
    """Run, evaluation data set, seed and model artifact: ``metric_unauditable``."""
    given = {"run": "r", "dataset": "d", "artifact": "a", "seed": 0}
    numbers = {"value": 0.9, "compared": 0.9, "low": 0.8, "high": 1.0, "n": 100}
    with pytest.raises(Refused, match=f"names no {field}") as refused:
        Measurement(
            metric="accuracy",
            unit="fraction",
            statistic="value",
            direction=Direction.HIGHER,
            **numbers,  # type: ignore[arg-type]  # numbers by their names
            **{**given, field: nothing},  # type: ignore[arg-type]  # one of them is missing
        )
    assert refused.value.reason == "metric_unauditable"


@pytest.mark.parametrize("field", ["rationale", "escalation", "rollback_candidate"])
def test_a_contract_without_what_a_breach_needs_is_refused(field: str) -> None:
    """Why this limit, who is told, what returns: a reason code for each."""
    given = {"rationale": "why", "escalation": "command:page", "rollback_candidate": "previous"}
    with pytest.raises(ConfigError) as refused:
        Contract(
            metric="latency_p95",
            axis=Axis.LATENCY,
            bound=Bound.AT_MOST,
            limit=0.1,
            on_breach=Action.ROLLBACK,
            **{**given, field: " "},
        )
    assert refused.value.reason == f"contract_without_{field}"
