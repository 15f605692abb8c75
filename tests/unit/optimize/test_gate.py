"""The recorded decision: from one stored case, the same bytes whenever it is replayed."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from headgate.ledger import Store
from headgate.objects import Action, Bound, Decision, Direction, jsonable, parse
from headgate.optimize.gate import judge_candidate
from headgate.optimize.recorder import Recorded, Recorder
from headgate.release import (
    Blocks,
    ClassLabel,
    PairedItems,
    Rule,
    Samples,
    decision_from_json,
    rule_from_json,
)

from .fakes import contract

CONTRACTS = (
    contract("accuracy", Bound.AT_LEAST, 0.9),
    contract("batch_invariance", Bound.ONE_OF, 0.0, allowed=("exact",)),
    contract("latency_p95", Bound.AT_MOST, 1.0),
    contract("cost_per_1k", Bound.RATIO_AT_MOST, 1.0),
)
LATE = "the rule was registered, or edited, after this was measured:"
PLANNED = {"accuracy": 400, "latency_p95": 9, "cost_per_1k": 9}
RULE = Rule("docs", "holdout", "sha256:data", CONTRACTS, {}, PLANNED, seed=0)


def samples(correct: float = 1.0) -> dict[str, Samples]:
    """Everything that the contracts want, without noise."""
    n = 400
    items = tuple(f"i{k}" for k in range(n))
    values = tuple(float(k < correct * n) for k in range(n))

    def blocks(metric: str, candidate: float) -> Blocks:
        aa = ((1.0, 1.0),)
        ours, theirs = (candidate,) * 9, (1.0,) * 9
        return Blocks(metric, "s", Direction.LOWER, ours, theirs, aa, aa)

    return {
        "accuracy": PairedItems(
            "accuracy", Direction.HIGHER, items, values, (1.0,) * n, ((),) * n, (0.0, 1.0)
        ),
        "batch_invariance": ClassLabel("batch_invariance", "exact", 64),
        "latency_p95": blocks("latency_p95", 0.5),
        "cost_per_1k": blocks("cost_per_1k", 0.25),
    }


def judge(
    recorder: Recorder,
    given: dict[str, Samples],
    void: tuple[str, ...] = (),
    *,
    rule: Rule = RULE,
    in_force: dict[str, str | None] | None = None,
) -> tuple[Decision, Recorded]:
    return judge_candidate(
        recorder,
        candidate=recorder.store.put_bytes(b"candidate"),
        current=recorder.store.put_bytes(b"current"),
        rule=rule,
        samples=given,
        measurements={},
        in_force=in_force,
        void=void,
    )


@pytest.mark.parametrize("correct", [1.0, 0.5])
def test_a_decision_is_recorded_and_replays_to_the_same_bytes(
    recorder: Recorder, store: Store, correct: float
) -> None:
    """Whoever has the case can calculate it again."""
    decision, run = judge(recorder, samples(correct))
    assert decision.action is (Action.ACCEPT if correct == 1.0 else Action.ROLLBACK)
    assert decision_from_json(parse(store.read(run.outputs["decision"]))) == decision
    assert recorder.replay(store.get(run.entry)).identical
    again, same = judge(recorder, samples(correct))
    assert (again, same.entry, same.reused) == (decision, run.entry, True)


def test_an_accepted_candidate_of_a_void_load_test_is_invalid(
    recorder: Recorder, store: Store
) -> None:
    """In the record itself, so that no hand can promote it either."""
    _, sound = judge(recorder, samples())
    decision, run = judge(recorder, samples(), void=("requests left late",))
    assert (decision.action, decision.because) == (Action.INVALID, "VOID: requests left late")
    assert run.entry != sound.entry
    recorded = decision_from_json(parse(store.read(run.outputs["decision"])))
    assert not recorded.accepted
    assert recorder.replay(store.get(run.entry)).identical


def test_what_fails_under_a_void_load_test_still_fails(recorder: Recorder) -> None:
    """Quality is measured without load: a void load test does not excuse it."""
    decision, _ = judge(recorder, samples(0.5), void=("requests left late",))
    assert decision.action is Action.ROLLBACK


@pytest.mark.parametrize("metric", ["accuracy", "batch_invariance", "latency_p95", "cost_per_1k"])
def test_a_contract_without_samples_is_never_accepted(recorder: Recorder, metric: str) -> None:
    """What nothing measured is not known."""
    given = samples()
    del given[metric]
    decision, _ = judge(recorder, given)
    assert not decision.accepted


@pytest.mark.parametrize(
    ("in_force", "says"),
    [
        ({"it": RULE.digest, "its speed": RULE.digest}, "all 4 contracts are kept on holdout"),
        ({"it": RULE.digest, "its speed": None}, f"{LATE} its speed; put the old rule back, or"),
        ({"it": "sha256:another", "its speed": RULE.digest}, f"{LATE} it; put the old rule back"),
        ({"it": None, "its speed": "sha256:another"}, f"{LATE} it and its speed; put the old"),
    ],
)
def test_a_rule_that_was_not_there_before_the_samples_decides_nothing(
    recorder: Recorder, store: Store, in_force: dict[str, str | None], says: str
) -> None:
    """Invalid, whatever they say, and in any replay."""
    decision, run = judge(recorder, samples(), in_force=in_force)
    assert decision.because.startswith(says)
    assert decision.accepted == (set(in_force.values()) == {RULE.digest})
    assert decision.rule == RULE.digest
    assert recorder.replay(store.get(run.entry)).identical


CHANGED: dict[str, object] = {
    "endpoint": "other",
    "split": "evaluate",
    "dataset": "sha256:others",
    "contracts": (replace(CONTRACTS[0], limit=0.4), *CONTRACTS[1:]),
    "metrics": {"accuracy": "sha256:kinder"},
    "planned_n": PLANNED | {"accuracy": 200},
    "seed": 7,
    "tried": 2,
    "level": 0.8,
    "workload": "sha256:others",
    "replay": {"seconds": 45.0, "load": 0.3, "blocks": 9},
    "prices": "sha256:cheaper",
    "functions": {"postprocess": "sha256:kinder"},
    "candidates": ("bf16",),
}


def test_a_rule_of_an_older_record_is_read_and_is_another(recorder: Recorder) -> None:
    """It held less: nothing of today's is as it says, and whoever asks is told so."""
    since = ("workload", "replay", "prices", "functions", "candidates")
    older = {name: part for name, part in jsonable(RULE).items() if name not in since}
    declared = rule_from_json(jsonable(RULE) | {name: jsonable(CHANGED[name]) for name in since})
    assert rule_from_json(older).differs_in(declared) == since


@pytest.mark.parametrize("field", [f.name for f in fields(Rule)])
def test_a_rule_that_was_edited_in_any_part_decides_nothing(recorder: Recorder, field: str) -> None:
    """Everything that could be turned until it pleases is in the digest."""
    edited = replace(RULE, **{field: CHANGED[field]})  # type: ignore[arg-type]  # each of its field
    assert RULE.differs_in(edited) == (field,)
    decision, _ = judge(recorder, samples(), rule=edited, in_force={"it": RULE.digest})
    assert decision.action is Action.INVALID
    assert rule_from_json(jsonable(edited)) == edited


def test_before_the_planned_n_nothing_is_decided(recorder: Recorder) -> None:
    """Neither that it is good nor that it is bad; and more than was planned is broken."""
    for planned, action in ((401, Action.UNKNOWN), (399, Action.INVALID)):
        rule = replace(RULE, planned_n=PLANNED | {"accuracy": planned})
        for correct in (1.0, 0.5):
            assert judge(recorder, samples(correct), rule=rule)[0].action is action
