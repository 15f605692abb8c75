"""Where something came from: artifact <- run <- inputs, back to what came from outside."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from headgate.ledger.entry import Entry
from headgate.ledger.store import Store

__all__ = ["Edge", "graph"]


@dataclass(frozen=True, slots=True)
class Edge:
    """``product`` exists because of ``source``."""

    product: str
    """An artifact version, or the entry id of a run."""
    relation: str
    """``made_by`` (artifact <- run), ``used`` (run <- input), ``derived_from`` (its lineage)."""
    source: str
    """The entry id of a run (``made_by``), else an artifact version."""
    name: str = ""
    """What the run calls its output or input; empty for lineage."""


def graph(store: Store, version: str) -> tuple[Edge, ...]:
    """Every upstream edge of ``version``, nearest first, each once.

    ``version`` is an artifact version, the entry id of an artifact or a run, or a unique prefix.
    Raises ``UsageError`` where the ledger knows none. A source that no entry registers ends the
    walk there: it is a gap in the evidence.
    """
    start = store.get(version)
    makers: dict[str, list[tuple[Entry, str]]] = {}
    runs: dict[str, Entry] = {}
    for run in store.entries("run"):
        runs[run.id] = run
        for name, output in run.body["z"].items():
            makers.setdefault(output, []).append((run, name))
    lineage: dict[str, list[str]] = {}
    for artifact in store.entries("artifact"):
        known = lineage.setdefault(artifact.body["version"], [])
        known += [v for v in artifact.body["lineage"] if v not in known]

    edges: dict[Edge, None] = {}
    waiting = deque([start.id if start.kind == "run" else start.body.get("version", start.id)])
    seen = set(waiting)
    while waiting:
        product = waiting.popleft()
        if product in runs:
            inputs = runs[product].body["u"].items()
            found = [Edge(product, "used", source, name) for name, source in inputs]
        else:
            found = [Edge(product, "made_by", r.id, name) for r, name in makers.get(product, ())]
            found += [Edge(product, "derived_from", source) for source in lineage.get(product, ())]
        for edge in found:
            edges[edge] = None
            if edge.source not in seen:
                seen.add(edge.source)
                waiting.append(edge.source)
    return tuple(edges)
