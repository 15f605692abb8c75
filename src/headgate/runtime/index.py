"""The index that a release needs, by the ledger. Headgate holds none: it says which, and when.

A release of ``embed`` is (encoder, index). It names the build that makes its index, so that whoever
promotes or rolls back is told when the index must change with the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping

from headgate.ledger import Store
from headgate.objects import Release, short
from headgate.release import INDEX, index_for
from headgate.runtime.servable import Servable

__all__ = ["index_change", "index_of", "named_index", "with_index"]


def with_index(store: Store, variant: str, current: Release | None) -> Mapping[str, str]:
    """What ``extra`` says of a release of ``variant`` that follows ``current``."""
    build = Servable.load(store, variant).build
    if current is None:
        return index_for(build)
    before = Servable.load(store, current.variant).build
    return index_for(build, before=before, kept=current.extra.get(INDEX))


def index_of(store: Store, release: Release) -> str | None:
    """The version of the build that makes its index; None of a task without one."""
    return release.extra.get(INDEX) or with_index(store, release.variant, None).get(INDEX)


def named_index(store: Store, version: str) -> str:
    """The build for people: its name, and the beginning of its version."""
    artifact = store.artifact(version)
    name = "" if artifact is None else artifact.id.rpartition("/")[2]
    return f"{name} {short(version)}".strip()


def index_change(store: Store, release: Release) -> str:
    """What is to be done about the index where ``release`` follows the generation before it; empty
    where nothing is."""
    history = [each for _, each in store.history(release.endpoint)]
    if release.generation == 0:
        return ""
    old, new = (index_of(store, each) for each in (history[release.generation - 1], release))
    if old is None or new is None or old == new:
        return ""
    return (
        f"its queries need the index made by build {named_index(store, new)}: rebuild it with this "
        f"release, or restore it; until now it was made by build {named_index(store, old)}"
    )
