"""The options that several commands share, and the places that they stand for."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.errors import InputError, UsageError

if TYPE_CHECKING:
    from headgate.config import EndpointConfig
    from headgate.ledger import Store

__all__ = [
    "AsJson",
    "ConfigArgument",
    "EndpointOption",
    "FileOption",
    "IdArgument",
    "StoreOption",
    "as_given",
    "config_beside",
    "endpoint_in",
    "open_store",
    "refuse_missing",
    "store_root",
    "yaml_in",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ConfigArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="headgate.yaml, or the directory that holds it.")
]
EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", help="Which endpoint, where it is not the one that -f names."),
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


def as_given(file: Path | None, store: Path | None) -> str:
    """What names the same store on the next command line.

    >>> as_given(Path("my models"), None), as_given(None, None)
    (" -f 'my models'", '')
    """
    options = (("-f", file), ("--store", store))
    return "".join(f" {name} {shlex.quote(str(p))}" for name, p in options if p is not None)


def store_root(config: Path | None, store: Path | None) -> Path:
    """``--store``, else ``.headgate`` beside the configuration, else here."""
    if store is not None:
        return store
    if config is None:
        return Path(".headgate")
    return (config if config.is_dir() else config.parent) / ".headgate"


def refuse_missing(config: Path | None) -> None:
    """Raises ``InputError`` where ``config`` was given and is not there."""
    if config is not None and not config.exists():
        raise InputError(
            "there is no such file",
            where=str(config),
            reason="file_missing",
            fix="give -f the headgate.yaml, or the directory that holds it",
        )


def open_store(config: Path | None, store: Path | None) -> Store:
    """The store that is there. Raises ``InputError`` where there is none, or no ``config``."""
    from headgate.ledger import Store

    refuse_missing(config)
    try:
        return Store.open(store_root(config, store))
    except InputError as error:
        if config is None or error.reason != "store_missing":
            raise
        raise InputError(
            error.what,
            where=error.where,
            reason=error.reason,
            fix=f"type `headgate optimize {shlex.quote(str(config))}`, which makes one, or name "
            "another with --store",
        ) from None


def yaml_in(path: Path) -> Path:
    """The headgate.yaml that ``path`` is, or that is in it; it may not be there."""
    return path / "headgate.yaml" if path.is_dir() else path


def config_beside(store: Store, config: Path | None) -> EndpointConfig | None:
    """What headgate.yaml says: that of ``config``, else the one beside ``store``, else None.

    Raises what is wrong with it.
    """
    from headgate.config import load_config

    path = yaml_in(config or store.root.absolute().parent)
    return load_config(path) if path.exists() else None


def endpoint_in(store: Store, config: Path | None, wanted: str | None) -> str:
    """The released endpoint that was asked for: ``wanted``, else the one that ``config`` names,
    else the only one in the store. Raises ``UsageError``, and as reading ``config`` does."""
    from headgate.objects import short

    known = list(dict.fromkeys(str(e.body["endpoint"]) for e in store.entries("release")))
    named = _named_in(config) if wanted is None and config is not None else None
    asked = wanted or named
    if asked in known:
        assert asked is not None
        return asked
    if asked is None and len(known) == 1:
        return known[0]
    optimize = f"`headgate optimize --promote {shlex.quote(str(config or 'headgate.yaml'))}`"
    baseline = None if named is None else store.latest("artifact", id=f"{named}/variant/baseline")
    if baseline is not None:
        given = shlex.quote(str(config))
        raise UsageError(
            f"{named} was optimized, and nothing of it is released",
            where=str(store.root),
            reason="no_release",
            fix=f"`headgate serve -f {given} --variant {short(baseline.body['version'])}` serves "
            f"the baseline as it is; {optimize} releases it, or what is accepted in its place",
        )
    if not known:
        raise UsageError(
            "nothing was ever released here",
            where=str(store.root),
            reason="no_release",
            fix=f"type {optimize}",
        )
    if named is not None:
        raise UsageError(
            f"{config} names the endpoint {named}, and released here is {', '.join(known)}",
            where=str(store.root),
            reason="which_endpoint",
            fix=f"type {optimize}, or say which with --endpoint",
        )
    raise UsageError(
        f"there is no endpoint {wanted!r}" if wanted else f"there are {len(known)} endpoints",
        where=str(store.root),
        reason="which_endpoint",
        fix=f"give --endpoint, one of: {', '.join(known)}",
    )


def _named_in(config: Path) -> str | None:
    """The endpoint that a headgate.yaml names; nothing else of it need be right."""
    from headgate.config.document import read_document

    path = yaml_in(config)
    value = read_document(path).value if path.exists() else None
    named = value.get("endpoint") if isinstance(value, dict) else None
    return named if isinstance(named, str) else None
