"""Incidents as the ledger tells them: a promise broken while serving, what was done, and its end.

Four kinds of entry: ``watch``, what is watched of a release and how sure one has to be;
``incident``, a breach; ``response``, what was done about one, and how that went; ``recovery``, the
evidence that closed it. The last two name their incident. A response whose action is ``withdraw``
closes it too, without evidence: nobody could have shown any more that the promise is kept again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headgate.ledger.entry import Entry
from headgate.ledger.store import Store

__all__ = ["WITHDRAW", "Incident", "incidents"]

WITHDRAW = "withdraw"


@dataclass(slots=True)
class Incident:
    """One incident; open until it has a ``recovery``, or was withdrawn."""

    opened: Entry
    responses: list[Entry] = field(default_factory=list)
    recovery: Entry | None = None
    """The first: servers of one endpoint watch each for itself."""

    @property
    def withdrawn(self) -> bool:
        return any(response.body["action"] == WITHDRAW for response in self.responses)

    @property
    def open(self) -> bool:
        return self.recovery is None and not self.withdrawn


def incidents(store: Store, endpoint: str) -> Sequence[Incident]:
    """Every incident of ``endpoint``, oldest first."""
    found = {
        entry.id: Incident(entry)
        for entry in store.entries("incident")
        if entry.body["endpoint"] == endpoint
    }
    for entry in store.entries("response"):
        if entry.body["incident"] in found:
            found[entry.body["incident"]].responses.append(entry)
    for entry in store.entries("recovery"):
        incident = found.get(entry.body["incident"])
        if incident is not None and incident.recovery is None:
            incident.recovery = entry
    return list(found.values())
