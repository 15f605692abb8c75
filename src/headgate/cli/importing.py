"""``headgate import``: serves here what was judged elsewhere, if this machine answers alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate.cli.checkpoint import begin, sign
from headgate.cli.options import AsJson, FileOption, StoreOption, refuse_missing, store_root

if TYPE_CHECKING:
    from headgate.optimize.importing import Imported

__all__ = ["import_"]


def import_(
    bundle: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `headgate export --bundle` wrote.")
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PUBLIC",
            help="Whose word is trusted, and whose functions are run: a public key or a file with "
            "it; may be given again.",
            show_default="nobody's",
        ),
    ] = None,
    file: FileOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> None:
    """Check a release exported elsewhere, find this machine fit for it, and make it current."""
    from headgate.cli.output import print_json, say, say_follows
    from headgate.cli.progress import Progress
    from headgate.cli.verify import public_key
    from headgate.errors import HeadgateError, UsageError
    from headgate.objects import jsonable
    from headgate.optimize.bundle import Bundle
    from headgate.optimize.importing import import_bundle

    if not key:
        raise UsageError(
            "whose signature is to be trusted was not said",
            where="--key",
            reason="no_key",
            fix="give the public key of whoever exported it, from them and not from the file: "
            "`headgate checkpoint --json` prints it there",
        )
    refuse_missing(file)
    keys = [public_key(text) for text in key]
    root = store_root(file, store)
    with Progress() as progress:
        progress.start("check", str(bundle))
        with Bundle.open(bundle, keys) as opened:
            begin(root)
            try:
                done = import_bundle(opened, root, root=root.absolute().parent, progress=progress)
            except HeadgateError:
                _sign(root)  # what was found of this machine is on record
                raise
    _sign(root)
    if as_json:
        print_json(jsonable(done))
        return
    _print(done)
    if not done.already:
        say_follows()
        say("  headgate serve" + (f" --store {store}" if store else ""))


def _sign(root: Path) -> None:
    """What is in the store at ``root``, where there is one."""
    from headgate.ledger import Store

    if (root / "ledger.sqlite").exists():
        with Store.open(root) as kept:
            sign(kept)


def _print(done: Imported) -> None:
    from headgate.cli.output import facts, stdout, title
    from headgate.objects import short

    console = stdout()
    note = f"variant {short(done.variant)}"
    where = f"{done.endpoint} is at generation {done.generation}: {done.name}"
    console.print(title(f"already current: {where}" if done.already else where, note))
    if not done.already:
        console.print(facts(_facts(done)))


def _facts(done: Imported) -> Iterator[tuple[str, str]]:
    from headgate.report.words import with_units

    yield "from", f"{done.origin}, signed by {done.signer}"
    yield "judged on", _machine(done.judged_on)
    yield "here", _machine(done.here)
    if done.requalified is not None:
        yield "the same", done.requalified.because
    if done.not_judged_here:
        yield "not judged here", ", ".join(map(with_units, done.not_judged_here))
        yield "", "they were kept on the machine above; this one may be slower or dearer"
    watched = ", ".join(done.watched)
    yield "watched", watched or "nothing: no promise of it can be seen while it is served"


def _machine(environment: Mapping[str, Any]) -> str:
    flags = " ".join(environment.get("flags", ())) or "no flags that matter"
    cores = environment.get("effective_cores", "?")
    return f"{environment.get('architecture', '?')}, {cores} cores: {flags}"
