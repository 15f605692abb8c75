"""``headgate preview``: what each smaller model would cost and lose, before it is paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.options import AsJson, ConfigArgument, StoreOption, open_store, store_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from headgate.optimize.forecasts import Figure, Forecast
    from headgate.optimize.preview import Previewed

__all__ = ["preview"]

_STOPS = 3
_MEMORY = (
    "Memory is the peak of a process with one engine and no cache. A server has one for each "
    "instance, and a cache."
)
_SIZES = ("file_bytes", "memory_bytes")


def preview(
    config: ConfigArgument,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure times again, even those that are recorded.")
    ] = False,
    resamples: Annotated[
        int | None,
        typer.Option(
            "--resamples",
            min=2,
            help="Calibrate each static candidate so many times more, on resamples of its data, "
            "and say how much luck is in it.",
        ),
    ] = None,
    store: StoreOption = None,
    as_json: AsJson = False,
) -> int:
    """Forecast what each candidate would bring and lose, and what finding out would cost.

    Exits with 3 where `optimize` has nothing to try: no candidate, nor the model as it is.
    """
    from headgate.cli.checkpoint import begin, sign
    from headgate.cli.output import print_json
    from headgate.cli.progress import Progress
    from headgate.objects import jsonable
    from headgate.optimize.preview import preview_endpoint

    root = store_root(config, store)
    begin(root)
    with Progress() as progress:
        found = preview_endpoint(
            config, store_root=root, progress=progress, fresh=fresh, resamples=resamples
        )
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
    some = found.as_it_is == "" or any(not f.skip for f in found.forecasts)
    return 0 if some else _STOPS


def _print(found: Previewed) -> None:
    from rich.text import Text

    from headgate import amounts
    from headgate.cli.output import grid, stdout, title
    from headgate.optimize.forecasts import HOPELESS
    from headgate.optimize.preview import DO_NOT_TRAIN, FOR_SIZE, NO_GAIN
    from headgate.report import words

    console = stdout()

    def section(name: str, table: RenderableType) -> None:
        console.print(Text(f"\n{name}", style="bold"))
        console.print(table)

    baseline = ", ".join(
        f"{m} {amounts.figure(v, found.units[m])}" for m, v in found.scores.items()
    )
    console.print(title(found.endpoint, f"as it is: {baseline}" if baseline else ""))
    for silent in found.silent:
        console.print(Text(f"· {silent}", style="yellow"))
    if found.as_it_is is None:
        console.print("No candidate can be made of a server that is not ours.")
        return
    seen = [f for f in found.forecasts if f.figures]
    if seen:
        made = [f for f in seen if "file_bytes" in f.figures]
        answered = [f for f in seen if f.meets is not None]
        if made:
            section("Expected, by pilots (90 % intervals)", _expected(made))
            if any("memory_bytes" in f.figures for f in made):
                console.print(_MEMORY)
        if answered:
            section("What its answers would lose", _quality(answered, console.width))
        section("What finding out takes", _cost(found, seen))
        if any(f.advice == DO_NOT_TRAIN and not f.skip for f in seen):
            console.print(
                f"`{DO_NOT_TRAIN}` is advice to whoever names the candidates. `headgate optimize` "
                f"trains what is named all the same, unless its chance is at most "
                f"{amounts.percent(HOPELESS, digits=0)}."
            )
        for f in seen:
            if f.training and not f.skip:
                console.print(f"{f.name}: {f.training}. `headgate optimize` takes it from here.")
        slow = [f for f in seen if f.advice in (FOR_SIZE, NO_GAIN)]
        for f in slow:
            console.print(_no_gain(f))
    unseen = grid("=candidate", "expected")
    skipped = grid("=candidate", "because")
    for f in found.forecasts:
        if f.skip:
            skipped.add_row(f.name, words.with_units(f.skip))
        elif not f.figures:
            unseen.add_row(f.name, f.expected)
    if unseen.row_count:
        section("Expected, without a pilot", unseen)
    if skipped.row_count:
        section("Not tried", skipped)
    warnings = dict.fromkeys(w for f in seen if not f.skip for w in f.warnings)
    if warnings:
        console.print()
    for warning in warnings:
        console.print(Text(f"· {warning}", style="yellow"))
    if any(f.calibrated and not f.skip for f in seen):
        console.print(Text("\nHow much luck is in a calibration", style="bold"))
        if not found.luck:
            console.print("`headgate preview --resamples 3` calibrates three times more, and says.")
        for luck in found.luck:
            if isinstance(luck, str):
                console.print(luck)
                continue
            console.print(luck.describe())
            for warning in luck.warnings:
                console.print(Text(f"· {warning}", style="yellow"))
    console.print(Text("\nThe model as it is", style="bold"))
    console.print(Text(_as_it_is(found)))
    console.print(Text("\nHow forecasts did so far", style="bold"))
    if not found.scorecard:
        console.print("None has met its truth; `headgate optimize` measures it.")
    for score in found.scorecard:
        console.print(Text(score.describe(), style="yellow" if score.trusted is False else ""))


def _as_it_is(found: Previewed) -> str:
    if found.as_it_is:
        return f"It is tried under no other policies: {found.as_it_is}"
    when = "Where no accepted candidate is cheaper beyond doubt,"
    if not found.forecasts:
        when = "No candidate is named, but"
    elif all(f.skip for f in found.forecasts):
        when = "No candidate is worth trying, but"
    return (
        f"{when} `headgate optimize` looks for batching, instances and a cache that serve it for "
        "less."
    )


def _no_gain(f: Forecast) -> str:
    """Why it is advised against, in figures of the tables above."""
    from headgate import amounts
    from headgate.optimize.preview import FOR_SIZE, LIKELY

    speed, p50 = f.figures["speedup"].range, f.figures["latency_p50"].range
    if f.advice == FOR_SIZE:
        but = "worth it only where a smaller file is what you want"
    elif f.meets is not None and f.meets < LIKELY:
        but = f"its chance to keep its promises is {amounts.percent(f.meets, digits=0)}"
    else:
        but = "its file is no smaller"
    return (
        f"{f.name}: no faster than the model as it is, with {speed.low:.1f} to {speed.high:.1f}x "
        f"the speed in batches and {1 / p50.high:.1f} to {1 / p50.low:.1f}x alone; {but}."
    )


def _expected(made: Sequence[Forecast]) -> Table:
    from headgate import amounts
    from headgate.cli.output import grid
    from headgate.report import words

    table = grid("=candidate", ">size", ">memory", ">p50", ">throughput", ">speed")
    for f in made:
        of = {name: figure.range for name, figure in f.figures.items()}
        speed = of.get("speedup")
        table.add_row(
            f.name,
            *(amounts.size(of[m].value) if m in of else words.NOTHING for m in _SIZES),
            words.NOTHING if f.p50_s is None else amounts.seconds(f.p50_s.value),
            words.NOTHING if f.per_s is None else amounts.figure(f.per_s.value, "per_s"),
            words.NOTHING if speed is None else f"{speed.low:.1f} to {speed.high:.1f}x",
        )
    return table


def _quality(answered: Sequence[Forecast], width: int) -> Table:
    from headgate import amounts
    from headgate.cli.output import grid, whole_words
    from headgate.report import words

    quality = [
        *dict.fromkeys(
            m for f in answered for m, shown in f.figures.items() if shown.about == "quality"
        )
    ]

    def table(metrics: Sequence[str]) -> Table:
        rows = grid("=candidate", *(f">{m}" for m in metrics), ">keeps")
        for f in answered:
            rows.add_row(
                f.name,
                *(_interval(f.figures[m]) if m in f.figures else words.NOTHING for m in metrics),
                words.NOTHING if f.meets is None else amounts.percent(f.meets, digits=0),
            )
        return rows

    # As many promises as the terminal is wide enough for, in their order; --json has all.
    many = len(quality)
    while many > 1 and not whole_words(table(quality[:many]), width):
        many -= 1
    return table(quality[:many])


def _interval(figure: Figure) -> str:
    """Of a fraction in per cent, without repeating the sign of it; one value where it is known.

    >>> from headgate.optimize.forecasts import Figure
    >>> from headgate.theory.intervals import Range
    >>> _interval(Figure("quality", "points", Range(0.01, -0.0012, 0.0213)))
    '−0.1 to 2.1 %'
    >>> _interval(Figure("quality", "points", Range(0.0001, -0.0002, 0.0004)))
    '−0.02 to 0.04 %'
    >>> _interval(Figure("quality", "difference", Range(-0.1614, -0.1614, -0.1614)))
    '−0.161'
    """
    from headgate import amounts

    low, high = figure.range.low, figure.range.high
    if figure.known:
        return amounts.figure(low, figure.unit).replace("+", "").replace("-", "−")
    if figure.unit in ("points", "share"):
        ends = 100 * low, 100 * high
        # Both ends would be shown as nothing lost: as many digits as tell more.
        digits = next((d for d in (1, 2, 3) if any(round(end, d) for end in ends)), None)
        if digits is None:
            return "within 0.001 %"
        return " to ".join(f"{end:z.{digits}f}" for end in ends).replace("-", "−") + " %"
    return f"{low:.3g} to {high:.3g}".replace("-", "−")


def _cost(found: Previewed, seen: Sequence[Forecast]) -> Table:
    from headgate import amounts
    from headgate.cli.output import grid
    from headgate.report import words

    priced = [">money"] if found.price_per_s else []
    table = grid("=candidate", f">items needed of {found.evaluated:,}", ">time", *priced, "advice")
    for f in seen:
        cost_s = f.cost_s or 0.0
        money = [amounts.money(cost_s * found.price_per_s, found.currency)] if priced else []
        unknown = (
            words.NOTHING if f.meets is None or f.preview == "distillation" else "no n suffices"
        )
        needed = unknown if f.n_required is None else amounts.count(f.n_required)
        table.add_row(f.name, needed, amounts.seconds(cost_s), *money, f.advice)
    return table
