"""A decision from stored evidence, and calculated again from stored raw samples.

The inverse of the canonical form for contracts and decisions: what the ledger holds is JSON, and
the gate wants values. A decision that is calculated again must have the same canonical bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.errors import InputError
from headgate.objects import (
    Action,
    Axis,
    Bound,
    Contract,
    ContractResult,
    Decision,
    Flips,
    SliceResult,
    Verdict,
)
from headgate.release.gate import decide
from headgate.release.samples import Samples

__all__ = ["contract_from_json", "decide_again", "decision_from_json"]


def contract_from_json(data: Mapping[str, Any]) -> Contract:
    """The contract whose canonical JSON is ``data``. Raises ``InputError`` where it is none."""
    try:
        return Contract(
            **{
                **data,
                "axis": Axis(data["axis"]),
                "bound": Bound(data["bound"]),
                "limit": float(data["limit"]),
                "on_breach": Action(data["on_breach"]),
                "allowed": tuple(data["allowed"]),
            }
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise _unreadable("contract", cause) from cause


def decision_from_json(data: Mapping[str, Any]) -> Decision:
    """The decision whose canonical JSON is ``data``. Raises ``InputError`` where it is none."""
    try:
        return Decision(
            **{
                **data,
                "results": tuple(_result(r) for r in data["results"]),
                "action": Action(data["action"]),
                "missing_axes": tuple(map(Axis, data["missing_axes"])),
            }
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise _unreadable("decision", cause) from cause


def decide_again(decision: Decision, samples: Mapping[str, Samples]) -> Decision:
    """The same contracts on the same raw samples; equal in canonical bytes, or something changed.

    ``samples`` go by metric, as in ``decide``.
    """
    return decide(
        candidate=decision.candidate,
        current=decision.current,
        split=decision.split,
        contracts=[r.contract for r in decision.results],
        samples=samples,
        measurements={
            r.contract.describe(): r.measurement
            for r in decision.results
            if r.measurement is not None
        },
        tried=decision.tried,
    )


def _result(data: Mapping[str, Any]) -> ContractResult:
    current, flips = data["current_value"], data["flips"]
    return ContractResult(
        **{
            **data,
            "contract": contract_from_json(data["contract"]),
            "verdict": Verdict(data["verdict"]),
            **{name: _float(data[name]) for name in ("value", "low", "high")},
            "current_value": None if current is None else _float(current),
            "flips": None if flips is None else Flips(**flips),
            "slices": tuple(
                SliceResult(**{**s, **{k: _float(s[k]) for k in ("value", "low", "high")}})
                for s in data["slices"]
            ),
        }
    )


def _float(x: Any) -> float:
    # float() reads the words of the tag of a number that JSON has no word for.
    return float(x["$float"] if isinstance(x, Mapping) else x)


def _unreadable(what: str, cause: Exception) -> InputError:
    return InputError(
        f"this is no {what}: {cause!r}",
        where=what,
        fix=f"use the JSON of a {what} that Headgate recorded",
    )
