"""The options that several commands share, and the places that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.errors import InputError, UsageError

if TYPE_CHECKING:
    from headgate.ledger import Store

__all__ = [
    "AsJson",
    "ConfigArgument",
    "EndpointOption",
    "FileOption",
    "IdArgument",
    "StoreOption",
    "endpoint_in",
    "open_store",
    "store_root",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ConfigArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="headgate.yaml, or the directory that holds it.")
]
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", help="Which endpoint, where the store holds several."),
]
FileOption = Annotated[
    Path | None,
    typer.Option("-f", "--file", help="headgate.yaml; the store is beside it."),
]
IdArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="An id from a report or `headgate history`; 4 digits are enough."
    ),
]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="The store.", show_default=".headgate beside headgate.yaml"),
]


def store_root(config: Path | None, store: Path | None) -> Path:
    """``--store``, else ``.headgate`` beside the configuration, else here."""
    if store is not None:
        return store
    if config is None:
        return Path(".headgate")
    return (config if config.is_dir() else config.parent) / ".headgate"


def open_store(config: Path | None, store: Path | None) -> Store:
    """The store that is there. Raises ``InputError`` where there is none, or no ``config``."""
    from headgate.ledger import Store

    if config is not None and not config.exists():
        raise InputError(
            "there is no such file",
            where=str(config),
            reason="file_missing",
            fix="give -f the headgate.yaml, or the directory that holds it",
        )
    return Store.open(store_root(config, store))


def endpoint_in(store: Store, wanted: str | None) -> str:
    """The endpoint that was asked for, or the only one in the store. Raises ``UsageError``."""
    known = list(dict.fromkeys(str(e.body["endpoint"]) for e in store.entries("release")))
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted in known:
        assert wanted is not None
        return wanted
    if not known:
        raise UsageError(
            "nothing was ever released here",
            where=str(store.root),
            reason="no_release",
            fix="type `headgate optimize --promote headgate.yaml`",
        )
    raise UsageError(
        f"there is no endpoint {wanted!r}" if wanted else f"there are {len(known)} endpoints",
        where=str(store.root),
        reason="which_endpoint",
        fix=f"give --endpoint, one of: {', '.join(known)}",
    )
