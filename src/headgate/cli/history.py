"""``headgate history``: what was current, since when, and by which decision."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from headgate.cli.options import (
    AsJson,
    EndpointOption,
    FileOption,
    StoreOption,
    endpoint_in,
    open_store,
)

if TYPE_CHECKING:
    from rich.table import Table

    from headgate.ledger import Entry
    from headgate.objects import Release

__all__ = ["history"]

_COLUMNS = (">gen", "=variant", "=id", "=since", "=decision", "note")
_LEAVES_OUT = ((), ("=decision",), ("=decision", "=since"), ("=decision", "=since", "note"))
"""What gives way where a terminal is narrow; ``--json`` has all."""


def history(
    file: FileOption = None,
    store: StoreOption = None,
    endpoint: EndpointOption = None,
    as_json: AsJson = False,
) -> None:
    """List the releases of an endpoint, newest first."""
    from headgate.cli.names import variant_name
    from headgate.cli.output import print_json, stdout, title, whole_words
    from headgate.objects import jsonable

    with open_store(file, store) as opened:
        name = endpoint_in(opened, file, endpoint)
        releases = opened.history(name)
        names = {release.variant: variant_name(opened, release.variant) for _, release in releases}
    if as_json:
        print_json(
            [
                {
                    "entry": e.id,
                    "recorded_at": e.recorded_at,
                    **jsonable(r),
                    "name": names[r.variant],
                }
                for e, r in releases
            ]
        )
        return
    console = stdout()
    for left_out in _LEAVES_OUT:
        table = _table(releases, names, left_out)
        if whole_words(table, console.width):
            break
    console.print(title(name, "the first line is current; times are UTC"))
    console.print(table)


def _restored(release: Release) -> str:
    """What there is to say of a rollback that nobody gave a reason for."""
    return f"generation {release.extra['restores']} again" if "restores" in release.extra else ""


def _table(
    releases: Sequence[tuple[Entry, Release]],
    names: Mapping[str, str],
    left_out: Collection[str],
) -> Table:
    from headgate.cli.output import grid
    from headgate.objects import short
    from headgate.report import words

    columns = [c for c in _COLUMNS if c not in left_out]
    table = grid(*columns)
    for entry, release in reversed(releases):
        cells = {
            ">gen": str(release.generation),
            "=variant": names[release.variant],
            "=id": short(release.variant),
            "=since": entry.recorded_at[:16].replace("T", " "),
            "=decision": short(release.decision) if release.decision else "–",
            "note": words.with_units(release.note) or _restored(release),
        }
        style = "bold" if entry is releases[-1][0] else None
        table.add_row(*(cells[c] for c in columns), style=style)
    return table
