"""The production object: what the five optimizations have in common.

An object is promoted only with an identifier, a version, a metric, a contract and an owner; with a
failure note written *before* the incident; and with an answer to each of five failure questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headgate.errors import Refused
from headgate.objects.contract import Contract
from headgate.objects.evidence import Owner

__all__ = [
    "FAILURE_QUESTIONS",
    "FailureNote",
    "FailureQuestion",
    "ProductionObject",
    "SignalAndResponse",
    "ask",
]


@dataclass(frozen=True, slots=True)
class FailureQuestion:
    """A question that is asked of every object; ``test`` says how, ``response`` what then."""

    name: str
    test: str
    response: str


FAILURE_QUESTIONS: tuple[FailureQuestion, ...] = (
    FailureQuestion("stale", "event time against a freshness limit", "warn, block or backfill"),
    FailureQuestion(
        "malformed", "schema and semantic contract", "reject, before serving or training"
    ),
    FailureQuestion(
        "inconsistent", "current statistic against a reference", "investigate drift or skew"
    ),
    FailureQuestion(
        "unauditable", "missing version, owner or lineage edge", "stop promotion until it exists"
    ),
    FailureQuestion(
        "too_costly", "latency, tokens, storage, compute", "route, cache, batch or downscale"
    ),
)


@dataclass(frozen=True, slots=True)
class SignalAndResponse:
    """One observable signal and the one response to it."""

    signal: str
    response: str


@dataclass(frozen=True, slots=True)
class FailureNote:
    """What can be stale, missing, corrupted, delayed, unaudited or too expensive."""

    stale: SignalAndResponse
    missing: SignalAndResponse
    corrupted: SignalAndResponse
    delayed: SignalAndResponse
    unaudited: SignalAndResponse
    too_expensive: SignalAndResponse


@dataclass(frozen=True, slots=True)
class ProductionObject:
    """Identifier, version, metric, contract and owner, with the failure note.

    ``metric`` maps what was observed to a number (``m: X -> R``). Raises ``Refused`` (reason
    ``object_incomplete``) where one of the five is missing.
    """

    identifier: str
    version: str
    metric: Callable[..., float]
    contract: Contract
    owner: Owner
    failure_note: FailureNote | None = None

    def __post_init__(self) -> None:
        missing = [n for n in ("identifier", "version") if not getattr(self, n)]
        if not self.owner.team:
            missing.append("owner")
        if missing:
            raise Refused(
                f"{self.identifier or '(unnamed object)'} has no {', '.join(missing)}",
                reason="object_incomplete",
                fix="give it an identifier, a version, a metric, a contract and an owner",
            )


def ask(answers: Mapping[str, bool]) -> Mapping[str, str]:
    """The responses that are due: ``answers`` maps each failure question to "yes, it is".

    All five must be answered; an unasked question raises ``Refused`` (``question_unasked``).

    >>> ask({"stale": False, "malformed": False, "inconsistent": True, "unauditable": False,
    ...      "too_costly": False})
    mappingproxy({'inconsistent': 'investigate drift or skew'})
    """
    unasked = [q.name for q in FAILURE_QUESTIONS if q.name not in answers]
    if unasked:
        raise Refused(
            f"not asked: {', '.join(unasked)}",
            reason="question_unasked",
            fix="answer all five failure questions",
        )
    return MappingProxyType({q.name: q.response for q in FAILURE_QUESTIONS if answers[q.name]})
