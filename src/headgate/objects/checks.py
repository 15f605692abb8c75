"""Five questions, the signals and six items, asked of one object: facts in, findings out.

Pure: :class:`Facts` are what the store knows of an object at one moment; who gathers them is
``headgate.optimize.facts``. A finding names its question, what was seen, and the one response.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from headgate.objects.contract import Action, Axis, Verdict
from headgate.objects.evidence import ContractResult
from headgate.objects.production import FAILURE_QUESTIONS, FailureNote, FailureQuestion
from headgate.objects.standards import Response, Signal, Standard

__all__ = [
    "Answer",
    "CheckItem",
    "Facts",
    "Finding",
    "Reply",
    "answers",
    "checklist",
    "findings",
    "planted",
]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one object at one moment. The defaults are those of a healthy one."""

    identifier: str
    version: str
    schema: str
    owner: str
    metric_value: float | None = None
    """Of the standard's metric; None where the content could not be read."""
    age_s: float | None = None
    """Since its content came to be; None where nobody said when."""
    lag_s: float | None = None
    """Between its coming to be and its registration."""
    newer_inputs: tuple[str, ...] = ()
    """Ids of inputs of which a newer version is known than it was made from."""
    present: bool = True
    intact: bool = True
    unfit: str = ""
    """What of its content is not as its schema says."""
    gaps: tuple[str, ...] = ()
    """Missing edges, of it and of what it was made from, each in a few words."""
    size_bytes: int = 0
    made_in_s: float = 0.0
    broken: tuple[Axis, ...] = ()
    """Axes on which the newest decision about it, or an incident, found a promise broken."""
    promised: tuple[ContractResult, ...] = ()
    """The endpoint's own contracts on it: on the age of data and its distance from a reference, and
    on the answers of a release while it serves."""


class Answer(enum.StrEnum):
    """To a failure question."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


class CheckItem(enum.StrEnum):
    """Of the checklist that every object keeps: codes, as signals are."""

    STATED = "stated"
    NAMED = "named"
    MEASURED = "measured"
    LINKED = "linked"
    OWNED = "owned"
    TESTED = "tested"

    @property
    def says(self) -> str:
        """The item for people."""
        return _ITEMS[self]


_ITEMS: Mapping[CheckItem, str] = MappingProxyType(
    {
        CheckItem.STATED: "its artifact or signal is stated",
        CheckItem.NAMED: "it has an id and a version",
        CheckItem.MEASURED: "a metric decides whether it is valid",
        CheckItem.LINKED: "its dependency chain is logged",
        CheckItem.OWNED: "it has an owner and a response",
        CheckItem.TESTED: "a planted failure makes each signal fire",
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One signal that fired, or cannot be told, and the one response to it."""

    question: str
    """``stale``, ``malformed``, ``inconsistent``, ``unauditable`` or ``too_costly``."""
    signal: Signal
    because: str
    response: Response
    unknown: bool = False

    @property
    def stops(self) -> bool:
        """Whether a promotion waits for it."""
        return self.response.stops


@dataclass(frozen=True, slots=True)
class Reply:
    """One failure question and its answer."""

    question: FailureQuestion
    answer: Answer
    because: str
    response: str
    """What is done; what would be done where the answer is no."""


_QUESTION_OF = {
    "stale": "stale",
    "delayed": "stale",
    "missing": "malformed",
    "corrupted": "malformed",
    "unaudited": "unauditable",
    "too_expensive": "too_costly",
}
"""Line of a failure note -> the question that it answers."""

_RESPONSES: Mapping[Action, Response] = MappingProxyType(
    {
        Action.WARN: Response.WARN,
        Action.ROLLBACK: Response.BLOCK,
        Action.RETRAIN: Response.BACKFILL,
        Action.ESCALATE: Response.BLOCK,
    }
)
"""What a contract on data declares -> what that is for data: current is kept, or data fetched."""


