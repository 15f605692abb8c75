"""``headgate show``: anything that has an id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headgate.cli.options import AsJson, FileOption, IdArgument, StoreOption, open_store

__all__ = ["flattened", "show"]


def show(
    id: IdArgument, file: FileOption = None, store: StoreOption = None, as_json: AsJson = False
) -> None:
    """Show an entry of the ledger: artifact, run, measurement, decision or release."""
    from headgate.cli.names import content_of
    from headgate.cli.output import facts, print_json, stdout, title
    from headgate.objects import short

    with open_store(file, store) as opened:
        entry = opened.get(id)
        content = content_of(opened, entry.body["version"]) if entry.kind == "artifact" else None
    if as_json:
        print_json({"entry": entry, "content": content})
        return
    console = stdout()
    console.print(title(f"{entry.kind} {short(entry.id)}", f"entry {entry.seq}"))
    console.print(facts([("recorded at", entry.recorded_at), *flattened(entry.body)]))
    if content is not None:
        console.print()
        console.print(title("Content"))
        console.print(facts(list(flattened(content))[:40]))


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Leaves as (path, text); lists of plain values in one line.

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


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value) or "–"
    if value is None or value in ({}, ""):
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
