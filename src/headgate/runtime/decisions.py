"""Decisions of the gate as they are stored: the one place that reads them."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.ledger import Entry, Store
from headgate.objects import Decision, parse
from headgate.release import Rule, decision_from_json, rule_from_json

__all__ = ["DECIDES", "decided", "deciding", "decisions", "is_decision", "rule_of"]

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


def rule_of(store: Store, run: Entry) -> Rule:
    """The rule by which it was decided."""
    return rule_from_json(parse(store.read(run.body["u"]["case"]))["rule"])
