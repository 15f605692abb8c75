"""``headgate compare``: what differs between two things that have ids."""

from __future__ import annotations

from typing import Annotated

import typer

from headgate.cli.options import AsJson, FileOption, StoreOption, open_store

__all__ = ["compare"]

_ROWS = 60


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="An id.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another id of the same kind.")],
    file: FileOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two things that have ids."""
    from rich.padding import Padding

    from headgate.cli.names import contents
    from headgate.cli.output import facts, grid, print_json, stdout, title, whole_words
    from headgate.cli.show import flattened
    from headgate.errors import UsageError
    from headgate.objects import short

    with open_store(file, store) as opened:
        first, second = opened.get(a), opened.get(b)
        left, right = (
            dict(flattened({"recorded_at": e.recorded_at, **e.body, **contents(opened, e)}))
            for e in (first, second)
        )
    if first.kind != second.kind:
        raise UsageError(
            f"{_typed(a)} is of kind {first.kind}, {_typed(b)} of {second.kind}",
            reason="different_kinds",
            fix="compare two of one kind",
        )
    keys = [*left, *(k for k in right if k not in left)]
    differing = [k for k in keys if left.get(k) != right.get(k)]
    same = len(keys) - len(differing)
    if as_json:
        both = {k: {"a": left.get(k), "b": right.get(k)} for k in differing}
        print_json({"a": first.id, "b": second.id, "same": same, "differing": both})
        return
    console = stdout()
    console.print(title(f"Two of kind {first.kind}", f"{same} fields agree"))
    ids = f"A {short(first.id)}", f"B {short(second.id)}"
    shown = {key: (left.get(key, "–"), right.get(key, "–")) for key in differing[:_ROWS]}
    table = grid("field", *ids)
    for key, values in shown.items():
        table.add_row(key, *values)
    if not differing:
        console.print("Nothing differs.")
    elif whole_words(table, console.width):
        console.print(table)
    else:
        console.print(", ".join(ids))
        for key, (of_a, of_b) in shown.items():
            console.print(key)
            console.print(Padding(facts([("A", of_a), ("B", of_b)]), (0, 0, 0, 2)))
    if len(differing) > _ROWS:
        console.print(f"… and {len(differing) - _ROWS} more; --json has all")


def _typed(id: str) -> str:
    """The id as it was given, and not that of its entry; 12 digits at most."""
    return id.removeprefix("sha256:")[:12]
