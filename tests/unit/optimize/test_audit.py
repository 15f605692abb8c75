"""Failures planted in a real store: each makes its signal fire, and its response happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from headgate.errors import Refused, UsageError
from headgate.ledger import WITHDRAW, Store, hold, hold_release
from headgate.objects import (
    STANDARDS,
    Action,
    Answer,
    Axis,
    Bound,
    Build,
    CheckItem,
    Contract,
    ContractResult,
    Decision,
    Limits,
    Release,
    Verdict,
    canonical,
    parse,
)
from headgate.optimize.audit import (
    Audited,
    audit_candidate,
    audit_object,
    audit_promotion,
    audit_store,
    refuse_unaudited,
)
from headgate.optimize.contents import SCHEMAS, TEXTS, WORKLOAD
from headgate.optimize.recorder import Call, Output, Recorder, transformation
from headgate.runtime.decisions import decisions

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SOON = datetime.now(UTC) + timedelta(hours=1)
TRAIN = b"".join(b'{"id":"%d","text":"%s"}\n' % (i, b"x" * (i % 40 + 1)) for i in range(600))
LONGER = b"".join(b'{"id":"%d","text":"%s"}\n' % (i, b"x" * (i % 40 + 60)) for i in range(600))


@transformation("test.audit.train")
def train(call: Call) -> dict[str, Output]:
    """A model of as many bytes as there are rows."""
    return {"model": Output(b"w" * len(call.path("texts").read_bytes()), "model", "onnx")}


@dataclass(frozen=True)
class Shop:
    """A data set, what learnt from it, the variant that serves that, and its decision."""

    recorder: Recorder
    texts: str
    model: str
    variant: str
    decision: Decision
    entry: str

    @property
    def store(self) -> Store:
        return self.recorder.store

    def found(self, now: datetime) -> Audited:
        return audit_candidate(self.store, self.entry, self.decision, now=now)

    def stops(self, now: datetime = SOON) -> list[tuple[str, str]]:
        return [(stop.object, stop.edge) for stop in self.found(now).stops]

    def told(self, now: datetime = SOON) -> list[tuple[str, str]]:
        return [(told.object, told.edge) for told in self.found(now).told]

    def answers(self, version: str, now: datetime = SOON) -> dict[str, str]:
        """Question -> response, of what is answered with yes."""
        replies = audit_object(self.store, version, now=now).replies
        return {r.question.name: r.response for r in replies if r.answer is Answer.YES}

    def contracts(self, role: str, contract: Contract, **terms: object) -> str:
        """Declares a contract on data, as headgate.yaml and a new job would; its version."""
        body = {role: {"as_of": None, "reference": None, **terms, "contracts": [contract]}}
        version = keep(self.recorder, "data_contracts", body, "contracts")
        self.held_to(version)
        return version

    def held_to(self, contracts: str) -> None:
        keep(
            self.recorder, "variant/new", {"model": self.model}, "variant",
            lineage=(self.model, contracts),
        )  # fmt: skip


Environment = Callable[..., Recorder]


def keep(recorder: Recorder, name: str, value: object, kind: str, **fields: object) -> str:
    version = recorder.store.put_bytes(canonical(value))
    recorder.register(name, version, kind=kind, schema="json", **fields)  # type: ignore[arg-type]  # a test's own keywords
    return version


def rule(metric: str, limit: float, on_breach: Action, axis: Axis = Axis.QUALITY) -> Contract:
    return Contract(
        metric, axis, Bound.AT_MOST, limit, "why", on_breach, "command:page", "previous", min_n=200
    )


def decided(recorder: Recorder, decision: Decision) -> str:
    """The entry of a decision as the gate records it."""
    case = keep(
        recorder, "case/holdout", {"of": decision.candidate}, "samples",
        lineage=(decision.candidate, decision.current),
    )  # fmt: skip
    return recorder.run(replace(GATE, work=lambda call: {
        "decision": Output(canonical(decision), "decision", "json Decision"),
    }), u={"case": case}, c={"action": decision.action}).entry  # fmt: skip


@transformation("test.audit.decide")
def _decide(call: Call) -> dict[str, Output]:
    raise NotImplementedError


GATE = replace(_decide, name="gate.decide")


@pytest.fixture
def shop(new_recorder: Environment, store: Store) -> Shop:
    machine = store.put_bytes(canonical({"python": "3.11"}))
    recorder = new_recorder(environment=machine)
    recorder.register("environment", machine, kind="environment", schema="json profile")
    texts = store.put_bytes(TRAIN)
    recorder.register("train", texts, kind="dataset", schema=TEXTS)
    model = recorder.run(train, u={"texts": texts}, c={}).outputs["model"]
    variant = keep(recorder, "variant/new", {"model": model}, "variant", lineage=(model,))
    baseline = keep(recorder, "variant/baseline", {"model": 0}, "variant", lineage=(model,))
    decision = Decision(variant, baseline, "holdout", (), Action.ACCEPT, "all are kept")
    entry = decided(recorder, decision)
    return Shop(recorder, texts, model, variant, decision, entry)


def test_what_is_whole_may_be_promoted(shop: Shop) -> None:
    """Nothing is missing, nothing fires; every item of every object holds."""
    assert shop.stops() == []
    refuse_unaudited(shop.store, shop.entry, shop.decision, now=SOON)
    assert audit_store(shop.store, now=SOON) == Audited()
    for version in (shop.texts, shop.model, shop.variant):
        audited = audit_object(shop.store, version, now=SOON)
        assert all(audited.checklist.values())
        assert not audited.stops
        assert shop.answers(version) == {}


def test_old_data_warns_and_does_not_stop(shop: Shop) -> None:
    """The stated default of a quarter: its owner is told."""
    assert shop.answers(shop.texts, NOW) == {"stale": "warn"}
    assert shop.stops(NOW) == []
    (told,) = audit_promotion(shop.store, shop.entry, shop.decision, now=NOW).told
    assert (told.object, told.edge) == ("docs/train", "stale")
    (entry,) = shop.store.entries("audit")
    assert [t["id"] for t in entry.body["told"]] == [shop.texts]


def test_data_that_the_endpoint_wants_fresh_stops_once_it_is_old(shop: Shop) -> None:
    """From the day that it is said to be of, and not from when it was registered."""
    shop.contracts("train", rule("age", 86_400.0, Action.ROLLBACK), as_of="2026-01-01")
    assert shop.stops() == [("docs/train", "stale")]
    assert shop.answers(shop.texts)["stale"] == "block"


def test_missing_content_stops_until_it_is_there_again(shop: Shop) -> None:
    """Backfill: the refusal names the command that makes it, and putting it back is enough."""
    path = shop.store.path_of(shop.texts)
    content = path.read_bytes()
    path.unlink()
    assert shop.stops() == [("docs/train", "malformed")]
    assert shop.answers(shop.texts) == {"malformed": "backfill"}
    shop.store.put_bytes(content)
    assert shop.stops() == []


def test_corrupted_content_is_rejected(shop: Shop) -> None:
    """A bit of the model: what learnt from the data is as much in the way as the data."""
    path = shop.store.path_of(shop.model)
    path.chmod(0o644)
    path.write_bytes(b"v" + path.read_bytes()[1:])
    assert shop.answers(shop.model) == {"malformed": "reject"}
    with pytest.raises(Refused, match="model: malformed: its content"):
        refuse_unaudited(shop.store, shop.entry, shop.decision, now=SOON)


@pytest.mark.parametrize(
    ("content", "schema"),
    [
        (b'{"id":"1","text":"one row is none"}\n', TEXTS),
        (b'{"id":"1"}\n{"id":"2"}\n', TEXTS),
        (b"not json", TEXTS),
        (b"not json", "json [item]"),
        (b'"a string"', "json [item]"),
        (b"", SCHEMAS["embed"]),
        (b'{"at_s":1,"text":"a"}\n{"at_s":0,"text":"b"}\n', WORKLOAD),
    ],
)
def test_data_that_is_not_as_its_schema_says_is_rejected(
    shop: Shop, content: bytes, schema: str
) -> None:
    """Whoever registered it: it is read again, by the reader of its schema."""
    version = shop.store.put_bytes(content)
    shop.recorder.register("other", version, kind="dataset", schema=schema)
    audited = audit_object(shop.store, version, now=SOON)
    assert shop.answers(version)["malformed"] == "reject"
    assert audited.stops


def test_late_data_warns(shop: Shop) -> None:
    """Registered more than a month after the day that it is of."""
    shop.contracts("train", rule("age", 1e12, Action.ROLLBACK), as_of="2026-01-01")
    assert shop.answers(shop.texts) == {"stale": "warn"}
    assert shop.stops() == []
    assert shop.told() == [("docs/train", "stale")]


def test_a_missing_edge_stops_and_is_named(shop: Shop) -> None:
    """The model was made by a run that the ledger does not hold, far from the variant."""
    known = shop.store.artifact(shop.model)
    assert known is not None
    shop.store.register(replace(known, lineage=("sha256:" + 64 * "f",)))
    assert shop.stops() == [("docs/test.audit.train/model", "derived_from")]
    assert shop.answers(shop.variant) == {"unauditable": "block"}
    assert not audit_object(shop.store, shop.variant, now=SOON).checklist[CheckItem.LINKED]
    with pytest.raises(Refused) as refused:
        refuse_unaudited(shop.store, shop.entry, shop.decision, now=SOON)
    assert refused.value.reason == "unauditable"
    assert refused.value.fix == "headgate optimize headgate.yaml"
    assert "model: derived_from: ffffffffffff is not recorded here" in refused.value.what


def test_what_is_too_large_is_to_be_made_smaller(shop: Shop) -> None:
    """The price list takes a megabyte at most; that alone stops nobody."""
    prices = keep(shop.recorder, "prices", {"device_second": 1.0, "note": "x" * 2**21}, "prices")
    assert shop.answers(prices) == {"too_costly": "downscale"}
    shop.held_to(prices)
    assert shop.stops() == []
    assert shop.told() == [("docs/prices", "too_costly")]


def test_a_negative_price_is_no_price(shop: Shop) -> None:
    """The metric of a price list is its lowest price."""
    prices = keep(shop.recorder, "prices", {"device_second": -1.0}, "prices")
    assert shop.answers(prices) == {"malformed": "reject"}


@pytest.mark.parametrize(("axis", "question"), [(Axis.COST, "too_costly"), (Axis.LATENCY, "stale")])
def test_a_variant_that_broke_a_promise_is_stopped_by_its_newest_decision(
    shop: Shop, axis: Axis, question: str
) -> None:
    """And no more once a newer one finds the promise kept."""
    contract = rule("latency_p95", 0.1, Action.ROLLBACK, axis)
    broken = ContractResult(contract, Verdict.FAIL, 0.2, 0.15, 0.3, 9, "it takes too long")
    judged = replace(shop.decision, results=(broken,), action=Action.ROLLBACK)
    decided(shop.recorder, judged)
    assert shop.answers(shop.variant) == {question: "block"}
    assert shop.stops() == [("docs/variant/new", question)]
    kept = replace(broken, verdict=Verdict.PASS)
    decided(shop.recorder, replace(judged, results=(kept,), action=Action.WARN))
    assert shop.answers(shop.variant) == {}
    assert shop.stops() == []


def test_that_the_current_release_breaks_its_promises_stops_no_successor(shop: Shop) -> None:
    """That is why it is to be replaced."""
    contract = rule("cost_per_1k", 0.1, Action.ROLLBACK, Axis.COST)
    broken = ContractResult(contract, Verdict.FAIL, 0.2, 0.15, 0.3, 9, "it costs too much")
    older = replace(
        shop.decision,
        candidate=shop.decision.current,
        results=(broken,),
        action=Action.ROLLBACK,
    )
    decided(shop.recorder, older)
    assert shop.answers(shop.decision.current) == {"too_costly": "block"}
    assert shop.stops() == []


@pytest.mark.parametrize(
    ("on_breach", "response", "stops"),
    [
        (Action.WARN, "warn", False),
        (Action.ROLLBACK, "block", True),
        (Action.RETRAIN, "backfill", True),
        (Action.ESCALATE, "block", True),
    ],
)
def test_drift_from_the_reference_is_answered_as_declared(
    shop: Shop, on_breach: Action, response: str, stops: bool
) -> None:
    """Texts that are all longer than those of the reference."""
    reference = shop.store.put_bytes(LONGER)
    shop.recorder.register("reference/train", reference, kind="dataset", schema=TEXTS)
    shop.contracts("train", rule("drift", 0.3, on_breach), reference=reference)
    assert shop.answers(shop.texts) == {"inconsistent": response}
    assert shop.stops() == ([("docs/train", "inconsistent")] if stops else [])


def test_data_like_its_reference_is_consistent(shop: Shop) -> None:
    """The same distribution in other rows."""
    alike = shop.store.put_bytes(TRAIN.replace(b'"id":"', b'"id":"r'))
    shop.recorder.register("reference/train", alike, kind="dataset", schema=TEXTS)
    shop.contracts("train", rule("drift", 0.3, Action.ROLLBACK), reference=alike)
    reply = audit_object(shop.store, shop.texts, now=SOON).replies[2]
    assert (reply.question.name, reply.answer) == ("inconsistent", Answer.NO)
    assert "within 0.3; n = 600" in reply.because


def test_contracts_that_were_taken_back_rule_no_more(shop: Shop) -> None:
    """Strict, mild, strict again: what the newest job names is what counts, in whichever order."""
    strict = shop.contracts("train", rule("age", 1.0, Action.ROLLBACK), as_of="2026-01-01")
    assert shop.stops() == [("docs/train", "stale")]
    shop.contracts("train", rule("age", 1e12, Action.ROLLBACK), as_of="2026-01-01")
    assert shop.stops() == []
    shop.held_to(strict)
    assert shop.stops() == [("docs/train", "stale")]


def test_contracts_on_data_that_were_changed_by_hand_stop(shop: Shop) -> None:
    """Nothing is asked by them, and that is said."""
    version = shop.contracts("train", rule("age", 1e12, Action.ROLLBACK))
    path = shop.store.path_of(version)
    path.chmod(0o644)
    path.write_bytes(b"{}")
    assert shop.stops() == [("docs/data_contracts", "malformed")]
    assert shop.answers(shop.texts) == {}


def test_a_standard_that_cannot_be_read_stops(shop: Shop) -> None:
    """No question can be asked by it; whatever is wrong is an answer and no error."""
    known = shop.store.artifact(shop.texts)
    assert known is not None
    assert known.standard is not None
    shop.store.path_of(known.standard).unlink()
    assert ("docs/train", "unauditable") in shop.stops()
    assert ("standard/dataset", "malformed") in shop.stops()
    assert audit_object(shop.store, shop.texts, now=SOON).stops


def test_too_few_rows_to_tell_of_drift_stop_as_well(shop: Shop) -> None:
    """Unknown is no pass."""
    few = shop.store.put_bytes(b"".join(TRAIN.splitlines(keepends=True)[:100]))
    shop.recorder.register("reference/train", few, kind="dataset", schema=TEXTS)
    shop.contracts("train", rule("drift", 0.3, Action.ROLLBACK), reference=few)
    reply = audit_object(shop.store, shop.texts, now=SOON).replies[2]
    assert reply.answer is Answer.UNKNOWN
    assert shop.stops() == [("docs/train", "inconsistent")]


@pytest.mark.parametrize("content", [b"no rows", b""])
def test_a_reference_that_cannot_be_read_tells_nothing(shop: Shop, content: bytes) -> None:
    """Unknown, with the reason; an audit ends in answers and never in an error."""
    broken = shop.store.put_bytes(content)
    shop.recorder.register("reference/train", broken, kind="dataset", schema=TEXTS)
    shop.contracts("train", rule("drift", 0.3, Action.ROLLBACK), reference=broken)
    reply = audit_object(shop.store, shop.texts, now=SOON).replies[2]
    assert reply.answer is Answer.UNKNOWN
    assert reply.because.startswith("it cannot be compared with its reference: ")


def test_a_newer_version_of_an_input_makes_what_learnt_from_it_stale(shop: Shop) -> None:
    """It stands, and its owner is told."""
    newer = shop.store.put_bytes(LONGER)
    shop.recorder.register("train", newer, kind="dataset", schema=TEXTS)
    audited = audit_object(shop.store, shop.model, now=SOON)
    assert shop.answers(shop.model) == {"stale": "warn"}
    assert audited.replies[0].because == "a newer version is known of docs/train"
    assert shop.stops() == []
    assert ("docs/test.audit.train/model", "stale") in shop.told()


def test_that_a_promotion_was_audited_is_on_record(shop: Shop) -> None:
    """The decision, and what was found; asked again with the same result, nothing is added."""
    for _ in range(2):
        found = audit_promotion(shop.store, shop.entry, shop.decision, now=SOON)
        assert found == Audited()
    shop.store.path_of(shop.texts).unlink()
    audit_promotion(shop.store, shop.entry, shop.decision, now=SOON)
    entries = list(shop.store.entries("audit"))
    assert [len(entry.body["stops"]) for entry in entries] == [0, 1]
    assert {entry.body["decision"] for entry in entries} == {shop.entry}
    assert entries[1].body["stops"][0]["object"] == "docs/train"


def test_an_object_that_is_held_to_nothing_cannot_be_promoted(shop: Shop) -> None:
    """It has no metric, no contract and no failure note, and no question can be answered."""
    known = shop.store.artifact(shop.model)
    assert known is not None
    shop.store.register(replace(known, standard=None))
    assert shop.stops() == [("docs/test.audit.train/model", "held_to")]
    audited = audit_object(shop.store, shop.model, now=SOON)
    assert (audited.standard, audited.replies) == (None, ())
    assert audited.stops


def test_an_object_is_asked_by_what_was_registered_with_it(shop: Shop) -> None:
    """The standard is read from the store: a later version's table does not rule it."""
    audited = audit_object(shop.store, shop.texts, now=SOON)
    assert audited.standard == STANDARDS["dataset"]