def findings(standard: Standard, facts: Facts) -> tuple[Finding, ...]:
    """Everything that is wrong with the object, by its failure note and its contracts."""
    found = _by_the_note(standard, facts)
    if not _tested(standard):
        untested = Finding("unauditable", Signal.UNTESTED, Signal.UNTESTED.says, Response.BLOCK)
        found.append(untested)
    if facts.present and facts.intact and (unfit := _unfit(standard, facts)):
        found.append(Finding("malformed", Signal.UNFIT, unfit, Response.REJECT))
    found += [
        Finding(
            "stale" if result.contract.metric == "age" else "inconsistent",
            Signal.BROKEN,
            result.because,
            _RESPONSES[result.contract.on_breach],
            unknown=result.verdict is Verdict.UNKNOWN,
        )
        for result in facts.promised
        if result.verdict is not Verdict.PASS
    ]
    return tuple(found)


def _by_the_note(standard: Standard, facts: Facts) -> list[Finding]:
    found: list[Finding] = []
    declared = {r.contract.metric for r in facts.promised}
    for line, question in _QUESTION_OF.items():
        seen = getattr(standard.failure_note, line)
        signal = Signal(seen.signal)
        if signal is Signal.OLD and "age" in declared:
            continue  # the endpoint's own limit stands in the place of the stated default
        because = _FIRES[signal](standard, facts) if signal in _FIRES else ""
        if because:
            found.append(Finding(question, signal, because, Response(seen.response)))
    return found


def answers(standard: Standard, facts: Facts) -> tuple[Reply, ...]:
    """The five failure questions in their order, each with its answer and the declared response."""
    found = findings(standard, facts)
    note = standard.failure_note
    responses = {
        "stale": note.stale.response,
        "malformed": note.corrupted.response,
        "inconsistent": Response.INVESTIGATE,
        "unauditable": note.unaudited.response,
        "too_costly": note.too_expensive.response,
    }
    replies: list[Reply] = []
    for question in FAILURE_QUESTIONS:
        mine = [f for f in found if f.question == question.name]
        mine.sort(key=lambda f: (f.unknown, not f.stops))
        if mine:
            answer = Answer.UNKNOWN if mine[0].unknown else Answer.YES
            because = "; ".join(f.because for f in mine)
            replies.append(Reply(question, answer, because, mine[0].response))
        else:
            answer, because = _healthy(question.name, standard, facts)
            replies.append(Reply(question, answer, because, responses[question.name]))
    return tuple(replies)


def checklist(standard: Standard | None, facts: Facts) -> Mapping[CheckItem, bool]:
    """The six items, each a check; ``standard`` is None where the object is held to none."""
    return MappingProxyType(
        {
            CheckItem.STATED: bool(facts.schema) and facts.present,
            CheckItem.NAMED: bool(facts.identifier and facts.version),
            CheckItem.MEASURED: standard is not None and facts.metric_value is not None,
            CheckItem.LINKED: not facts.gaps,
            CheckItem.OWNED: bool(facts.owner) and standard is not None,
            CheckItem.TESTED: standard is not None and _tested(standard),
        }
    )


def planted(standard: Standard, line: str) -> Facts:
    """The facts of an object of this kind that fails in one way: ``line`` of its failure note."""
    limits = standard.limits
    healthy = Facts("planted", "sha256:", "any", "nobody", metric_value=standard.contract.limit)
    failures: Mapping[Signal, Mapping[str, object]] = {
        Signal.OLD: {"age_s": 2 * limits.age_s},
        Signal.SUPERSEDED: {"newer_inputs": ("another",)},
        Signal.ABSENT: {"present": False},
        Signal.CHANGED: {"intact": False},
        Signal.LATE: {"lag_s": 2 * limits.lag_s},
        Signal.UNLINKED: {"gaps": ("made_by: nobody",)},
        Signal.LARGE: {"size_bytes": 2 * limits.size_bytes},
        Signal.SLOW: {"made_in_s": 2 * limits.made_in_s},
        Signal.TOO_SLOW: {"broken": (Axis.LATENCY,)},
        Signal.TOO_DEAR: {"broken": (Axis.COST,)},
    }
    signal = Signal(getattr(standard.failure_note, line).signal)
    return replace(healthy, **failures.get(signal, {}))  # type: ignore[arg-type]  # by their names


