"""The report on a terminal: the decision, what was tried, what is saved, what to type next.

Draws on any ``rich`` console, 80 columns and up; colour only repeats what words already say.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headgate import amounts
from headgate.report import words
from headgate.report.model import Candidate, Figure, NewIndex, Report

__all__ = ["COLOURS", "print_report"]

COLOURS = {
    "accept": "bold green",
    "pass": "green",
    "warn": "yellow",
    "rollback": "bold red",
    "fail": "red",
    "escalate": "bold red",
    "invalid": "bold red",
    "retrain": "magenta",
    "unknown": "magenta",
    "baseline": "dim",
    "skipped": "dim",
}


_COSTS = ("cost_per_1k", "device_s_per_1k", "speedup")
_TIMES = (*_COSTS, "latency_p95")
_ALSO = ("mrr@10", "flip_rate")
"""Of quality, what a narrow terminal shows only where there is nothing else of it; worst slices are
such too."""
_ANY = 1000
_FIRST_TO_GO = ("agreement@10", "agreement", "speedup")
"""Where even that is too wide."""


def print_report(report: Report, console: Console) -> None:
    """Prints everything that fits a terminal; the plots are in report.html."""
    parts: list[RenderableType] = [_head(report)]
    if report.candidates:
        parts.append(_candidates(report, console.width))
    if report.contracts:
        parts.append(_contracts(report))
    if report.savings:
        parts.append(_savings(report))
    if report.index is not None:
        parts.append(_index(report.index, report.currency))
    if report.shares:
        parts.append(_shares(report))
    if report.predictions:
        parts.append(_predictions(report))
    parts.append(_next(report))
    console.print(Group(*parts))


def _word(word: str) -> Text:
    return Text(word, style=COLOURS.get(word, ""))


def _section(title: str, table: Table) -> Group:
    return Group(Text(f"\n{title}", style="bold"), table)


def _grid(*columns: tuple[str, bool]) -> Table:
    """A plain table: (title, is a number)."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title, number in columns:
        table.add_column(
            title, justify="right" if number else "left", no_wrap=number, overflow="fold"
        )
    return table


def _show(figure: Figure | None, currency: str) -> str:
    if figure is None:
        return words.NOTHING
    return amounts.figure(figure.value, figure.unit, currency)


def _head(r: Report) -> Group:
    verdict = Text.assemble(
        (r.endpoint, "bold"),
        "  ",
        (r.action.upper(), COLOURS.get(r.action, "bold")),
        "  ",
        (r.headline, "bold"),
    )
    because = [Text(words.with_units(r.because))]
    if r.warning:
        because.append(Text(r.warning, style="yellow"))
    return Group(Text(""), verdict, *because, Text("\n".join(r.subject), style="dim"))


def _candidates(r: Report, width: int) -> Group:
    """One row a candidate, and the reasons as lines of their own."""
    shown = r.compared if width >= 110 else _narrow(r.compared)
    table = _tried(r, shown)
    while len(shown) > 1 and Console(width=_ANY).measure(table).maximum > width:
        quality = [m for m in shown if m not in _TIMES]  # the last of it is the last to go
        goes = (*_FIRST_TO_GO, *reversed(shown))
        shown.remove(next(m for m in goes if m in shown and quality != [m]))
        table = _tried(r, shown)
    reasons = [Text(words.IN_BATCHES, style="dim")] if r.two_bases else []
    reasons += [
        Text(f"{c.name}: {words.with_units(c.why)}", style="dim") for c in r.candidates if c.why
    ]
    reasons += [
        Text(f"{c.name} is not faster: {words.with_units(c.not_faster)}", style="dim")
        for c in r.candidates
        if c.not_faster
    ]
    reasons += [Text(f"{c.name}: {c.escalates}") for c in r.candidates if c.escalates]
    if r.search:
        reasons.append(Text(f"The search: {words.with_units(r.search)}."))
    in_currency = f"; cost in {r.currency}" if "cost_per_1k" in shown else ""
    return Group(
        _section(f"What was tried (differences to the baseline{in_currency})", table),
        *reasons,
    )


