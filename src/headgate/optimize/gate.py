"""From measured samples to a decision that can be calculated again by anyone who has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from headgate.objects import Action, Contract, Decision, canonical, jsonable, parse
from headgate.optimize.recorder import Call, Output, Recorded, Recorder, transformation
from headgate.release import (
    Samples,
    contract_from_json,
    decide,
    decision_from_json,
    from_json,
)

__all__ = ["gate", "judge_candidate"]


@transformation("gate.decide")
def gate(call: Call) -> Mapping[str, Output]:
    """The release gate on stored samples: pure, so a replay gives the same bytes anywhere.

    A void load test has measured nothing: its samples are left out, and what is then neither
    refused nor accepted for other reasons is invalid.
    """
    case = parse(call.store.read(call.u["case"]))
    decision = decide(
        candidate=case["candidate"],
        current=case["current"],
        split=case["split"],
        contracts=[contract_from_json(c) for c in case["contracts"]],
        samples={
            metric: from_json(s)
            for metric, s in case["samples"].items()
            if not (case["void"] and s["kind"] == "Blocks")
        },
        measurements=case["measurements"],
    )
    if case["void"] and decision.action in (Action.ACCEPT, Action.WARN, Action.UNKNOWN):
        decision = replace(decision, action=Action.INVALID, because=f"VOID: {case['void'][0]}")
    return {"decision": Output(canonical(decision), "decision", "json Decision")}


def judge_candidate(
    recorder: Recorder,
    *,
    candidate: str,
    current: str,
    split: str,
    contracts: Sequence[Contract],
    samples: Mapping[str, Samples],
    measurements: Mapping[str, str],
    void: Sequence[str] = (),
    detail: str = "",
) -> tuple[Decision, Recorded]:
    """Stores the whole case, decides it, and records the decision under its own entry.

    ``void``: what the load generator holds against its own run.
    """
    case = {
        "candidate": candidate,
        "current": current,
        "split": split,
        "contracts": jsonable(list(contracts)),
        "samples": {metric: s.to_json() for metric, s in samples.items()},
        "measurements": dict(measurements),
        "void": list(void),
    }
    version = recorder.store.put_bytes(canonical(case))
    recorder.register(
        f"case/{split}",
        version,
        kind="samples",
        schema="json case of the gate",
        lineage=(candidate, current),
    )
    done = recorder.run(gate, u={"case": version}, c={}, detail=detail)
    return decision_from_json(parse(recorder.store.read(done.outputs["decision"]))), done
