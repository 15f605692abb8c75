"""An artifact is registered together with what it is held to, before anything can fail."""

from __future__ import annotations

from dataclasses import replace

from headgate.ledger.entry import Entry
from headgate.ledger.store import Store
from headgate.objects import STANDARDS, Artifact, Standard, digest_bytes

__all__ = ["hold"]


def hold(store: Store, artifact: Artifact) -> Entry:
    """Register ``artifact`` under the standard of its kind; its entry.

    The standard is an artifact too, and held to the one of its own kind. A kind that has none is
    registered as it is: `headgate audit` then names the missing edge.
    """
    standard = STANDARDS.get(artifact.kind)
    if standard is None:
        return store.register(artifact)
    itself = _keep(store, STANDARDS["standard"], artifact.owner)
    version = itself if standard.kind == "standard" else _keep(store, standard, artifact.owner)
    return store.register(replace(artifact, standard=version))


def _keep(store: Store, standard: Standard, owner: str) -> str:
    content = standard.content
    version = digest_bytes(content)
    if store.artifact(version) is None:
        store.put_bytes(content)
        store.register(
            Artifact(
                id=f"standard/{standard.kind}",
                version=version,
                kind="standard",
                schema="json Standard",
                owner=owner,
                size_bytes=len(content),
                standard=digest_bytes(STANDARDS["standard"].content),
            )
        )
    return version
