"""What one verdict asks for."""

from __future__ import annotations

import pytest

from headgate.objects import Action, Axis, Bound, Contract, ContractResult, Verdict


def _result(verdict: Verdict, on_breach: Action) -> ContractResult:
    contract = Contract(
        "latency",
        Axis.LATENCY,
        Bound.AT_MOST,
        0.1,
        "a reason",
        on_breach,
        "command:page",
        "previous",
    )
    return ContractResult(contract, verdict, 0.2, 0.1, 0.3, 9, "a sentence")


@pytest.mark.parametrize("on_breach", [Action.ROLLBACK, Action.RETRAIN, Action.ESCALATE])
def test_a_failed_contract_asks_for_what_it_declares(on_breach: Action) -> None:
    """The action on breach is the contract's own, whichever it is."""
    assert _result(Verdict.FAIL, on_breach).action is on_breach


@pytest.mark.parametrize(
    ("verdict", "action"),
    [
        (Verdict.PASS, Action.ACCEPT),
        (Verdict.WARN, Action.WARN),
        (Verdict.UNKNOWN, Action.UNKNOWN),
        (Verdict.INVALID, Action.INVALID),
    ],
)
def test_only_a_shown_breach_sets_the_declared_action_off(verdict: Verdict, action: Action) -> None:
    """Neither a pass nor not knowing rolls anything back, and not knowing never accepts."""
    declared = Action.WARN if verdict is Verdict.WARN else Action.ROLLBACK
    assert _result(verdict, declared).action is action
