"""Names that people know, for ids in a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headgate.cli.options import endpoint_in
from headgate.errors import UsageError
from headgate.ledger import Entry, Store, incidents

__all__ = ["content_of", "contents", "release_named", "run_that_made", "variant_name"]

_MAX_JSON_BYTES = 4_000_000
_GENERATION_DIGITS = 3


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


def release_named(store: Store, name: str, config: Path | None) -> Entry | None:
    """The release that ``docs@3`` names, or ``3`` of the only endpoint; None where it is an id.

    Raises ``UsageError`` where there is no such generation, and as ``endpoint_in`` does.
    """
    endpoint, at, generation = name.rpartition("@")
    # Ids have at least four digits, so that three are a generation.
    if not generation.isdecimal() or (not at and len(generation) > _GENERATION_DIGITS):
        return None
    endpoint = endpoint_in(store, config, endpoint or None)
    releases = {release.generation: entry for entry, release in store.history(endpoint)}
    if int(generation) not in releases:
        raise UsageError(
            f"{endpoint} has no generation {int(generation)}; the newest is {max(releases)}",
            where=str(store.root),
            reason="unknown_id",
            fix="`headgate history` lists them",
        )
    return releases[int(generation)]


def run_that_made(store: Store, entry: Entry) -> Entry | None:
    """The run itself, or the newest run that made the artifact."""
    if entry.kind == "run":
        return entry
    if entry.kind != "artifact":
        return None
    version = entry.body["version"]
    makers = [run for run in store.entries("run") if version in run.body["z"].values()]
    return makers[-1] if makers else None
