"""Whether an object may be promoted: its evidence, the five questions, the six items.

Gathers what the store knows of an object at one moment; ``headgate.objects.checks`` says what that
means. Nothing is measured; that a promotion was audited, and what was found, is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from headgate.errors import InputError, Refused, Tampered, UsageError
from headgate.ledger import Entry, Store
from headgate.objects import (
    ContractResult,
    Decision,
    Facts,
    FailureNote,
    Finding,
    Limits,
    Reply,
    Response,
    Signal,
    SignalAndResponse,
    Standard,
    Verdict,
    answers,
    checklist,
    findings,
    jsonable,
    parse,
    short,
)
from headgate.optimize.contents import metric_value, numbers
from headgate.release import contract_from_json, judge_age, judge_drift
from headgate.runtime.decisions import decisions

__all__ = [
    "ObjectAudit",
    "Stop",
    "audit_object",
    "audit_promotion",
    "audit_store",
    "refuse_unaudited",
    "what_stops",
]

_DATA_CONTRACTS = "data_contracts"


@dataclass(frozen=True, slots=True)
class ObjectAudit:
    """One object, and everything that was asked of it."""

    identifier: str
    version: str
    kind: str
    owner: str
    standard: Standard | None
    """What it is held to; None where nothing is recorded."""
    facts: Facts
    checklist: Mapping[str, bool]
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
class Stop:
    """One thing that a promotion waits for, and the command that brings it."""

    object: str
    id: str
    """Its artifact version or its entry; empty where it is no object of the store."""
    edge: str
    """The missing edge, or the failure question whose answer stops it."""
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.object}: {self.edge}: {self.what}"


def audit_object(store: Store, version: str, *, now: datetime) -> ObjectAudit:
    """Asks everything of the artifact with this version. Raises ``UsageError`` for anything else.

    Whatever is wrong with it is part of the answer, and never an exception.
    """
    entry = store.get(version)
    if entry.kind != "artifact":
        raise UsageError(
            f"{short(entry.id)} is a {entry.kind}, and questions are asked of artifacts",
            where=str(store.root),
            reason="no_object",
            fix="give the version of an artifact: a data set, a model, a plan, a variant",
        )
    body = entry.body
    gaps = store.gaps([str(body["version"])])
    declared = store.artifact(f"{str(body['id']).partition('/')[0]}/{_DATA_CONTRACTS}")
    return _audit(
        store,
        entry,
        tuple(f"{g.object}: {g.edge}: {g.what}" for g in gaps),
        now,
        promised=None if declared is None else declared.version,
        judged=True,
    )


def what_stops(store: Store, entry: str, decision: Decision, *, now: datetime) -> tuple[Stop, ...]:
    """Everything that promoting the candidate of a decision, by its ``entry``, waits for.

    The missing edges of the decision, of the candidate and of its measurements, and of all that
    they stand on; then the questions, of each object among these.
    """
    measured = [r.measurement for r in decision.results if r.measurement is not None]
    starts = [decision.candidate, entry, *measured]
    stops = [Stop(g.object, g.id, g.edge, g.what, g.fix) for g in store.gaps(starts)]
    objects = store.stands_on(starts)
    found = [artifact for v in objects if (artifact := store.artifact(v)) is not None]
    promised = next((a.version for a in reversed(found) if _promises_of_data(a.id)), None)
    for version in objects:
        # What is current may break its promises: that is why it is to be replaced.
        judged = version == decision.candidate
        audited = _audit(store, store.get(version), (), now, promised=promised, judged=judged)
        stops += [
            Stop(audited.identifier, audited.version, f.question, f.because, _FIXES[f.question])
            for f in audited.findings
            if f.stops
        ]
    return tuple(stops)


def audit_store(store: Store, *, now: datetime) -> tuple[Stop, ...]:
    """Every missing edge in the store, and what the newest variant that was accepted waits for."""
    stops = [Stop(g.object, g.id, g.edge, g.what, g.fix) for g in store.gaps()]
    for entry, decision in decisions(store):
        judged = store.artifact(decision.candidate)
        if decision.accepted and judged is not None and judged.kind == "variant":
            stops += what_stops(store, entry.id, decision, now=now)
            break
    return tuple(dict.fromkeys(stops))


def audit_promotion(
    store: Store, entry: str, decision: Decision, *, now: datetime
) -> tuple[Stop, ...]:
    """``what_stops``, and an ``audit`` entry of what it found, unless the newest says the same."""
    stops = what_stops(store, entry, decision, now=now)
    body = {"decision": entry, "candidate": decision.candidate, "stops": stops}
    known = store.latest("audit", decision=entry)
    if known is None or known.body != jsonable(body):
        store.append("audit", body)
    return stops


def refuse_unaudited(store: Store, entry: str, decision: Decision, *, now: datetime) -> None:
    """Raises ``Refused`` (reason ``unauditable``), naming everything that stops a promotion."""
    stops = audit_promotion(store, entry, decision, now=now)
    if stops:
        named = "; ".join(map(str, stops[:_NAMED]))
        more = f"; and {len(stops) - _NAMED} more" if len(stops) > _NAMED else ""
        raise Refused(
            named + more,
            where=f"promotion of {short(decision.candidate)}",
            reason="unauditable",
            fix="; ".join(dict.fromkeys(s.fix for s in stops)),
        )


_NAMED = 5

_FIXES = {
    "stale": "fetch newer data, then: headgate optimize headgate.yaml",
    "malformed": "restore it from a backup, or make it again: headgate optimize headgate.yaml",
    "inconsistent": "find what changed, and gather the data again: headgate optimize headgate.yaml",
    "unauditable": "headgate optimize headgate.yaml",
    "too_costly": "headgate optimize headgate.yaml",
}


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
    body = entry.body
    standard = _standard(store, body)
    facts = _facts(store, entry, standard, gaps, now, _promised_of(store, promised, body))
    results = _newest_results(store, facts.version) if judged else ()
    broken = dict.fromkeys(r.contract.axis for r in results if r.verdict is Verdict.FAIL)
    facts = replace(facts, broken=tuple(broken))
    return ObjectAudit(
        identifier=str(body["id"]),
        version=str(body["version"]),
        kind=str(body["kind"]),
        owner=str(body["owner"]),
        standard=standard,
        facts=facts,
        checklist=checklist(standard, facts),
        replies=() if standard is None else answers(standard, facts),
        findings=_unheld(body) if standard is None else findings(standard, facts),
        judged=results,
    )


def _unheld(body: Mapping[str, Any]) -> tuple[Finding, ...]:
    """What is found where there is no standard to ask by."""
    if body.get("standard") is None:
        return ()  # a missing edge, which is a gap
    because = "what it is held to cannot be read"
    return (Finding("unauditable", Signal.UNLINKED, because, Response.BLOCK),)


def _facts(
    store: Store,
    entry: Entry,
    standard: Standard | None,
    gaps: tuple[str, ...],
    now: datetime,
    promised: Mapping[str, Any],
) -> Facts:
    body = entry.body
    version, schema = str(body["version"]), str(body["schema"])
    present, intact, unfit, value = store.has(version), True, "", None
    try:
        path = store.path_of(version) if present else None
        if path is not None and standard is not None:
            value = metric_value(standard.contract.metric, schema, path)
    except Tampered:
        intact = False
    except InputError as error:
        unfit = error.what
    run = _maker(store, body)
    as_of = promised.get("as_of")
    recorded = _moment(entry.recorded_at)
    came = _moment(f"{as_of}T00:00:00Z") if as_of else None
    if came is None and run is not None:
        came = _moment(run.body["ended_at"])
    age_s = (now - (came or recorded)).total_seconds()
    return Facts(
        identifier=str(body["id"]),
        version=version,
        schema=schema,
        owner=str(body["owner"]),
        metric_value=value,
        age_s=age_s,
        lag_s=None if came is None else (recorded - came).total_seconds(),
        newer_inputs=_newer_inputs(store, body, run),
        present=present,
        intact=intact,
        unfit=unfit,
        gaps=gaps,
        size_bytes=int(body["size_bytes"]),
        made_in_s=0.0 if run is None else _seconds(run),
        data=_judged(store, promised, version, schema, age_s) if present and intact else (),
    )


def _maker(store: Store, body: Mapping[str, Any]) -> Entry | None:
    try:
        return None if body["made_by"] is None else store.get(body["made_by"])
    except UsageError:  # a gap, which has its own place
        return None


def _newer_inputs(store: Store, body: Mapping[str, Any], run: Entry | None) -> tuple[str, ...]:
    """Ids of what it came from of which another version was registered later."""
    sources = [*body["lineage"], *(run.body["u"].values() if run is not None else ())]
    newer: dict[str, None] = {}
    for source in dict.fromkeys(sources):
        used = store.artifact(source)
        # A role (``docs/evaluate``) has one version at a time; other names are shared.
        if used is None or used.id.count("/") != 1:
            continue
        latest = store.artifact(used.id)
        if latest is not None and latest.version != source:
            newer[used.id] = None
    return tuple(newer)


def _newest_results(store: Store, version: str) -> tuple[ContractResult, ...]:
    """Of the newest decision about it."""
    about = (decision for _, decision in decisions(store) if decision.candidate == version)
    newest = next(about, None)
    return () if newest is None else newest.results


def _promises_of_data(name: str) -> bool:
    return name.partition("/")[2] == _DATA_CONTRACTS


def _promised_of(store: Store, version: str | None, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the contracts on data of this version say of the object; empty where nothing."""
    if version is None:
        return {}
    try:
        content = parse(store.read(version))
    except (InputError, Tampered):  # it is an object itself, and answers for itself
        return {}
    role = str(body["id"]).partition("/")[2]
    promised: Mapping[str, Any] = content.get(role, {})
    return promised