def _tested(standard: Standard) -> bool:
    """Whether each line's planted failure makes its own signal fire, and health makes none."""
    for line in (f.name for f in fields(FailureNote)):
        wanted = getattr(standard.failure_note, line)
        fired = {(f.signal, f.response) for f in _by_the_note(standard, planted(standard, line))}
        if (wanted.signal, wanted.response) not in fired:
            return False
    healthy = Facts("healthy", "sha256:", "any", "nobody", metric_value=standard.contract.limit)
    return not _by_the_note(standard, healthy)


def _unfit(standard: Standard, facts: Facts) -> str:
    if facts.unfit:
        return facts.unfit
    contract, value = standard.contract, facts.metric_value
    if value is None:
        return f"its {contract.metric} could not be read"
    if not value >= contract.limit:  # NaN too
        return f"{contract.metric} is {value:g}, {contract.limit:g} at least: {contract.rationale}"
    return ""


def _over(what: str, value: float | None, limit: float, unit_s: float, unit: str) -> str:
    if value is None or not value > limit:
        return ""
    return f"{what} {value / unit_s:,.3g} {unit}, at most {limit / unit_s:,.3g}"


_FIRES: Mapping[Signal, Callable[[Standard, Facts], str]] = MappingProxyType(
    {
        Signal.OLD: lambda s, f: _over("its age is", f.age_s, s.limits.age_s, 86_400, "days"),
        Signal.SUPERSEDED: lambda s, f: (
            f"a newer version is known of {', '.join(f.newer_inputs)}" if f.newer_inputs else ""
        ),
        Signal.ABSENT: lambda s, f: "" if f.present else Signal.ABSENT.says,
        Signal.CHANGED: lambda s, f: "" if f.intact else Signal.CHANGED.says,
        Signal.LATE: lambda s, f: _over(
            "it was registered after", f.lag_s, s.limits.lag_s, 86_400, "days"
        ),
        Signal.UNLINKED: lambda s, f: "; ".join(f.gaps),
        Signal.LARGE: lambda s, f: _over(
            "it takes", f.size_bytes, s.limits.size_bytes, 2.0**20, "MiB"
        ),
        Signal.SLOW: lambda s, f: _over(
            "making it took", f.made_in_s, s.limits.made_in_s, 3600, "hours"
        ),
        Signal.TOO_SLOW: lambda s, f: Signal.TOO_SLOW.says if Axis.LATENCY in f.broken else "",
        Signal.TOO_DEAR: lambda s, f: Signal.TOO_DEAR.says if Axis.COST in f.broken else "",
    }
)


def _healthy(question: str, standard: Standard, facts: Facts) -> tuple[Answer, str]:
    """The answer where no signal fired, and what it rests on."""
    match question:
        case "stale":
            known = facts.age_s is not None
            return Answer.NO, f"{(facts.age_s or 0.0) / 86_400:,.1f} days old" if known else ""
        case "malformed":
            value = facts.metric_value
            metric = standard.contract.metric
            return Answer.NO, f"as its digest and its schema say; {metric} = {value:g}"
        case "inconsistent":
            kept = [r for r in facts.promised if r.contract.metric != "age"]
            if not kept:
                return Answer.UNKNOWN, "no reference is declared to compare it with"
            return Answer.NO, "; ".join(r.because for r in kept)
        case "unauditable":
            return Answer.NO, "it and all that it stands on are recorded"
        case _:
            made = f"; made in {facts.made_in_s:,.3g} s" if facts.made_in_s else ""
            return Answer.NO, f"{facts.size_bytes:,} bytes{made}"
