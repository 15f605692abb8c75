"""What the store knows of an object at one moment: of an artifact, a run or a release.

``headgate.objects.checks`` says what that means. Whatever is wrong with an object is a fact of it,
and never an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from headgate.errors import InputError, Tampered, UsageError
from headgate.ledger import Entry, Store, incidents
from headgate.objects import (
    Axis,
    ContractResult,
    Facts,
    FailureNote,
    Limits,
    Response,
    Signal,
    SignalAndResponse,
    Standard,
    Verdict,
    parse,
)
from headgate.optimize.contents import metric_value, numbers
from headgate.release import contract_from_json, judge_age, judge_drift

__all__ = ["DATA_CONTRACTS", "facts_of", "standard_of"]

DATA_CONTRACTS = "data_contracts"
"""What the endpoint's contracts on data are called in the store."""


def standard_of(store: Store, body: Mapping[str, Any]) -> Standard | None:
    """What was recorded with the object, as it was then; None where that cannot be read.

    A code that this version does not know cannot be asked by, so it is not read either.
    """
    version = body.get("standard")
    if version is None:
        return None
    try:
        content = parse(store.read(version))
        note = {
            line: SignalAndResponse(Signal(seen["signal"]), Response(seen["response"]))
            for line, seen in content["failure_note"].items()
        }
        return Standard(
            **{
                **content,
                "contract": contract_from_json(content["contract"]),
                "failure_note": FailureNote(**note),
                "limits": Limits(**content["limits"]),
            }
        )
    except (Tampered, AttributeError, KeyError, TypeError, ValueError):  # also what is no JSON
        return None


def facts_of(
    store: Store,
    entry: Entry,
    standard: Standard | None,
    gaps: tuple[str, ...],
    now: datetime,
    *,
    promised: str | None,
) -> Facts:
    """``entry`` records an artifact, a run or a release; ``gaps`` are those below it.

    ``promised`` is the version of the endpoint's contracts on data.
    """
    if entry.kind == "run":
        return _run(store, entry, gaps, now)
    if entry.kind == "release":
        return _release(store, entry, gaps, now)
    return _artifact(store, entry, standard, gaps, now, _promised_of(store, promised, entry.body))


def _artifact(
    store: Store,
    entry: Entry,
    standard: Standard | None,
    gaps: tuple[str, ...],
    now: datetime,
    promised: Mapping[str, Any],
) -> Facts:
    body = entry.body
    version, schema = str(body["version"]), str(body["schema"])
    content = _content(store, version, schema, standard)
    run = _maker(store, body)
    as_of = promised.get("as_of")
    recorded = _moment(entry.recorded_at)
    came = _moment(f"{as_of}T00:00:00Z") if as_of else None
    if came is None and run is not None:
        came = _moment(run.body["ended_at"])
    age_s = (now - (came or recorded)).total_seconds()
    whole = content["present"] and content["intact"]
    return Facts(
        identifier=str(body["id"]),
        version=version,
        schema=schema,
        owner=str(body["owner"]),
        age_s=age_s,
        lag_s=None if came is None else (recorded - came).total_seconds(),
        newer_inputs=_newer(
            store, [*body["lineage"], *(run.body["u"].values() if run is not None else ())]
        ),
        gaps=gaps,
        size_bytes=int(body["size_bytes"]),
        made_in_s=0.0 if run is None else _seconds(run),
        promised=_judged(store, promised, version, schema, age_s) if whole else (),
        **content,
    )


def _run(store: Store, entry: Entry, gaps: tuple[str, ...], now: datetime) -> Facts:
    """Its content is what it made."""
    body = entry.body
    outputs = dict.fromkeys(body["z"].values())
    here = [version for version in outputs if store.has(version)]
    registered = [artifact for v in here if (artifact := store.artifact(v)) is not None]
    ended = _moment(body["ended_at"])
    return Facts(
        identifier=f"run {body['transformation']}",
        version=entry.id,
        schema="json Run",
        owner=str(body.get("owner", "")),
        metric_value=float(len(outputs)),
        age_s=(now - ended).total_seconds(),
        lag_s=(_moment(entry.recorded_at) - ended).total_seconds(),
        newer_inputs=_newer(store, body["u"].values()),
        present=len(here) == len(outputs),
        intact=all(_is_intact(store, version) for version in here),
        gaps=gaps,
        size_bytes=sum(artifact.size_bytes for artifact in registered),
        made_in_s=_seconds(entry),
    )


def _release(store: Store, entry: Entry, gaps: tuple[str, ...], now: datetime) -> Facts:
    """Its content is its variant; what it promises while it serves is told by open incidents."""
    body = entry.body
    variant = store.artifact(body["variant"])
    broken = [
        _broken(incident.opened)
        for incident in incidents(store, body["endpoint"])
        if incident.open and incident.opened.body.get("release") == entry.id
    ]
    told_apart = (Axis.LATENCY, Axis.COST)  # signals of the failure note
    return Facts(
        identifier=f"{body['endpoint']}@{body['generation']}",
        version=entry.id,
        schema="json Release",
        owner=str(body.get("owner", "")),
        age_s=(now - _moment(entry.recorded_at)).total_seconds(),
        newer_inputs=_newer(store, () if variant is None else variant.lineage),
        gaps=gaps,
        size_bytes=0 if variant is None else variant.size_bytes,
        broken=tuple(r.contract.axis for r in broken if r.contract.axis in told_apart),
        promised=tuple(r for r in broken if r.contract.axis not in told_apart),
        **_content(store, body["variant"], "json Servable", standard_of(store, body)),
    )


def _broken(incident: Entry) -> ContractResult:
    body = incident.body
    contract = contract_from_json(body["contract"])
    value, low = float(body["value"]), float(body["low"])
    because = f"{contract.describe()}: {body['because']}"
    return ContractResult(contract, contract.breach, value, low, value, int(body["n"]), because)


def _content(store: Store, version: str, schema: str, standard: Standard | None) -> dict[str, Any]:
    """Those of the facts that the content itself tells."""
    present, intact, unfit, value = store.has(version), True, "", None
    try:
        path = store.path_of(version) if present else None
        if path is not None and standard is not None:
            value = metric_value(standard.contract.metric, schema, path)
    except Tampered:
        intact = False
    except InputError as error:
        unfit = error.what
    return {"present": present, "intact": intact, "unfit": unfit, "metric_value": value}


def _is_intact(store: Store, version: str) -> bool:
    try:
        store.path_of(version)
    except Tampered:
        return False
    return True


def _maker(store: Store, body: Mapping[str, Any]) -> Entry | None:
    try:
        maker = None if body["made_by"] is None else store.get(body["made_by"])
    except UsageError:  # a gap, which has its own place
        return None
    return maker if maker is not None and maker.kind == "run" else None


def _newer(store: Store, sources: Iterable[str]) -> tuple[str, ...]:
    """Ids of those of ``sources`` of which another version was registered later."""
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


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def _seconds(run: Entry) -> float:
    took = _moment(run.body["ended_at"]) - _moment(run.body["started_at"])
    return took.total_seconds() + float(run.body["earlier_s"])
