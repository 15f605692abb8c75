"""Whether data may be learnt from: asked before a student is trained, or scales are calibrated.

What a promotion would wait for is not learnt from either: data that are not as their schema says,
older than the endpoint allows, or too far from their reference. The answer is recorded, and what
would have learnt from them is not made.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from headgate.errors import InputError
from headgate.ledger import Store
from headgate.objects import jsonable
from headgate.optimize.audit import FIXES, audit_data
from headgate.optimize.facts import DATA_CONTRACTS
from headgate.optimize.own_requests import LEARNT
from headgate.optimize.recorder import Recorder

__all__ = ["admit"]


def admit(recorder: Recorder, role: str, versions: Mapping[str, str], *, now: datetime) -> None:
    """Asks the data under ``role``; ``versions`` are those of the endpoint's inputs.

    Of the workload's own requests the workload is asked too: what is promised of it is promised of
    them. Records an ``admission``, unless the newest of this role says the same. Raises
    ``InputError`` (reason ``data_rejected``) where a response stops: with what was found, and what
    to do.
    """
    store, endpoint = recorder.store, recorder.endpoint
    asked = [
        audit_data(store, version, promised=versions.get(DATA_CONTRACTS), now=now)
        for version in _sources(store, versions[role])
    ]
    findings = [finding for found in asked for finding in found.findings]
    stopped = {a.identifier: s for a in asked if (s := [f for f in a.findings if f.stops])}
    stops = [finding for found in stopped.values() for finding in found]
    body = {
        "endpoint": endpoint,
        "role": role,
        "data": versions[role],
        "admitted": not stops,
        "findings": jsonable(findings),
    }
    known = store.latest("admission", endpoint=endpoint, role=role)
    if known is None or known.body != body:
        store.append("admission", body)
    if stops:
        said = "; ".join(f"{f.because} ({f.response})" for f in stops)
        raise InputError(
            f"nothing is learnt from data.{role}: {said}",
            where=", ".join(stopped),
            reason="data_rejected",
            fix="; ".join(dict.fromkeys(FIXES[f.question] for f in stops)),
        )


def _sources(store: Store, version: str) -> list[str]:
    """The data itself and, where it is the workload's own requests, the workload."""
    artifact = store.artifact(version)
    maker = artifact.made_by if artifact is not None else None
    run = store.get(maker) if maker is not None else None
    if run is None or run.body.get("transformation") != LEARNT:
        return [version]
    return [version, str(run.body["u"]["workload"])]