def _narrow(metrics: Sequence[str]) -> list[str]:
    """Of ``metrics`` those that a narrow terminal shows: what things cost, and the quality that
    they are judged by, your own metrics too."""
    quality = [m for m in metrics if m not in _TIMES]
    first = [m for m in quality if m not in _ALSO and not m.startswith("worst_slice_")]
    shown = {*_COSTS, *(first or quality)}
    return [m for m in metrics if m in shown]


def _tried(r: Report, shown: Sequence[str]) -> Table:
    table = _grid(
        ("tried", False),
        ("verdict", False),
        *((words.title(m), True) for m in shown),
        ("batch", False),
    )
    for column in table.columns:
        column.no_wrap = True
    for c in r.candidates:
        table.add_row(
            Text(c.name, style="bold" if c.name == r.winner else ""),
            _word(c.verdict),
            *(_show(c.figures.get(m), "") for m in shown),
            _short_class(c),
        )
    return table


def _short_class(c: Candidate) -> str:
    return {"exact": "exact", "within_epsilon": "≤ ε", "dependent": "dependent"}.get(
        c.batch_invariance, words.NOTHING
    )


def _contracts(r: Report) -> Group:
    table = _grid(("contract", False), ("verdict", False), ("because", False))
    for row in r.contracts:
        told = (row.because, row.flips, row.changed)
        because = words.with_units("; ".join(filter(None, told)))
        table.add_row(words.with_units(row.rule), _word(row.verdict), because)
    return _section(f"The winner against its contracts ({r.certified_on} split, real load)", table)


def _savings(r: Report) -> Group:
    table = _grid(
        ("workload", False),
        ("against", False),
        ("cost", False),
        ("before", True),
        ("after", True),
        ("cheaper", True),
    )
    for s in r.savings:
        table.add_row(
            s.shown,
            s.against,
            r.basis(s),
            _show(s.baseline_cost_per_1k, ""),
            _show(s.winner_cost_per_1k, ""),
            amounts.times(s.factor),
        )
    title = "What is saved" if r.certified else "What would be saved, not certified"
    told = [Text(r.assumed_repeats)] if r.assumed_repeats else []
    return Group(
        _section(
            f"{title} ({_unit_of_cost(r)} / 1k requests; virtual unless measured)",
            table,
        ),
        *told,
    )


def _index(index: NewIndex, currency: str) -> Group:
    table = _grid(("", False), ("", False))
    table.show_header = False
    for label, text in index.lines(currency):
        table.add_row(label, text)
    return _section("The index that the winner needs", table)


def _unit_of_cost(r: Report) -> str:
    """Money where there is a price, else the machine's time."""
    priced = any(s.baseline_cost_per_1k.unit == "money_per_1k" for s in r.savings)
    return r.currency if priced else "time of the machine"


def _shares(r: Report) -> Group:
    table = _grid(("without", False), ("cost", True), ("", False))
    for s in r.shares:
        table.add_row(s.optimization, amounts.times(s.factor_without.value), s.detail)
    return _section("What each optimization brings (leave one out)", table)


def _predictions(r: Report) -> Group:
    table = _grid(
        ("", False), ("", False), ("predicted", True), ("measured", True), ("error", True)
    )
    for p in r.predictions:
        table.add_row(
            p.variant,
            p.shown,
            _show(p.predicted, ""),
            _show(p.measured, ""),
            words.NOTHING
            if p.relative_error is None
            else amounts.percent(p.relative_error, signed=True),
        )
    return _section(", ".join(filter(None, ("Predicted and measured", r.by_load))), table)


def _next(r: Report) -> Group:
    notes = [Text(f"· {words.with_units(n)}", style="dim") for n in r.caveats]
    return Group(
        *([Text("\nBefore you believe it", style="bold"), *notes] if notes else []),
        Text(f"\n{r.next_why}"),
        Padding(Text(r.next_command, style="bold"), (0, 0, 0, 2)),
    )