def _judged(
    store: Store, promised: Mapping[str, Any], version: str, schema: str, age_s: float
) -> tuple[ContractResult, ...]:
    """The endpoint's contracts on this data; what cannot be compared is unknown."""
    results: list[ContractResult] = []
    for declared in promised.get("contracts", ()):
        contract = contract_from_json(declared)
        if contract.metric == "age":
            results.append(judge_age(contract, age_s))
            continue
        other = promised["reference"]
        reference = store.artifact(other)
        try:
            current = numbers(schema, store.path_of(version))
            form = schema if reference is None else reference.schema
            results.append(judge_drift(contract, current, numbers(form, store.path_of(other))))
        except (InputError, Tampered) as error:
            because = f"it cannot be compared with its reference: {error.what}"
            nan = float("nan")
            results.append(ContractResult(contract, Verdict.UNKNOWN, nan, nan, nan, 0, because))
    return tuple(results)


def _standard(store: Store, body: Mapping[str, Any]) -> Standard | None:
    """What was registered with the object, as it was then; None where that cannot be read."""
    version = body.get("standard")
    if version is None:
        return None
    try:
        content = parse(store.read(version))
    except (InputError, Tampered):
        return None
    note = {line: SignalAndResponse(**seen) for line, seen in content["failure_note"].items()}
    return Standard(
        **{
            **content,
            "contract": contract_from_json(content["contract"]),
            "failure_note": FailureNote(**note),
            "limits": Limits(**content["limits"]),
        }
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def _seconds(run: Entry) -> float:
    took = _moment(run.body["ended_at"]) - _moment(run.body["started_at"])
    return took.total_seconds()
