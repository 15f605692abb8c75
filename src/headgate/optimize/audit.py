"""Whether an object may be promoted: its evidence, the five questions, the six items.

``headgate.optimize.facts`` gathers what is known of an object; ``headgate.objects.checks`` says
what that means. Nothing is measured; that a promotion was audited, and what was found, is recorded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from headgate.errors import InputError, Refused, Tampered, UsageError
from headgate.ledger import Entry, Store
from headgate.objects import (
    CheckItem,
    ContractResult,
    Decision,
    Facts,
    Finding,
    Reply,
    Response,
    Signal,
    Standard,
    Verdict,
    answers,
    checklist,
    findings,
    jsonable,
    parse,
    short,
)
from headgate.optimize.facts import DATA_CONTRACTS, facts_of, standard_of
from headgate.release import decision_from_json
from headgate.runtime.decisions import decided, deciding, is_decision

__all__ = [
    "FIXES",
    "Audited",
    "Notice",
    "ObjectAudit",
    "audit_candidate",
    "audit_data",
    "audit_object",
    "audit_promotion",
    "audit_store",
    "refuse_unaudited",
]


@dataclass(frozen=True, slots=True)
class ObjectAudit:
    """One object, and everything that was asked of it."""

    identifier: str
    version: str
    """Of its content; of a run or a release, which are entries, the entry's id."""
    kind: str
    """A ``Kind`` of artifact, ``run`` or ``release``."""
    owner: str
    standard: Standard | None
    """What it is held to; None where nothing is recorded."""
    facts: Facts
    checklist: Mapping[CheckItem, bool]
    replies: tuple[Reply, ...]
    """To the five questions; none where it is held to nothing."""
    findings: tuple[Finding, ...]
    judged: tuple[ContractResult, ...]
    """The endpoint's own promises, as the newest decision about it found them kept."""

    @property
    def stops(self) -> bool:
        """Whether a promotion waits for it."""
        return not all(self.checklist.values()) or any(f.stops for f in self.findings)


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that was found, and the command that brings what is missing."""

    object: str
    id: str
    """Its artifact version or its entry; empty where it is no object of the store."""
    edge: str
    """The missing edge, or the failure question that is answered with yes."""
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.object}: {self.edge}: {self.what}"

    @property
    def in_passing(self) -> str:
        """For whoever is told of it and need not wait."""
        return f"{self}; it stops nobody: {self.fix}"


@dataclass(frozen=True, slots=True)
class Audited:
    """What was found of all that a promotion stands on."""

    stops: tuple[Notice, ...] = ()
    """A promotion waits for these."""
    told: tuple[Notice, ...] = ()
    """Their owner is told of these, and nobody waits."""


def audit_object(store: Store, id: str, *, now: datetime) -> ObjectAudit:
    """Asks everything of the artifact of this version, or of the run or release of this entry; of a
    run that decided, its decision is asked. Raises ``UsageError`` for anything else.

    Whatever is wrong with it is part of the answer, and never an exception.
    """
    entry = _object(store, id)
    named, declared = entry.id, None
    if entry.kind == "artifact":
        named = str(entry.body["version"])
        endpoint = str(entry.body["id"]).partition("/")[0]
        declared = store.artifact(f"{endpoint}/{DATA_CONTRACTS}")
    return _audit(
        store,
        entry,
        tuple(f"{g.object}: {g.edge}: {g.what}" for g in store.gaps([named])),
        now,
        promised=None if declared is None else declared.version,
        judged=True,
    )


def audit_data(store: Store, version: str, *, promised: str | None, now: datetime) -> ObjectAudit:
    """Asks the data with this artifact version alone, and nothing below it.

    ``promised`` is the version of the endpoint's contracts on data; None without any.
    """
    return _audit(store, store.get(version), (), now, promised=promised, judged=False)


def audit_candidate(store: Store, entry: str, decision: Decision, *, now: datetime) -> Audited:
    """What is found of promoting the candidate of a decision, by its ``entry``.

    The missing edges of the decision, of the candidate and of its measurements, and of all that
    they stand on; then the questions, of each object among these.
    """
    measured = [r.measurement for r in decision.results if r.measurement is not None]
    starts = [decision.candidate, entry, *measured]
    stops = [Notice(g.object, g.id, g.edge, g.what, g.fix) for g in store.gaps(starts)]
    told: list[Notice] = []
    objects = store.stands_on(starts)
    found = [artifact for v in objects if (artifact := store.artifact(v)) is not None]
    promised = next((a.version for a in reversed(found) if _promises_of_data(a.id)), None)
    for version in objects:
        # What is current may break its promises: that is why it is to be replaced.
        judged = version == decision.candidate
        audited = _audit(store, store.get(version), (), now, promised=promised, judged=judged)
        for f in audited.findings:
            notice = Notice(
                audited.identifier, audited.version, f.question, f.because, FIXES[f.question]
            )
            (stops if f.stops else told).append(notice)
    return Audited(tuple(stops), tuple(told))


def audit_store(store: Store, *, now: datetime) -> Audited:
    """Every missing edge in the store, and what is found of the newest variant that was
    accepted."""
    stops = [Notice(g.object, g.id, g.edge, g.what, g.fix) for g in store.gaps()]
    newest = Audited()
    for entry in deciding(store):
        try:
            decision = decided(store, entry)
        except (InputError, Tampered) as error:
            name, fix = f"decision {short(entry.id)}", FIXES["malformed"]
            stops.append(Notice(name, entry.id, "malformed", error.what, fix))
            continue
        judged = store.artifact(decision.candidate)
        if decision.accepted and judged is not None and judged.kind == "variant":
            newest = audit_candidate(store, entry.id, decision, now=now)
            break
    return Audited(tuple(dict.fromkeys((*stops, *newest.stops))), newest.told)


def audit_promotion(store: Store, entry: str, decision: Decision, *, now: datetime) -> Audited:
    """``audit_candidate``, and an ``audit`` entry of it, unless the newest says the same."""
    found = audit_candidate(store, entry, decision, now=now)
    body = {"decision": entry, "candidate": decision.candidate, **jsonable(found)}
    known = store.latest("audit", decision=entry)
    if known is None or known.body != body:
        store.append("audit", body)
    return found


def refuse_unaudited(store: Store, entry: str, decision: Decision, *, now: datetime) -> Audited:
    """``audit_promotion``, of what nothing stops. Raises ``Refused`` (reason ``unauditable``),
    naming everything that stops it."""
    found = audit_promotion(store, entry, decision, now=now)
    if found.stops:
        named = "; ".join(map(str, found.stops[:_NAMED]))
        more = f"; and {len(found.stops) - _NAMED} more" if len(found.stops) > _NAMED else ""
        raise Refused(
            named + more,
            where=f"promotion of {short(decision.candidate)}",
            reason="unauditable",
            fix="; ".join(dict.fromkeys(s.fix for s in found.stops)),
        )
    return found


_NAMED = 5

FIXES = {
    "stale": "fetch newer data, then: headgate optimize headgate.yaml",
    "malformed": "restore it from a backup, or make it again: headgate optimize headgate.yaml",
    "inconsistent": "find what changed, and gather the data again: headgate optimize headgate.yaml",
    "unauditable": "headgate optimize headgate.yaml",
    "too_costly": "headgate optimize headgate.yaml",
}
"""Failure question -> what to do where it is answered with yes."""


def _object(store: Store, id: str) -> Entry:
    """The entry that is asked: of a decision that is named by its run, what the run decided."""
    entry = store.get(id)
    if is_decision(entry):
        decision = str(entry.body["z"]["decision"])
        return entry if store.artifact(decision) is None else store.get(decision)
    if entry.kind not in ("artifact", "run", "release"):
        raise UsageError(
            f"{short(entry.id)} is a {entry.kind}, and questions are asked of artifacts, runs and "
            "releases",
            where=str(store.root),
            reason="no_object",
            fix="give the id of a data set, a model, a plan, a variant, a decision, a run or a "
            "release",
        )
    return entry


def _audit(
    store: Store,
    entry: Entry,
    gaps: tuple[str, ...],
    now: datetime,
    *,
    promised: str | None,
    judged: bool,
) -> ObjectAudit:
    """``promised`` is the version of the contracts on data; ``judged``: whether decisions about it
    are asked too."""
    standard = standard_of(store, entry.body)
    facts = facts_of(store, entry, standard, gaps, now, promised=promised)
    results = _results(store, entry) if judged else ()
    broken = (r.contract.axis for r in results if r.verdict is Verdict.FAIL)
    facts = replace(facts, broken=tuple(dict.fromkeys((*facts.broken, *broken))))
    return ObjectAudit(
        identifier=facts.identifier,
        version=facts.version,
        kind=str(entry.body["kind"]) if entry.kind == "artifact" else entry.kind,
        owner=facts.owner,
        standard=standard,
        facts=facts,
        checklist=checklist(standard, facts),
        replies=() if standard is None else answers(standard, facts),
        findings=_unheld(entry.body) if standard is None else findings(standard, facts),
        judged=results,
    )


def _unheld(body: Mapping[str, Any]) -> tuple[Finding, ...]:
    """What is found where there is no standard to ask by."""
    if body.get("standard") is None:
        return ()  # a missing edge, which is a gap
    because = "what it is held to cannot be read"
    return (Finding("unauditable", Signal.UNLINKED, because, Response.BLOCK),)


def _results(store: Store, entry: Entry) -> tuple[ContractResult, ...]:
    """Of a decision its own, else those of the newest decision about it."""
    if entry.kind == "artifact" and entry.body["kind"] == "decision":
        try:
            return decision_from_json(parse(store.read(entry.body["version"]))).results
        except (InputError, Tampered):  # a fact, which has its own place
            return ()
    version = entry.body["variant"] if entry.kind == "release" else entry.body.get("version")
    for run in deciding(store):
        with contextlib.suppress(InputError, Tampered):  # as above
            if (decision := decided(store, run)).candidate == version:
                return decision.results
    return ()


def _promises_of_data(name: str) -> bool:
    return name.partition("/")[2] == DATA_CONTRACTS
