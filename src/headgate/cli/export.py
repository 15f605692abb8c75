"""``headgate export``: evidence in the formats of other tools, signed where they ask for it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.bundle import write_bundle
from headgate.cli.options import (
    AsJson,
    EndpointOption,
    FileOption,
    StoreOption,
    endpoint_in,
    open_store,
)

if TYPE_CHECKING:
    from headgate.ledger.signing import SigningKey
    from headgate.report.export import Dossier, Format

__all__ = ["export"]

_DEFAULT = "intoto"


def export(
    id: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="A release, a decision, or what a run made.",
            show_default="the current release",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            show_default=_DEFAULT,
            help="intoto: how it was made, and whether it kept its promises, signed. "
            "otel: the traces of the requests that it answered.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where to write a file to.", show_default="standard output"
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the release, with all that it takes to serve and to check it, into one "
            "signed file for `headgate import`.",
        ),
    ] = None,
    file: FileOption = None,
    store: StoreOption = None,
    endpoint: EndpointOption = None,
    as_json: AsJson = False,
) -> None:
    """Write evidence of a release for other tools, or all that it takes to serve it elsewhere."""
    import json

    from headgate.cli.checkpoint import refuse_forged, signing_key
    from headgate.cli.files import write_whole
    from headgate.cli.output import print_json, say
    from headgate.objects import short
    from headgate.optimize.dossier import dossier_of

    if bundle is not None:
        _refuse_no_file(bundle, given={"--format": format, "--output": output})
    how = _format(format := format or _DEFAULT)
    with open_store(file, store) as opened:
        # The key vouches for what it says.
        refuse_forged(opened, copies=bundle is None and how.signed_as is None)
        if id is None:
            id = opened.history(endpoint_in(opened, file, endpoint))[-1][0].id
        if bundle is not None:
            write_bundle(opened, id, bundle, file, as_json=as_json)
            return
        dossier = dossier_of(opened, id)
        key = signing_key() if how.signed_as is not None else None
        lines = _lines(how, dossier, key)
        path, documents = None, []
        if output is not None:
            path = output / f"{dossier.endpoint}-{short(dossier.subject)}{how.suffix}"
            count = write_whole(path, lines)
        elif as_json:
            documents = [json.loads(line) for line in lines]
            count = len(documents)
        else:
            count = 0
            for line in lines:
                print(line.decode(), end="")
                count += 1
    signer = key.public.signer if key is not None else None
    if as_json:
        print_json(
            {
                "format": format,
                "endpoint": dossier.endpoint,
                "subject": dossier.subject,
                "decision": dossier.judged and dossier.judged.entry,
                "key": key and str(key.public),
                "count": count,
                "file": path and str(path),
                "documents": documents,
            }
        )
        return
    if path is not None:
        print(path)
    say(f"{how.what}: {count:,}" + (f", signed by {signer}" if signer else ""))


def _refuse_no_file(bundle: Path, *, given: Mapping[str, object]) -> None:
    """Where ``bundle`` could not be written, or something else was asked for as well."""
    from headgate.errors import UsageError

    for option, value in given.items():
        if value is not None:
            raise UsageError(
                f"a bundle is one file of one format, and takes no {option}",
                where="--bundle",
                reason="two_outputs",
                fix=f"leave {option} out, or export twice",
            )
    if bundle.is_dir():
        raise UsageError(
            f"{bundle} is a directory",
            where="--bundle",
            reason="not_a_file",
            fix=f"name a file: {bundle / 'release.hgb'}",
        )


def _format(name: str) -> Format:
    from headgate.errors import UsageError
    from headgate.report.export import FORMATS

    if name not in FORMATS:
        raise UsageError(
            f"there is no format {name!r}",
            where="--format",
            reason="unknown_format",
            fix=f"give one of: {', '.join(FORMATS)}",
        )
    return FORMATS[name]


def _lines(how: Format, dossier: Dossier, key: SigningKey | None) -> Iterator[bytes]:
    """The documents, a line each. Raises ``UsageError`` where there are none."""
    from headgate.errors import UsageError
    from headgate.objects import short

    lines = how.lines(dossier, key)
    first = next(lines, None)
    if first is None:
        raise UsageError(
            f"there are no {how.what} of {short(dossier.subject)}",
            reason="nothing_to_export",
            fix=how.fix,
        )
    return itertools.chain([first], lines)