def test_what_took_too_long_to_make_is_to_be_made_smaller(shop: Shop) -> None:
    """A day of the machine is the stated default; its owner is told, and nobody waits."""
    known = shop.store.artifact(shop.model)
    assert known is not None
    run = shop.store.get(known.made_by or "").body
    slow = {**run, "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-02T00:00:01Z"}
    again = shop.store.append("run", slow)
    hold(shop.store, replace(known, lineage=(), made_by=again.id))
    assert shop.answers(shop.model)["too_costly"] == "downscale"
    assert audit_object(shop.store, again.id, now=SOON).replies[4].response == "downscale"
    assert shop.stops() == []
    assert ("docs/test.audit.train/model", "too_costly") in shop.told()


def test_a_check_that_cannot_fire_stops(shop: Shop) -> None:
    """Somebody registered a standard without a limit: the sixth item fails, before promotion."""
    endless = replace(STANDARDS["dataset"], limits=Limits())
    known = shop.store.artifact(shop.texts)
    assert known is not None
    standard = keep(shop.recorder, "standard/mine", endless, "standard")
    shop.store.register(replace(known, standard=standard))
    assert shop.stops() == [("docs/train", "unauditable")]
    audited = audit_object(shop.store, shop.texts, now=SOON)
    assert [item for item, holds in audited.checklist.items() if not holds] == [CheckItem.TESTED]


