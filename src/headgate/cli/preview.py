"""``headgate preview``: what each smaller model would cost and lose, before it is paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.options import AsJson, ConfigArgument, StoreOption, open_store, store_root

if TYPE_CHECKING:
    from rich.table import Table

    from headgate.optimize.forecasts import Forecast
    from headgate.optimize.preview import Previewed

__all__ = ["preview"]

_STOPS = 3
_DASH = "–"


def preview(
    config: ConfigArgument,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure times again, even those that are recorded.")
    ] = False,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> int:
    """Forecast what each candidate would bring and lose, and what finding out would cost.

    Exits with 3 where no candidate is worth trying.
    """
    from headgate.cli.checkpoint import begin, sign
    from headgate.cli.output import print_json
    from headgate.cli.progress import Progress
    from headgate.objects import jsonable
    from headgate.optimize.preview import preview_endpoint

    root = store_root(config, store)
    begin(root)
    with Progress() as progress:
        found = preview_endpoint(config, store_root=root, progress=progress, fresh=fresh)
    with open_store(config, store) as opened:
        sign(opened)
    if as_json:
        scores = [
            {**jsonable(s), "coverage": s.coverage, "trusted": s.trusted, "action": s.action.value}
            for s in found.scorecard
        ]
        print_json({**jsonable(found), "scorecard": scores})
    else:
        _print(found)
    return 0 if any(not f.skip for f in found.forecasts) else _STOPS


def _print(found: Previewed) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from headgate.cli.output import grid, stdout, title, whole_words
    from headgate.report import words

    console = stdout()
    baseline = ", ".join(f"{m} {words.percent(v)}" for m, v in found.scores.items())
    console.print(title(found.endpoint, f"baseline: {baseline}" if baseline else ""))
    if not found.forecasts:
        console.print("No candidate can be made of a server that is not ours.")
        return
    seen = [f for f in found.forecasts if f.figures]
    if seen:
        console.print(Text("\nExpected of each (90 % intervals)", style="bold"))
        console.print(_expected(seen, console.width))
        console.print(Text("\nWhat finding out takes", style="bold"))
        console.print(_cost(found, seen))
    unseen = [f for f in found.forecasts if not f.figures and not f.skip]
    if unseen:
        console.print(Text("\nExpected without a pilot", style="bold"))
        rows = grid("candidate", "expected")
        for f in unseen:
            rows.add_row(f.name, f.expected)
        console.print(rows)
    skipped = [f for f in found.forecasts if f.skip]
    if skipped:
        console.print(Text("\nNot tried", style="bold"))
        rows = grid("candidate", "because")
        for f in skipped:
            rows.add_row(f.name, f.skip)
        whole_words(rows, console.width)
        console.print(rows)
    warned = dict.fromkeys(w for f in seen for w in f.warnings)
    for warning in warned:
        console.print(Text(f"· {warning}", style="yellow"))
    console.print(Text("\nHow earlier forecasts did", style="bold"))
    if not found.scorecard:
        console.print(
            Text("None has met its truth yet: `headgate optimize` measures it.", style="dim")
        )
    for score in found.scorecard:
        style = "yellow" if score.trusted is False else ""
        console.print(Padding(Text(score.describe(), style=style), (0, 0, 0, 2)))


def _expected(seen: list[Forecast], width: int) -> Table:
    from headgate.cli.output import grid
    from headgate.report import words

    quality = list(
        dict.fromkeys(
            m for f in seen for m, figure in f.figures.items() if figure.about == "quality"
        )
    )
    # The first is what the endpoint promises first; the others are in --json.
    shown = quality[: max(1, (width - 72) // 24)]
    table = grid(
        "candidate", ">size", ">memory", ">p50", ">speed", *(f">{m}" for m in shown), ">keeps"
    )
    for f in seen:
        speed = f.figures["speedup"].range
        cells = []
        for metric in shown:
            figure = f.figures.get(metric)
            cells.append(
                _DASH if figure is None else _interval(figure.range.low, figure.range.high)
            )
        table.add_row(
            f.name,
            words.size(f.figures["file_bytes"].range.value),
            words.size(f.figures["memory_bytes"].range.value),
            words.seconds(f.figures["latency_p50"].range.value),
            f"{speed.low:.1f} to {speed.high:.1f}x",
            *cells,
            _DASH if f.meets is None else words.percent(f.meets, digits=0),
        )
    return table


def _interval(low: float, high: float) -> str:
    """In points of a fraction.

    >>> _interval(-0.0012, 0.0213)
    '−0.1 to 2.1 %'
    """
    return f"{low * 100:z.1f} to {high * 100:z.1f} %".replace("-", "−")


def _cost(found: Previewed, seen: list[Forecast]) -> Table:
    from headgate.cli.output import grid
    from headgate.report import words

    table = grid("candidate", ">items needed", ">of", ">device time", ">money", "advice")
    for f in seen:
        cost_s = f.cost_s or 0.0
        table.add_row(
            f.name,
            "no n" if f.n_required is None else words.count(f.n_required),
            words.count(found.evaluated),
            words.seconds(cost_s),
            words.money(cost_s * found.price_per_s, found.currency) if found.price_per_s else _DASH,
            f.advice,
        )
    return table
