"""What commands print: tables and JSON on stdout, messages on stderr.

Colour only repeats what words already say, so nothing is lost in a pipe or a log.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from headgate.errors import HeadgateError

__all__ = [
    "facts",
    "grid",
    "print_error",
    "print_json",
    "say",
    "say_follows",
    "stderr",
    "stdout",
    "title",
]


def stdout() -> Console:
    """Where results go; 80 columns where it is no terminal and COLUMNS is not set."""
    return Console(markup=False, highlight=False, emoji=False)


def stderr() -> Console:
    """Where progress and messages go."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def print_json(value: object) -> None:
    """``value`` as JSON on stdout; floats at 12 digits, NaN tagged, as the ledger has them."""
    from headgate.objects import jsonable

    print(json.dumps(jsonable(value), indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """One line for a person, on stderr."""
    console = stderr()
    # On a terminal at word boundaries; in a log a message stays on its line.
    console.print(Text(text), soft_wrap=not console.is_terminal)


def say_follows() -> None:
    """What a release brings about by itself."""
    say("Servers that are running take it over within seconds; none needs a restart.")


def title(text: str, note: str = "") -> Text:
    """A section's title with a note beside it."""
    return Text.assemble((text, "bold"), ("  " + note if note else "", "dim"))


def grid(*columns: str) -> Table:
    """A table without lines; a column whose title begins with ``>`` holds numbers, with ``=``
    short words: neither is broken."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(
            name.lstrip(">="),
            justify="right" if name.startswith(">") else "left",
            no_wrap=name.startswith((">", "=")),
            overflow="fold",
        )
    return table


def whole_words(table: Table, columns: int) -> bool:
    """Keeps every word of a ``grid`` in one piece; whether ``columns`` characters hold that."""
    for column in table.columns:
        texts = [str(cell) for cell in (column.header, *column.cells)]
        parts = texts if column.no_wrap else [word for text in texts for word in text.split()]
        column.min_width = max(map(cell_len, parts), default=0)
    return sum((column.min_width or 0) + 2 for column in table.columns) <= columns + 2


def facts(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Name and value, a row each."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def print_error(error: HeadgateError, *, as_json: bool) -> None:
    """The message on stderr; with ``as_json`` the same for machines on stdout."""
    first, _, rest = str(error).partition("\n")
    message = Text.assemble(("headgate: ", "bold red"), first)
    if rest:
        message.append("\n" + rest, style="cyan")
    console = stderr()
    console.print(message, soft_wrap=not console.is_terminal)
    if as_json:
        body = {
            "reason": error.reason,
            "what": error.what,
            "where": error.where,
            "fix": error.fix,
            "exit_code": error.exit_code,
        }
        print(json.dumps({"error": body}, indent=2, ensure_ascii=False))
    sys.stdout.flush()
