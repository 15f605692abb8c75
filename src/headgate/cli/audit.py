"""``headgate audit``: what is missing from the evidence, and what is wrong with one object."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.options import (
    AsJson,
    FileOption,
    StoreOption,
    config_beside,
    open_store,
)
from headgate.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from headgate.config import EndpointConfig
    from headgate.ledger import Store
    from headgate.optimize.audit import Notice, ObjectAudit

__all__ = ["audit"]

_NAMED = 3
_COLOURS = {"no": "green", "yes": "red", "unknown": "yellow"}


def audit(
    object: Annotated[
        str | None,
        typer.Option(
            "--object",
            metavar="ID",
            help="Ask everything of this object alone: an id, or a release as docs@3 or 3.",
        ),
    ] = None,
    file: FileOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> int:
    """List what is unauditable, or ask one object the five failure questions."""
    with open_store(file, store) as opened:
        if object is not None:
            return _one(opened, object, file, as_json=as_json)
        return _all(opened, config_beside(opened, file), as_json=as_json)


def _all(store: Store, config: EndpointConfig | None, *, as_json: bool) -> int:
    """Missing edges, what is found of the newest winner, and what headgate.yaml leaves open."""
    from headgate.cli.output import print_json, say, stdout, title
    from headgate.optimize.audit import audit_store

    found = audit_store(store, now=datetime.now(UTC))
    stops = (*found.stops, *_open_keys(config))
    objects = len({e.body["version"] for e in store.entries("artifact")})
    if as_json:
        print_json({"ok": not stops, "objects": objects, "findings": stops, "told": found.told})
        return Refused.exit_code if stops else 0
    for told in found.told:
        say(told.in_passing)
    console = stdout()
    if not stops:
        console.print(title("Nothing is missing from the evidence", f"{objects:,} objects"))
        console.print("Ask one of them everything: headgate audit --object ID")
        return 0
    counted = f"{len(stops):,} missing from the evidence"
    console.print(title(counted, f"{objects:,} objects in {store.root}"))
    console.print(_stops(stops))
    console.print()
    console.print(title("What brings it"))
    for fix in dict.fromkeys(stop.fix for stop in stops):
        console.print(f"  {fix}", soft_wrap=True)
    return Refused.exit_code


def _open_keys(config: EndpointConfig | None) -> Iterable[Notice]:
    """What headgate.yaml leaves open, where there is one."""
    from headgate.optimize.audit import Notice

    if config is None:
        return []
    return [Notice(config.path.name, "", gap.key, gap.what, gap.fix) for gap in config.gaps]


def _stops(stops: Sequence[Notice]) -> RenderableType:
    """A row for each kind of thing that is missing, with the objects that it is missing from."""
    from headgate.cli.output import grid

    objects: dict[tuple[str, str], list[str]] = {}
    for stop in stops:
        names = objects.setdefault((stop.edge, stop.what), [])
        names.append(stop.object)
    table = grid("=edge", "what", "of")
    for (edge, what), names in objects.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        table.add_row(edge, what, ", ".join(names[:_NAMED]) + more)
    return table


def _one(store: Store, name: str, config: Path | None, *, as_json: bool) -> int:
    """The five questions, the six items and the failure note of one object."""
    from headgate.cli.names import release_named
    from headgate.cli.output import facts, print_json, stdout, title
    from headgate.objects import short
    from headgate.optimize.audit import audit_object

    release = release_named(store, name, config)
    id = name if release is None else release.id
    found = audit_object(store, id, now=datetime.now(UTC))
    code = Refused.exit_code if found.stops else 0
    if as_json:
        print_json(
            {"ok": not found.stops, **{f.name: getattr(found, f.name) for f in fields(found)}}
        )
        return code
    console = stdout()
    console.print(title(found.identifier, f"{found.kind} {short(found.version)}"))
    console.print(facts(_about(found)))
    judged = [("What it was judged on", _judged(found))] if found.judged else []
    for heading, table in (
        *judged,
        ("The five questions", _questions(found)),
        ("The six items", _items(found)),
        ("The failure note, from before any incident", _note(found)),
    ):
        console.print()
        console.print(title(heading))
        console.print(table)
    return code


def _about(found: ObjectAudit) -> list[tuple[str, str]]:
    standard = found.standard
    rows = [("owner", found.owner or "nobody")]
    if standard is None:
        return [*rows, ("held to", "nothing: no metric, no contract, no failure note")]
    value = found.facts.metric_value
    return [
        ("what", standard.what),
        *rows,
        ("metric", f"{standard.contract.metric} = {'unknown' if value is None else f'{value:g}'}"),
        ("contract", f"{standard.contract.describe()}: {standard.contract.rationale}"),
    ]


def _judged(found: ObjectAudit) -> RenderableType:
    from rich.text import Text

    from headgate.cli.output import grid
    from headgate.report import COLOURS
    from headgate.report.words import with_units

    table = grid("contract", "=verdict", "because")
    for result in found.judged:
        verdict = Text(result.verdict, style=COLOURS.get(result.verdict, ""))
        rule = with_units(result.contract.describe())
        table.add_row(rule, verdict, with_units(result.because))
    return table


def _questions(found: ObjectAudit) -> RenderableType:
    from rich.text import Text

    from headgate.cli.output import grid
    from headgate.objects import Answer

    table = grid("=question", "=answer", "because", "=response")
    for reply in found.replies:
        due = reply.answer is Answer.YES
        table.add_row(
            f"{reply.question.name.replace('_', ' ')}?",
            Text(reply.answer, style=_COLOURS[reply.answer]),
            reply.because,
            Text(reply.response, style="" if due else "dim"),
        )
    return table


def _items(found: ObjectAudit) -> RenderableType:
    from rich.text import Text

    from headgate.cli.output import grid

    table = grid("=", "item")
    for item, holds in found.checklist.items():
        mark = Text("yes" if holds else "no", style="green" if holds else "red")
        table.add_row(mark, item.says)
    return table


def _note(found: ObjectAudit) -> RenderableType:
    from headgate.cli.output import grid
    from headgate.objects import FailureNote, Signal

    if found.standard is None:
        return "none was registered"
    table = grid("=what can be", "signal", "=response")
    for line in fields(FailureNote):
        seen = getattr(found.standard.failure_note, line.name)
        table.add_row(line.name.replace("_", " "), Signal(seen.signal).says, seen.response)
    return table
