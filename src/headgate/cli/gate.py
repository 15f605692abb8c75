"""``headgate gate``: the release gate for CI, on the evidence that is in the store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.options import AsJson, FileOption, StoreOption, config_beside, open_store

if TYPE_CHECKING:
    from rich.table import Table

    from headgate.config import EndpointConfig
    from headgate.objects import Decision
    from headgate.optimize.planned import Planned
    from headgate.optimize.standing import Standing

__all__ = ["gate"]

_SLICES = 12


def gate(
    candidate: Annotated[
        str | None,
        typer.Argument(metavar="CANDIDATE", help="A variant that was judged, or its decision."),
    ] = None,
    against: Annotated[
        str, typer.Option("--against", help="Another variant, or what is current.")
    ] = "current",
    power: Annotated[
        bool,
        typer.Option("--power", help="Say what the contracts could decide with the data at hand."),
    ] = False,
    file: FileOption = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> int:
    """Judge a candidate against what is current, on recorded evidence; measure nothing."""
    from headgate.errors import UsageError

    if power == (candidate is not None):
        raise UsageError(
            "takes a candidate, or --power" if power else "names no candidate",
            where="gate",
            reason="no_candidate",
            fix="give the id of the winner from a report, or --power for what could be decided",
        )
    if candidate is None:
        return _power(file, store, as_json=as_json)
    return _gate(candidate, against, file, store, as_json=as_json)


def _gate(
    candidate: str, against: str, file: Path | None, store: Path | None, *, as_json: bool
) -> int:
    from headgate.cli.names import variant_name
    from headgate.cli.output import print_json, say
    from headgate.objects import short
    from headgate.optimize.main import exit_code_of
    from headgate.optimize.standing import stand

    with open_store(file, store) as opened:
        config = config_beside(opened, file)
        found = stand(opened, candidate, now=datetime.now(UTC), against=against, config=config)
        names = [variant_name(opened, v) if v else "" for v in (found.candidate, found.current)]
    if as_json:
        print_json(found)
        return exit_code_of(found.action)
    _print(found, *names)
    for missing in found.missing:
        say(f"missing: {missing.what}\n  what to do: {missing.fix}")
    for told in found.told:
        say(told.in_passing)
    if found.may_replace and found.entry is not None and exit_code_of(found.action) == 0:
        say(f"`headgate promote {short(found.entry)}` makes it current.")
    return exit_code_of(found.action)


def _print(found: Standing, candidate: str, current: str) -> None:
    from rich.text import Text

    from headgate.cli.output import stdout
    from headgate.objects import short
    from headgate.report import COLOURS, words

    console = stdout()
    action = found.action.value
    console.print(
        Text.assemble(
            (found.endpoint, "bold"),
            "  ",
            (action.upper(), COLOURS.get(action, "bold")),
            f"  {candidate} {short(found.candidate)}",
            f" against {current} {short(found.current)}" if found.current else "",
        )
    )
    console.print(Text(words.with_units(found.because)))
    if found.decision is None:
        return
    console.print(_contracts(found.decision))
    for result in found.decision.results:
        because = words.with_units(result.because)
        console.print(Text(f"· {because}", style="" if result.verdict != "pass" else "dim"))
    for changed in found.changed:
        told = words.with_units(changed.describe())
        console.print(Text(f"· changed after a look at the holdout: {told}", style="yellow"))
    slices = _slices(found.decision)
    if slices.row_count:
        console.print(Text("\nSlices, beside the averages; they are not judged", style="bold"))
        console.print(slices)


def _contracts(decision: Decision) -> Table:
    """``gained`` and ``lost`` are answers that flipped: an average hides those that cancel."""
    from rich.text import Text

    from headgate.cli.output import grid
    from headgate.report import COLOURS

    table = grid("contract", "=axis", "=verdict", ">n", ">gained", ">lost", ">p")
    for r in decision.results:
        flips = ("–",) * 3 if r.flips is None else _flips(r.flips.gained, r.flips.lost, r.flips.p)
        verdict = Text(r.verdict.value, style=COLOURS.get(r.verdict.value, ""))
        table.add_row(r.contract.metric, r.contract.axis.value, verdict, f"{r.n:,}", *flips)
    return table


def _flips(gained: int, lost: int, p: float) -> tuple[str, str, str]:
    return f"{gained:,}", f"{lost:,}", f"{p:.2g}"


def _slices(decision: Decision) -> Table:
    """The worst slices of each relative contract, by what is compared."""
    from headgate.cli.output import grid

    table = grid("contract", "slice", ">n", ">compared", ">low", ">high")
    for r in decision.results:
        higher = r.contract.bound.value == "not_below_current_by"
        worst = sorted(r.slices, key=lambda s: s.value if higher else -s.value)[:_SLICES]
        for s in worst:
            numbers = (f"{x:+.4f}" for x in (s.value, s.low, s.high))
            table.add_row(r.contract.metric, s.name, f"{s.n:,}", *numbers)
    return table


def _power(file: Path | None, store: Path | None, *, as_json: bool) -> int:
    from headgate.cli.options import store_root
    from headgate.cli.output import print_json
    from headgate.config import load_config
    from headgate.ledger import Store
    from headgate.objects import jsonable
    from headgate.optimize.main import exit_code_of
    from headgate.optimize.planned import planned_power

    path = file or Path()
    config = load_config(path)
    root = store_root(path, store)
    if root.exists():
        with Store.open(root) as opened:
            planned = planned_power(config, opened)
    else:
        planned = planned_power(config, None)
    code = exit_code_of(planned.action)
    if as_json:
        rows = [{**jsonable(row), "never": row.never} for row in planned.rows]
        told = {"split": planned.split, "rows": rows, "joint": planned.joint, "ok": code == 0}
        print_json({**told, "unpromised": list(planned.unpromised)})
    else:
        _print_power(config, planned)
    return code


def _print_power(config: EndpointConfig, planned: Planned) -> None:
    from headgate import amounts
    from headgate.cli.output import grid, say, stdout, title
    from headgate.report import words

    def number(n: int | None) -> str:
        return "–" if n is None else amounts.count(n)

    console = stdout()
    console.print(title(config.endpoint, f"what the contracts can tell on {planned.split}"))
    table = grid("contract", ">at least", ">n needed", ">n at hand", ">power")
    for row in planned.rows:
        reached = "–" if row.power is None else amounts.percent(row.power, digits=0)
        table.add_row(
            words.with_units(row.rule),
            number(row.least_n),
            number(row.needed_n),
            number(row.n),
            "never" if row.never else reached,
        )
    console.print(table)
    if planned.joint is not None:
        joint = amounts.percent(planned.joint, digits=0)
        console.print(f"A candidate without any true loss is accepted in at least {joint}.")
    for row in planned.rows:
        if row.never:
            least = "no n suffices" if row.least_n is None else f"{row.least_n:,} are needed"
            say(
                f"{words.with_units(row.rule)}: nothing could ever be accepted: {least}"
                "\n  what to do: measure more, or declare a wider margin and say why"
            )
        elif row.power is None:
            say(f"{words.with_units(row.rule)}: {row.assumed}")
    for key in planned.unpromised:
        say(
            f"{key}: no contract is on it, so nothing is decided by it, and no row says what could "
            f"be\n  what to do: write one under contracts: {key.partition('.')[2]}"
        )
