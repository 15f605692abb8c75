"""``headgate init``: a commented headgate.yaml, written once and never over another."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from headgate.cli.options import AsJson
from headgate.errors import UsageError

__all__ = ["init"]


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.")],
    task: Annotated[str, typer.Option(help="embed, classify, predict or rerank.")] = "embed",
    as_json: AsJson = False,
) -> None:
    """Write a commented headgate.yaml; asks nothing."""
    from headgate.cli.output import print_json, stdout, title
    from headgate.config import template

    text = template(task, endpoint=directory.absolute().name)
    path = directory / "headgate.yaml"
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(
            "is there already, and nothing is written over it",
            where=str(path),
            reason="exists",
            fix="name another directory, or remove the file",
        ) from None
    command = f"headgate optimize {shlex.quote(str(path))}"
    if as_json:
        print_json({"path": str(path), "next": command})
        return
    console = stdout()
    console.print(title(f"{path} is written."))
    console.print("Put your files beside it, as it says, then type:")
    console.print(title(f"  {command}"))
