"""``headgate drill``: whether a release that breaks its promises would be taken back."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.checkpoint import refuse_forged, sign
from headgate.cli.options import (
    AsJson,
    EndpointOption,
    FileOption,
    StoreOption,
    endpoint_in,
    open_store,
)
from headgate.cli.watching import watch_of
from headgate.errors import Refused

if TYPE_CHECKING:
    from headgate.server.drill import Step

__all__ = ["drill"]


def drill(
    file: FileOption = None,
    store: StoreOption = None,
    endpoint: EndpointOption = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Where the endpoint's own functions are.", show_default="beside the store"
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Serve a slow and wrong release from a copy of the store, and see it taken back.

    Servers that run, and whoever is on call, notice nothing.
    """
    from headgate.cli.output import facts, print_json, say, stdout, title
    from headgate.objects import jsonable
    from headgate.report.words import with_units
    from headgate.server.drill import drill as hold

    def tell(step: Step) -> None:
        say(f"  {step.what}: {_after(step)}")

    with _quiet(), open_store(file, store) as opened:
        refuse_forged(opened)
        name = endpoint_in(opened, file, endpoint)
        watch = watch_of(opened, name, file)
        say(f"A drill with {name}, in a copy of {opened.root}; it takes half a minute.")
        report = hold(
            opened,
            name,
            root=root or opened.root.absolute().parent,
            contracts=watch.rule.contracts if watch is not None else (),
            on_step=tell,
        )
        sign(opened)
    if as_json:
        print_json({"passed": report.passed, **jsonable(report)})
        return 0 if report.passed else Refused.exit_code
    result = "passed" if report.passed else "FAILED"
    console = stdout()
    console.print(title(f"Drill {result}", f"{report.release} returned after a bad release"))
    console.print(facts([(step.what, _after(step)) for step in report.steps]))
    console.print(
        facts([("found broken", with_units(report.promise or "nothing")), ("", report.because)])
    )
    if report.still_broken:
        missing = ", ".join(report.still_broken)
        console.print(f"Not shown yet, for that takes more traffic: {missing}.")
    verified = "verifies" if report.verified else "does not verify"
    console.print(f"The ledger of the copy {verified}; the drill took {report.seconds:.0f} s.")
    return 0 if report.passed else Refused.exit_code


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the bad release does is meant to go wrong, and the report says what came of it."""
    log = logging.getLogger("headgate")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _after(step: Step) -> str:
    return "never" if step.after_s is None else f"after {step.after_s:.1f} s"
