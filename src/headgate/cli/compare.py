"""``headgate compare``: what differs between two things that have ids."""

from __future__ import annotations

from typing import Annotated

import typer

from headgate.cli.options import AsJson, FileOption, StoreOption, open_store

__all__ = ["compare"]


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="An id.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another id of the same kind.")],
    file: FileOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two runs, artifacts, decisions or releases."""
    from headgate.cli.names import content_of
    from headgate.cli.output import grid, print_json, stdout, title
    from headgate.cli.show import flattened
    from headgate.errors import UsageError
    from headgate.objects import short

    sides = []
    with open_store(file, store) as opened:
        for each in (a, b):
            entry = opened.get(each)
            body = {"recorded_at": entry.recorded_at, **entry.body}
            if entry.kind == "artifact":
                content = content_of(opened, entry.body["version"])
                body |= {} if content is None else {"content": content}
            sides.append((entry, dict(flattened(body))))
    (first, left), (second, right) = sides
    if first.kind != second.kind:
        raise UsageError(
            f"{short(first.id)} is a {first.kind} and {short(second.id)} a {second.kind}",
            reason="different_kinds",
            fix="compare two of one kind",
        )
    keys = [*left, *(k for k in right if k not in left)]
    differing = [k for k in keys if left.get(k) != right.get(k)]
    if as_json:
        print_json(
            {
                "a": first.id,
                "b": second.id,
                "same": len(keys) - len(differing),
                "differing": {k: {"a": left.get(k), "b": right.get(k)} for k in differing},
            }
        )
        return
    console = stdout()
    console.print(title(f"Two of kind {first.kind}", f"{len(keys) - len(differing)} fields agree"))
    table = grid("field", f"A {short(first.id)}", f"B {short(second.id)}")
    for key in differing:
        table.add_row(key, left.get(key, "–"), right.get(key, "–"))
    console.print(table if differing else "Nothing differs.")
