"""Decisions of the gate as they are stored: the one place that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headgate.ledger import Entry, Store
from headgate.objects import Action, Decision, parse, short
from headgate.release import ANSWERS, LATE, Rule, decision_from_json, rule_from_json

__all__ = [
    "DECIDES",
    "accepted_before",
    "counting",
    "decided",
    "deciding",
    "decisions",
    "is_decision",
    "rule_of",
]

DECIDES = "gate.decide"
"""The transformation whose runs are decisions."""


def is_decision(entry: Entry) -> bool:
    """Whether it is the entry of a run that decided."""
    return entry.kind == "run" and entry.body["transformation"] == DECIDES


def decided(store: Store, run: Entry) -> Decision:
    """What the run came to. Raises ``InputError`` and ``Tampered`` where that cannot be read."""
    return decision_from_json(parse(store.read(run.body["z"]["decision"])))


def deciding(store: Store) -> Iterator[Entry]:
    """Every run that decided, newest first, whether or not its decision can be read."""
    return reversed([run for run in store.entries("run") if is_decision(run)])


def decisions(store: Store) -> Iterator[tuple[Entry, Decision]]:
    """Every decision with the entry of its run, newest first. Raises as ``decided`` does."""
    return ((run, decided(store, run)) for run in deciding(store))


def counting(about: Iterable[tuple[Entry, Decision]]) -> Iterator[tuple[Entry, Decision]]:
    """Those of ``about`` that are of a rule that stood when its samples were seen: the others say
    nothing of what they are about, and supersede none. Ask where it is known which rule stands
    today, which those others may have been by."""
    return ((run, decision) for run, decision in about if not _too_late(decision))


def _too_late(decision: Decision) -> bool:
    return decision.action is Action.INVALID and LATE in decision.because


def accepted_before(store: Store, run: Entry) -> str:
    """Of a decision that does not count: the short id of the newest that does, and accepts, by the
    rule which its answers were seen by, against the same current; empty where there is none, and
    of any other decision."""
    if not _too_late(decided(store, run)):
        return ""
    case = parse(store.read(run.body["u"]["case"]))
    rules = map(rule_from_json, (case["rule"], *case.get("before", {}).values()))
    rule = {r.digest: r for r in rules}.get(case["in_force"].get(ANSWERS))
    if rule is None:
        return ""
    superseded: set[tuple[str, str]] = set()
    for earlier, decision in counting(decisions(store)):
        two = (decision.candidate, decision.current)
        may = two not in superseded and decision.accepted and decision.current == case["current"]
        if may and not rule_of(store, earlier).differs_in(rule):
            return short(earlier.id)
        superseded.add(two)
    return ""


def rule_of(store: Store, run: Entry) -> Rule:
    """The rule by which it was decided."""
    return rule_from_json(parse(store.read(run.body["u"]["case"]))["rule"])