@pytest.mark.parametrize("key", ["signal", "response"])
def test_a_code_of_another_version_cannot_be_asked_by_and_stops(shop: Shop, key: str) -> None:
    """A finding like any other, whoever wrote it; no error."""
    content = parse(STANDARDS["dataset"].content)
    content["failure_note"]["stale"][key] = "its content has gone bad"
    known = shop.store.artifact(shop.texts)
    assert known is not None
    standard = keep(shop.recorder, "standard/newer", content, "standard")
    shop.store.register(replace(known, standard=standard))
    assert shop.stops() == [("docs/train", "unauditable")]
    assert audit_object(shop.store, shop.texts, now=SOON).standard is None


def test_a_run_answers_like_any_object(shop: Shop) -> None:
    """By the standard that was recorded with it: what it made, from what, when and in what time."""
    known = shop.store.artifact(shop.model)
    assert known is not None
    assert known.made_by is not None
    audited = audit_object(shop.store, known.made_by, now=SOON)
    assert (audited.identifier, audited.kind) == ("run test.audit.train", "run")
    assert (audited.version, audited.owner) == (known.made_by, "search")
    assert audited.standard == STANDARDS["run"]
    assert audited.facts.metric_value == 1
    assert all(audited.checklist.values())
    assert not audited.stops
    shop.store.path_of(shop.model).unlink()
    assert shop.answers(known.made_by) == {"malformed": "backfill"}


