"""``headgate rollback``: the previous generation returns, as a new one."""

from __future__ import annotations

from typing import Annotated

import typer

from headgate.cli.checkpoint import refuse_forged, sign
from headgate.cli.options import (
    AsJson,
    EndpointOption,
    FileOption,
    StoreOption,
    endpoint_in,
    open_store,
)

__all__ = ["rollback"]


def rollback(
    file: FileOption = None,
    store: StoreOption = None,
    endpoint: EndpointOption = None,
    why: Annotated[str, typer.Option(help="The reason, kept in the ledger.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make the previous release current again."""
    from headgate.cli.names import variant_name
    from headgate.cli.output import print_json, say, say_follows, stdout, title
    from headgate.ledger import hold_release
    from headgate.objects import short
    from headgate.release import restored_generation, rollback_release
    from headgate.runtime.index import index_change

    with open_store(file, store) as opened:
        refuse_forged(opened)  # the history says what returns
        name = endpoint_in(opened, file, endpoint)
        releases = [release for _, release in opened.history(name)]
        current = releases[-1].generation
        release = rollback_release(releases, expected_generation=current, note=why)
        entry = hold_release(opened, release, expected_generation=current)
        sign(opened)
        variant, change = variant_name(opened, release.variant), index_change(opened, release)
    if as_json:
        print_json({"entry": entry.id, **entry.body, "name": variant, "index_change": change})
        return
    stdout().print(
        title(
            f"{name} is at generation {release.generation}: {variant} again, as in generation "
            f"{restored_generation(release)}",
            f"variant {short(release.variant)}",
        )
    )
    if change:
        say(change)
    say_follows()
