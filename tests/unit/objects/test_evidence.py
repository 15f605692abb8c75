"""What one verdict asks for, and what a measurement accounts for."""

from __future__ import annotations

import pytest

from headgate.errors import Refused
from headgate.objects import (
    Action,
    Axis,
    Bound,
    Contract,
    ContractResult,
    Direction,
    Measurement,
    Verdict,
)


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


def _measurement(attempted: int, scored: int, errored: int, skipped: int) -> Measurement:
    return Measurement(
        "recall@10",
        "fraction",
        0.9,
        "value",
        0.9,
        0.88,
        0.92,
        scored,
        Direction.HIGHER,
        "sha256:artifact",
        "sha256:dataset",
        "sha256:run",
        0,
        attempted=attempted,
        scored=scored,
        errored=errored,
        skipped=skipped,
    )


def test_every_item_that_was_attempted_is_accounted_for() -> None:
    """Scored, errored or skipped: what fell out of the count would make the score rise."""
    assert _measurement(100, 95, 3, 2).attempted == 100
    for counts in ((100, 95, 3, 1), (100, 95, 3, 3), (0, 1, 0, 0)):
        with pytest.raises(Refused, match="were attempted, but") as refused:
            _measurement(*counts)
        assert refused.value.reason == "counts_do_not_add_up"