def test_a_decision_is_named_by_its_run_as_well(shop: Shop) -> None:
    """What it decided is asked, and its own verdicts are what it is judged on."""
    contract = rule("latency_p95", 0.1, Action.ROLLBACK, Axis.LATENCY)
    kept = ContractResult(contract, Verdict.PASS, 0.05, 0.04, 0.06, 9, "it is fast")
    decision = replace(shop.decision, results=(kept,), action=Action.WARN)
    entry = decided(shop.recorder, decision)
    audited = audit_object(shop.store, entry, now=SOON)
    assert (audited.kind, audited.standard) == ("decision", STANDARDS["decision"])
    assert audited == audit_object(shop.store, audited.version, now=SOON)
    assert [result.because for result in audited.judged] == ["it is fast"]


def released(shop: Shop) -> str:
    """The entry of the variant's release, over the baseline's."""
    first = Release("docs", 0, shop.decision.current, None)
    hold_release(shop.store, first, expected_generation=None)
    second = Release("docs", 1, shop.variant, shop.entry)
    return hold_release(shop.store, second, expected_generation=0).id


def measured(shop: Shop) -> None:
    """A measurement of the variant, without which a release has a gap."""
    known = shop.store.artifact(shop.model)
    assert known is not None
    body = {
        "metric": "accuracy", "artifact": shop.variant, "dataset": shop.texts,
        "samples": shop.texts, "run": known.made_by, "current_run": None, "seed": 0,
    }  # fmt: skip
    shop.store.append("measurement", body)


