"""Names that people know, for ids in a store."""

from __future__ import annotations

import json
from typing import Any

from headgate.ledger import Entry, Store, incidents

__all__ = ["content_of", "contents", "run_that_made", "variant_name"]

_MAX_JSON_BYTES = 4_000_000


def content_of(store: Store, version: str) -> Any:
    """The content of an artifact where it is JSON of a readable size, else None."""
    if not store.has(version):
        return None
    if store.path_of(version).stat().st_size > _MAX_JSON_BYTES:
        return None
    content = store.read(version)
    if content[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(content)
    except ValueError:
        return None


def contents(store: Store, entry: Entry) -> dict[str, Any]:
    """What an entry stands for, where that is JSON: an artifact's content, a run's outputs; of an
    incident what was done about it."""
    if entry.kind == "incident":
        return _what_was_done(store, entry)
    versions = {"content": entry.body["version"]} if entry.kind == "artifact" else {}
    if entry.kind == "run":
        versions = {f"output {name}": version for name, version in entry.body["z"].items()}
    found = {name: content_of(store, version) for name, version in versions.items()}
    return {name: content for name, content in found.items() if content is not None}


def _what_was_done(store: Store, entry: Entry) -> dict[str, Any]:
    (incident,) = (i for i in incidents(store, entry.body["endpoint"]) if i.opened.id == entry.id)
    done = {f"response {i}": r.body for i, r in enumerate(incident.responses, start=1)}
    closed = {} if incident.recovery is None else {"recovery": incident.recovery.body}
    return {**done, **closed}


def variant_name(store: Store, version: str) -> str:
    """What the variant calls itself; empty where its content does not say."""
    content = content_of(store, version)
    variant = content.get("variant", {}) if isinstance(content, dict) else {}
    return str(variant.get("name", "")) if isinstance(variant, dict) else ""


def run_that_made(store: Store, entry: Entry) -> Entry | None:
    """The run itself, or the newest run that made the artifact."""
    if entry.kind == "run":
        return entry
    if entry.kind != "artifact":
        return None
    version = entry.body["version"]
    makers = [run for run in store.entries("run") if version in run.body["z"].values()]
    return makers[-1] if makers else None
