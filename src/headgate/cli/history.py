"""``headgate history``: what was current, since when, and by which decision."""

from __future__ import annotations

from headgate.cli.options import (
    AsJson,
    EndpointOption,
    FileOption,
    StoreOption,
    endpoint_in,
    open_store,
)

__all__ = ["history"]


def history(
    file: FileOption = None,
    store: StoreOption = None,
    endpoint: EndpointOption = None,
    as_json: AsJson = False,
) -> None:
    """List the releases of an endpoint, newest first."""
    from headgate.cli.names import variant_name
    from headgate.cli.output import grid, print_json, stdout, title
    from headgate.objects import jsonable, short

    with open_store(file, store) as opened:
        name = endpoint_in(opened, endpoint)
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
    table = grid(">generation", "variant", "=id", "=since", "=decision", "note")
    for entry, release in reversed(releases):
        table.add_row(
            str(release.generation),
            names[release.variant],
            short(release.variant),
            entry.recorded_at[:16].replace("T", " "),
            short(release.decision) if release.decision else "–",
            release.note,
            style="bold" if entry is releases[-1][0] else None,
        )
    console = stdout()
    console.print(title(name, "the first line is current; times are UTC"))
    console.print(table)