def test_a_release_answers_like_any_object(shop: Shop) -> None:
    """Identifier, version, owner, metric, contract and failure note are on record with it."""
    measured(shop)
    entry = released(shop)
    audited = audit_object(shop.store, entry, now=SOON)
    assert (audited.identifier, audited.version) == ("docs@1", entry)
    assert (audited.kind, audited.owner) == ("release", "search")
    assert audited.standard == STANDARDS["release"]
    assert all(audited.checklist.values())
    assert not audited.stops
    assert shop.answers(entry) == {}


def test_a_release_that_nothing_was_measured_of_is_unauditable(shop: Shop) -> None:
    """The missing edge by its name."""
    audited = audit_object(shop.store, released(shop), now=SOON)
    because = audited.replies[3].because
    assert because == "generation 1 of docs: measured_by: no measurement is about its variant"


def test_the_failures_of_a_release_are_those_of_what_it_serves(shop: Shop) -> None:
    """Content that is gone or changed, and data of which there is a newer version."""
    measured(shop)
    entry = released(shop)
    path = shop.store.path_of(shop.variant)
    content = path.read_bytes()
    path.unlink()
    assert shop.answers(entry) == {"malformed": "backfill"}
    path.write_bytes(content[:-1])
    assert shop.answers(entry) == {"malformed": "reject"}


