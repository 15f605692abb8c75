"""What a report tells its reader to type next."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from headgate.objects import Action, Bound, ContractResult, Verdict
from headgate.optimize.result import _next

from .fakes import contract

HERE = Path("/srv/my models/headgate.yaml")
ENTRY = "sha256:" + "0123456789abcdef" * 4


def judged(metric: str, verdict: Verdict) -> ContractResult:
    kept = contract(metric, Bound.AT_MOST, 1.0)
    return ContractResult(kept, verdict, 0.5, 0.4, 0.6, 9, "a test")


@pytest.mark.parametrize(
    ("action", "results", "promoted", "expected"),
    [
        (Action.ACCEPT, (), 1, "headgate serve"),
        (Action.ACCEPT, (), None, "headgate optimize --promote"),
        (Action.ROLLBACK, (judged("latency_p95", Verdict.FAIL),), 0, "headgate show"),
        (Action.UNKNOWN, (judged("recall@10", Verdict.UNKNOWN),), 0, "headgate show"),
        (
            Action.UNKNOWN,
            (judged("latency_p95", Verdict.UNKNOWN),),
            0,
            "headgate optimize --fresh --promote",
        ),
        (
            Action.INVALID,
            (judged("cost_per_1k", Verdict.INVALID),),
            0,
            "headgate optimize --fresh --promote",
        ),
    ],
)
def test_every_outcome_ends_with_a_command_that_can_be_pasted(
    action: Action, results: tuple[ContractResult, ...], promoted: int | None, expected: str
) -> None:
    """Noise is answered by measuring again, all else by looking; a blank in a path stays whole."""
    command, why = _next(HERE, action, results, ENTRY, promoted)
    assert command.startswith(expected)
    assert str(HERE) in shlex.split(command)
    assert why.endswith(":")
    assert ENTRY not in command
