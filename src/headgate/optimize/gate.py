"""From measured samples to a decision that can be calculated again by anyone who has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from headgate.objects import (
    Action,
    ContractResult,
    Decision,
    Verdict,
    canonical,
    jsonable,
    parse,
)
from headgate.optimize.recorder import Call, Output, Recorded, Recorder, transformation
from headgate.release import Rule, Samples, decide, from_json, rule_from_json
from headgate.runtime.decisions import DECIDES, decided

__all__ = ["gate", "judge_candidate", "lets_through"]


def lets_through(result: ContractResult) -> bool:
    """Whether a candidate may be accepted in spite of it: it is kept, or its breach only warns."""
    return result.verdict in (Verdict.PASS, Verdict.WARN)


@transformation(DECIDES)
def gate(call: Call) -> Mapping[str, Output]:
    """The release gate on stored samples: pure, so a replay gives the same bytes anywhere.

    A rule that was edited after its samples were taken decides nothing: invalid. A void load test
    has measured nothing: its samples are left out, and what is then neither refused nor accepted
    for other reasons is invalid.
    """
    case = parse(call.store.read(call.u["case"]))
    rule = rule_from_json(case["rule"])
    decision = decide(
        candidate=case["candidate"],
        current=case["current"],
        split=rule.split,
        contracts=rule.contracts,
        samples={
            metric: from_json(s)
            for metric, s in case["samples"].items()
            if not (case["void"] and s["kind"] == "Blocks")
        },
        measurements=case["measurements"],
        tried=rule.tried,
        planned_n=rule.planned_n,
    )
    decision = replace(decision, rule=rule.digest)
    before = {d: rule_from_json(body) for d, body in case.get("before", {}).items()}
    edited = rule.edited(case["in_force"], before)
    if edited is not None:
        decision = replace(decision, action=Action.INVALID, because=edited)
    elif case["void"] and decision.action in (Action.ACCEPT, Action.WARN, Action.UNKNOWN):
        decision = replace(decision, action=Action.INVALID, because=f"VOID: {case['void'][0]}")
    return {"decision": Output(canonical(decision), "decision", "json Decision")}


def judge_candidate(
    recorder: Recorder,
    *,
    candidate: str,
    current: str,
    rule: Rule,
    samples: Mapping[str, Samples],
    measurements: Mapping[str, str],
    in_force: Mapping[str, str | None] | None = None,
    before: Mapping[str, Rule] | None = None,
    void: Sequence[str] = (),
    detail: str = "",
) -> tuple[Decision, Recorded]:
    """Stores the whole case, decides it, and records the decision under its own entry.

    ``in_force``: what was measured -> the digest of the rule that was registered before it
    (``Rule.edited``); a certificate says it of everything. ``before``: digest -> such a rule that
    is not ``rule``. ``void``: what the load generator holds against its own run.
    """
    case = {
        "candidate": candidate,
        "current": current,
        "rule": jsonable(rule),
        "in_force": dict(in_force or {}),
        "samples": {metric: s.to_json() for metric, s in samples.items()},
        "measurements": dict(measurements),
        "void": list(void),
        # Where nothing was edited a case is what it always was.
        **({"before": jsonable(before)} if before else {}),
    }
    version = recorder.store.put_bytes(canonical(case))
    recorder.register(
        f"case/{rule.split}",
        version,
        kind="samples",
        schema="json case of the gate",
        lineage=(candidate, current),
    )
    done = recorder.run(gate, u={"case": version}, c={}, detail=detail)
    return decided(recorder.store, recorder.store.get(done.entry)), done