@pytest.mark.parametrize(
    ("metric", "axis", "question", "response"),
    [
        ("latency_p95", Axis.LATENCY, "stale", "block"),
        ("cost_per_1k", Axis.COST, "too_costly", "block"),
        ("error_rate", Axis.SAFETY, "inconsistent", "block"),
        ("input_drift", Axis.QUALITY, "inconsistent", "block"),
        ("age", Axis.QUALITY, "stale", "block"),
    ],
)
def test_a_promise_that_is_broken_while_serving_is_an_answer_until_it_is_kept_again(
    shop: Shop, metric: str, axis: Axis, question: str, response: str
) -> None:
    """By the incident that is open; of this release, and no other."""
    measured(shop)
    entry = released(shop)
    body = {
        "endpoint": "docs", "generation": 1, "release": entry, "n": 900, "value": 0.3, "low": 0.2,
        "contract": rule(metric, 0.1, Action.ROLLBACK, axis), "because": "it is broken",
    }  # fmt: skip
    incident = shop.store.append("incident", body)
    assert shop.answers(entry) == {question: response}
    assert not shop.answers(shop.store.history("docs")[0][0].id)
    shop.store.append("recovery", {"incident": incident.id})
    assert shop.answers(entry) == {}


def test_a_promise_that_is_made_no_more_is_no_answer(shop: Shop) -> None:
    """An incident that was withdrawn has no recovery, and never will have."""
    measured(shop)
    entry = released(shop)
    body = {
        "endpoint": "docs", "generation": 1, "release": entry, "n": 900, "value": 0.3, "low": 0.2,
        "contract": rule("error_rate", 0.1, Action.ROLLBACK, Axis.SAFETY), "because": "broken",
    }  # fmt: skip
    incident = shop.store.append("incident", body)
    assert shop.answers(entry) == {"inconsistent": "block"}
    shop.store.append(
        "response", {"incident": incident.id, "action": WITHDRAW, "outcome": "done", "said": ""}
    )
    assert shop.answers(entry) == {}


