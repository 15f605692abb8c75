"""``headgate export --bundle``: a release and its evidence in one signed file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.ledger import Entry, Store

__all__ = ["write_bundle"]


def write_bundle(store: Store, id: str, path: Path, file: Path | None, *, as_json: bool) -> None:
    """Writes what stands behind ``id`` (a release, a decision, a variant) to ``path``."""
    from headgate.amounts import size
    from headgate.cli.checkpoint import refuse_forged, signing_key
    from headgate.cli.files import write_whole
    from headgate.cli.output import facts, print_json, say, stdout, title
    from headgate.cli.progress import Progress
    from headgate.cli.promote import refuse_gaps
    from headgate.cli.watching import promises_of
    from headgate.objects import short
    from headgate.optimize.exporting import pack

    refuse_forged(store)
    place = file or store.root.absolute().parent
    refuse_gaps(place)
    watched, price_per_s = promises_of(store, _endpoint(store, id), file)
    with Progress() as progress:
        packed = pack(
            store,
            _decision(store, id),
            key=signing_key(),
            root=(place if place.is_dir() else place.parent).absolute(),
            watched=watched,
            price_per_s=price_per_s,
            now=datetime.now(UTC),
            progress=progress,
        )
        progress.start("write", str(path))
        write_whole(path, packed.chunks)
    size_bytes = path.stat().st_size
    if as_json:
        print_json(
            {
                "file": str(path),
                "bundle": packed.bundle,
                "endpoint": packed.endpoint,
                "variant": packed.variant,
                "decision": packed.decision,
                "size_bytes": size_bytes,
                "artifacts": packed.artifacts,
                "entries": packed.entries,
                "checkpoint": str(packed.checkpoint),
                "key": packed.key,
            }
        )
        return
    console = stdout()
    console.print(title(str(path), f"{packed.endpoint}, variant {short(packed.variant)}"))
    console.print(
        facts(
            [
                ("decision", short(packed.decision)),
                ("holds", f"{packed.artifacts} artifacts, {size(size_bytes)}"),
                (
                    "evidence",
                    f"{packed.entries:,} entries under the checkpoint of "
                    f"{packed.checkpoint.size:,}",
                ),
            ]
        )
    )
    say("On the machine that is to serve it, in a directory of its own:")
    say(f"  headgate import {path.name} --key {packed.key}")


def _endpoint(store: Store, id: str) -> str:
    from headgate.optimize.dossier import meant

    version, _ = meant(store, store.get(id))
    artifact = store.artifact(version)
    return "" if artifact is None else artifact.id.partition("/")[0]


def _decision(store: Store, id: str) -> Entry:
    """The run that let it through. Raises ``Refused`` for what nothing was decided of."""
    from headgate.errors import Refused
    from headgate.objects import short
    from headgate.optimize.dossier import meant

    _, decided = meant(store, store.get(id))
    if decided is None:
        raise Refused(
            "nothing was decided of it: a baseline was there before any decision",
            where=short(id) if id.startswith("sha256:") else id,
            reason="no_decision",
            fix="give the id of a decision, or promote one first",
        )
    return decided
