"""``headgate incidents``: which promises were broken while serving, and what was done."""

from __future__ import annotations

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
    from headgate.ledger import Incident

__all__ = ["incidents"]


def incidents(
    file: FileOption = None,
    store: StoreOption = None,
    endpoint: EndpointOption = None,
    as_json: AsJson = False,
) -> None:
    """List promises that were broken while serving, newest first; `show ID` has the evidence."""
    from headgate.cli.output import grid, print_json, stdout, title
    from headgate.ledger import incidents as incidents_in
    from headgate.objects import short
    from headgate.report.words import with_units

    with open_store(file, store) as opened:
        name = endpoint_in(opened, file, endpoint)
        found = incidents_in(opened, name)
    if as_json:
        print_json(
            [
                {
                    "entry": incident.opened,
                    "responses": incident.responses,
                    "recovery": incident.recovery,
                    "state": _state(incident),
                }
                for incident in found
            ]
        )
        return
    console = stdout()
    still = sum(incident.open for incident in found)
    counted = f"{len(found)} incident{'s' * (len(found) != 1)}"
    console.print(title(name, f"{counted}, {still} open; times are UTC"))
    table = grid("=id", "=since", ">gen", "promise", "done", "=state")
    for incident in reversed(found):
        body = incident.opened.body
        table.add_row(
            short(incident.opened.id),
            str(body["at"])[:16].replace("T", " "),
            str(body["generation"]),
            with_units(str(body["promise"])),
            _done(incident),
            _state(incident),
            style="bold" if incident.open else None,
        )
    if found:
        console.print(table)


def _state(incident: Incident) -> str:
    if incident.open:
        return "open"
    return "withdrawn" if incident.recovery is None else "closed"


def _done(incident: Incident) -> str:
    """``rollback, escalate failed``."""
    said: dict[str, None] = {}
    for response in incident.responses:
        action, outcome = response.body["action"], response.body["outcome"]
        said[action if outcome == "done" else f"{action} {outcome.replace('_', ' ')}"] = None
    return ", ".join(said) or "nothing yet"