def test_a_decision_that_cannot_be_read_is_its_own_failure(shop: Shop) -> None:
    """What it was about nobody knows; whatever else is asked is answered."""
    other = decided(shop.recorder, replace(shop.decision, candidate=shop.model))
    before = audit_object(shop.store, shop.variant, now=SOON)
    decision = str(shop.store.get(other).body["z"]["decision"])
    shop.store.path_of(decision).unlink()
    assert audit_object(shop.store, shop.variant, now=SOON) == before
    assert shop.stops() == []
    assert shop.answers(other) == {"malformed": "backfill"}
    (stop,) = audit_store(shop.store, now=SOON).stops
    assert (stop.id, stop.edge) == (other, "malformed")


def test_what_a_release_is_held_to_may_be_missing(shop: Shop) -> None:
    """Written around `hold_release`: its owner and its standard are missing edges."""
    measured(shop)
    shop.store.promote(Release("docs", 0, shop.variant, None), expected_generation=None)
    ((entry, _),) = shop.store.history("docs")
    audited = audit_object(shop.store, entry.id, now=SOON)
    assert (audited.standard, audited.stops) == (None, True)
    assert sorted(gap.split(": ")[1] for gap in audited.facts.gaps) == ["held_to", "owned_by"]


def test_questions_are_asked_of_artifacts_runs_and_releases_alone(shop: Shop) -> None:
    """An audit's own entry is none of them."""
    audit_promotion(shop.store, shop.entry, shop.decision, now=SOON)
    (entry,) = shop.store.entries("audit")
    with pytest.raises(UsageError) as refused:
        audit_object(shop.store, entry.id, now=SOON)
    assert refused.value.reason == "no_object"


def test_only_the_newest_winner_is_asked_about_by_the_whole_store(shop: Shop) -> None:
    """A decision about a build promotes nothing."""
    build = Build("b", "embed", "onnxruntime", "fp32", {"model.onnx": shop.model}, None, 1, 1)
    version = shop.store.put_bytes(build.content)
    shop.recorder.register(
        "build/b", version, kind="build", schema="json Build", lineage=(shop.model,)
    )
    decided(shop.recorder, replace(shop.decision, candidate=version))
    shop.store.path_of(shop.texts).unlink()
    found = audit_store(shop.store, now=SOON).stops
    assert [(stop.object, stop.edge) for stop in found] == [("docs/train", "malformed")]
    assert [d.candidate for _, d in decisions(shop.store)] == [version, shop.variant]
