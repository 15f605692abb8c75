"""An object is recorded together with what it is held to, before anything can fail."""

from __future__ import annotations

from dataclasses import replace

from headgate.ledger.entry import Entry
from headgate.ledger.store import Store
from headgate.objects import STANDARDS, Artifact, Release, Run, Standard, digest_bytes

__all__ = ["hold", "hold_release", "hold_run"]


def hold(store: Store, artifact: Artifact) -> Entry:
    """Register ``artifact`` under the standard of its kind; its entry.

    The standard is an artifact too, and held to the one of its own kind.
    """
    version = _keep(store, artifact.kind, artifact.owner)
    return store.register(replace(artifact, standard=version))


def hold_run(store: Store, run: Run) -> Entry:
    """Record ``run`` under the standard of runs; its entry."""
    return store.record_run(replace(run, standard=_keep(store, "run", run.owner)))


def hold_release(store: Store, release: Release, *, expected_generation: int | None) -> Entry:
    """``Store.promote``, under the standard of releases and the name of whoever owns the variant.

    A variant that nobody registered has no owner, and is released all the same: what is to be
    promoted was audited before, and a rollback waits for nobody. `headgate audit` names the gap.
    """
    variant = store.artifact(release.variant)
    owner = release.owner if variant is None else variant.owner
    held = replace(release, owner=owner, standard=_keep(store, "release", owner or "unknown"))
    return store.promote(held, expected_generation=expected_generation)


def _keep(store: Store, kind: str, owner: str) -> str:
    """The version of the standard of ``kind``, which is registered where it is not yet."""
    itself = _register(store, STANDARDS["standard"], owner, None)
    if kind == "standard":
        return itself
    return _register(store, STANDARDS[kind], owner, itself)


def _register(store: Store, standard: Standard, owner: str, held_to: str | None) -> str:
    """``held_to`` is None for the standard of standards, which is held to itself."""
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
                standard=held_to or version,
            )
        )
    return version
