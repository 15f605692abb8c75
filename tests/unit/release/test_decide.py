"""All contracts and one action: precedence, missing axes, and the same bytes anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest

from headgate.objects import Action, Axis, Bound, Contract, Decision, Verdict, canonical, digest
from headgate.release import (
    ClassLabel,
    Samples,
    decide,
    decide_again,
    decision_from_json,
    from_json,
)
from tests.unit.release.samples import binary, blocks, contract, items, sound


def outcome(contracts: list[Contract], samples: Mapping[str, Samples]) -> Decision:
    return decide(
        candidate="sha256:new",
        current="sha256:old",
        split="evaluate",
        contracts=contracts,
        samples=samples,
        measurements={contracts[0].describe(): "entry-1"} if contracts else {},
    )


def test_all_contracts_kept_on_all_axes_is_accepted() -> None:
    """The sound case is accepted, with a result for each contract and its measurement."""
    contracts, samples = sound()
    decision = outcome(contracts, samples)
    assert decision.action is Action.ACCEPT
    assert decision.accepted
    assert [r.contract for r in decision.results] == contracts
    assert decision.results[0].measurement == "entry-1"
    assert decision.results[1].measurement is None
    assert decision.because == "all 5 contracts are kept on evaluate"


def test_two_contracts_on_one_metric_name_their_own_measurements() -> None:
    """One looks at the value, the other at a ratio; calculated again, they still do."""
    contracts, samples = sound()
    cost = next(c for c in contracts if c.metric == "cost")
    both = [cost, replace(cost, bound=Bound.AT_MOST, limit=1e9)]
    decision = decide(
        candidate="sha256:new",
        current="sha256:old",
        split="evaluate",
        contracts=both,
        samples=samples,
        measurements={both[0].describe(): "entry-1", both[1].describe(): "entry-2"},
    )
    assert [r.measurement for r in decision.results] == ["entry-1", "entry-2"]
    assert canonical(decide_again(decision, samples)) == canonical(decision)


@pytest.mark.parametrize("axis", list(Axis))
def test_a_missing_axis_stops_the_promotion(axis: Axis) -> None:
    """Without a contract on one of the four axes the decision is unknown, and names it."""
    contracts, samples = sound()
    decision = outcome([c for c in contracts if c.axis is not axis], samples)
    assert decision.action is Action.UNKNOWN
    assert decision.missing_axes == (axis,)
    assert axis.value in decision.because


def test_nothing_at_all_is_unknown() -> None:
    """No contracts is not "no contract broken"."""
    decision = outcome([], {})
    assert decision.action is Action.UNKNOWN
    assert decision.missing_axes == tuple(Axis)


@pytest.mark.parametrize("metric", ["recall", "worst_slice", "invariance", "latency", "cost"])
def test_a_contract_without_samples_is_unknown(metric: str) -> None:
    """A metric name that matches nothing never passes."""
    contracts, samples = sound()
    del samples[metric]
    decision = outcome(contracts, samples)
    assert decision.action is Action.UNKNOWN
    assert f"{metric}: there are no samples" in decision.because


def test_precedence() -> None:
    """Invalid before fail before unknown before warn before accept."""
    contracts, samples = sound()
    steps: list[tuple[str, Samples, Action]] = [
        ("cost", blocks([150.0, 151.0] * 4, metric="cost"), Action.WARN),
        ("latency", blocks([50.0] * 7), Action.UNKNOWN),
        ("recall", binary(1000, lost=80), Action.ROLLBACK),
        ("invariance", ClassLabel("invariance", "exact", 0), Action.INVALID),
    ]
    for metric, broken, action in steps:
        samples[metric] = broken
        assert outcome(contracts, samples).action is action


def test_the_most_severe_declared_action_is_taken() -> None:
    """Escalate before rollback before retrain, and the sentence is of a contract that asked it."""
    _, samples = sound()
    samples |= {"recall": binary(1000, lost=80), "latency": blocks([150.0, 151.0] * 4)}
    contracts = {c.metric: c for c in sound()[0]}
    for first, second, action in (
        (Action.RETRAIN, Action.ROLLBACK, Action.ROLLBACK),
        (Action.RETRAIN, Action.ESCALATE, Action.ESCALATE),
        (Action.ESCALATE, Action.ROLLBACK, Action.ESCALATE),
        (Action.RETRAIN, Action.RETRAIN, Action.RETRAIN),
    ):
        contracts["recall"] = contract(on_breach=first)
        contracts["latency"] = contract(
            "latency", contracts["latency"].bound, 1.1, axis=Axis.LATENCY, on_breach=second
        )
        decision = outcome(list(contracts.values()), samples)
        assert decision.action is action
        asked = "recall" if first is action else "latency"
        assert f"harm is shown: {asked}" in decision.because
        assert decision.because.endswith("(and 1 more)")


def test_warn_promotes_and_says_why() -> None:
    """A breached contract that only warns lets the candidate through as a warning."""
    contracts, samples = sound()
    samples["cost"] = blocks([150.0, 151.0] * 4, metric="cost")
    decision = outcome(contracts, samples)
    assert decision.accepted
    assert decision.results[-1].verdict is Verdict.WARN
    assert "cost = 150.5" in decision.because


def test_a_decision_is_calculated_again_from_what_is_stored() -> None:
    """Stored samples and the stored decision give the same canonical bytes, broken ones too."""
    contracts, samples = sound()
    for broken in (
        {},
        {"latency": blocks([50.0] * 7 + [float("inf")])},
        {"recall": items([0.1 + 0.2, 1 / 3] * 500, [2 / 3, 0.3] * 500)},
        {"recall": items([None, float("nan")], [1.0, 1.0])},
    ):
        decision = outcome(contracts, samples | broken)
        stored = json.loads(canonical(decision))
        raw = {
            metric: from_json(json.loads(canonical(s.to_json())))
            for metric, s in (samples | broken).items()
        }
        again = decide_again(decision_from_json(stored), raw)
        assert canonical(again) == canonical(decision)
        assert canonical(decision_from_json(stored)) == canonical(decision)


SCRIPT = """
from headgate.objects import digest
from tests.unit.release.test_decide import outcome
from tests.unit.release.samples import sound
print(digest(outcome(*sound())))
"""


def test_another_process_gives_the_same_bytes() -> None:
    """A process of its own, with another hash seed, gives the same digest."""
    ours = digest(outcome(*sound()))
    for seed in ("1", "2"):
        theirs = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert theirs.stdout.strip() == ours
