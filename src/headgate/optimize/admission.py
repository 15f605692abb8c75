"""Whether data may be learnt from: asked before a student is trained, or scales are calibrated.

What a promotion would wait for is not learnt from either: data that are not as their schema says,
older than the endpoint allows, or too far from their reference. The answer is recorded, and what
would have learnt from them is not made.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from headgate.errors import InputError
from headgate.objects import jsonable
from headgate.optimize.audit import FIXES, audit_data
from headgate.optimize.facts import DATA_CONTRACTS
from headgate.optimize.recorder import Recorder

__all__ = ["admit"]


def admit(recorder: Recorder, role: str, versions: Mapping[str, str], *, now: datetime) -> None:
    """Asks the data under ``role``; ``versions`` are those of the endpoint's inputs.

    Records an ``admission``, unless the newest of this role says the same. Raises ``InputError``
    (reason ``data_rejected``) where a response stops: with what was found, and what to do.
    """
    store, endpoint = recorder.store, recorder.endpoint
    found = audit_data(store, versions[role], promised=versions.get(DATA_CONTRACTS), now=now)
    stops = [finding for finding in found.findings if finding.stops]
    body = {
        "endpoint": endpoint,
        "role": role,
        "data": versions[role],
        "admitted": not stops,
        "findings": jsonable(found.findings),
    }
    known = store.latest("admission", endpoint=endpoint, role=role)
    if known is None or known.body != body:
        store.append("admission", body)
    if stops:
        said = "; ".join(f"{f.because} ({f.response})" for f in stops)
        raise InputError(
            f"nothing is learnt from data.{role}: {said}",
            where=found.identifier,
            reason="data_rejected",
            fix="; ".join(dict.fromkeys(FIXES[f.question] for f in stops)),
        )
