"""``headgate show``: anything that has an id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from headgate.cli.options import AsJson, FileOption, IdArgument, StoreOption, open_store

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headgate.ledger import Entry

__all__ = ["flattened", "show"]

_ROWS = 60
_CHARACTERS = 300
_DIGEST = re.compile(r"sha256:([0-9a-f]{12})[0-9a-f]{52}")


def show(
    id: IdArgument, file: FileOption = None, store: StoreOption = None, as_json: AsJson = False
) -> None:
    """Show anything that has an id."""
    from headgate.cli.names import contents
    from headgate.cli.output import facts, print_json, stdout, title
    from headgate.objects import short

    with open_store(file, store) as opened:
        entry = opened.get(id)
        found = contents(opened, entry)
    if as_json:
        print_json({"entry": entry, "content": found})
        return
    console = stdout()
    console.print(title(f"{entry.kind} {short(entry.id)}", f"entry {entry.seq}"))
    if entry.kind == "search":
        console.print(_search(entry))
        return
    console.print(facts([("recorded at", entry.recorded_at), *flattened(entry.body)]))
    for name, content in found.items():
        console.print()
        console.print(title(name.capitalize()))
        console.print(_readable(content))


def _readable(content: Any) -> RenderableType:
    """A decision as the table that it is, anything else as its leaves."""
    from headgate.cli.output import facts

    if isinstance(content, dict) and {"action", "because", "results"} <= set(content):
        return _decision(content)
    leaves = [(path, _cut(text)) for path, text in flattened(content)]
    more = [("…", f"{len(leaves) - _ROWS} more; --json has all")] if len(leaves) > _ROWS else []
    return facts([*leaves[:_ROWS], *more])


def _search(entry: Entry) -> RenderableType:
    """Why it ended, and why each build that it left out is; where none is best, what to do."""
    from rich.console import Group
    from rich.text import Text

    from headgate import amounts
    from headgate.cli.output import facts, grid
    from headgate.report import words

    body = entry.body
    best, binding = body["best"], body["binding"]
    if isinstance(best, Mapping):  # older entries have the build's name alone
        best = best["build"]
    said = facts(
        [
            ("recorded at", entry.recorded_at),
            ("endpoint", body["endpoint"]),
            ("ended because", body["stopped"]),
            ("best", words.NOTHING if best is None else best),
            ("took", amounts.seconds(body["spent_s"])),
            ("trials", f"{len(body['trials'])}; --json has all"),
        ]
    )
    table = grid("=left out", "because")
    for name, why in body["left_out"].items():
        table.add_row(name, words.with_units(why))
    tables = [said, table] if body["left_out"] else [said]
    return Group(*tables) if best is not None else Group(*tables, Text(words.way_on(binding)))


def _decision(content: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from headgate.cli.output import grid
    from headgate.release import contract_from_json
    from headgate.report import COLOURS
    from headgate.report.words import with_units

    table = grid("contract", "=verdict", "because")
    for result in content["results"]:
        verdict = str(result["verdict"])
        table.add_row(
            with_units(contract_from_json(result["contract"]).describe()),
            Text(verdict, style=COLOURS.get(verdict, "")),
            with_units(str(result["because"])),
        )
    action = str(content["action"])
    head = Text.assemble(
        (action.upper(), COLOURS.get(action, "bold")),
        f"  on the {content['split']} split: {with_units(content['because'])}",
    )
    return Group(head, table) if content["results"] else head


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Leaves as (path, text); lists of plain values in one line, digests at 12 digits.

    >>> list(flattened({"a": {"b": 1, "c": [2, 3]}, "d": None}))
    [('a.b', '1'), ('a.c', '2, 3'), ('d', '–')]
    """
    if isinstance(value, dict) and set(value) == {"$float"}:
        yield prefix, str(value["$float"])
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flattened(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        for i, inner in enumerate(value):
            yield from flattened(inner, f"{prefix}[{i}]")
    else:
        yield prefix, _text(value)


def _cut(text: str) -> str:
    """What fits into a few lines of it.

    >>> _cut(", ".join("9" * 400))[-23:], _cut("9")
    ('9, 9, …; --json has all', '9')
    """
    if len(text) <= _CHARACTERS:
        return text
    return text[:_CHARACTERS].rpartition(" ")[0] + " …; --json has all"


def _text(value: Any) -> str:
    from headgate.report import words

    if isinstance(value, list):
        return ", ".join(_text(v) for v in value) or words.NOTHING
    if value is None or value in ({}, ""):
        return words.NOTHING
    if isinstance(value, str):
        return _DIGEST.sub(r"\1", value)
    return str(value).lower() if isinstance(value, bool) else str(value)
