"""Plots of what was expected and what then came: forecasts with their truths, and trainings.

Knows nothing of pages, nor of how anything was forecast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from headgate.report.canvas import ACCENT, CYCLE, INK, MUTED, WARN, WIDE_INCHES, Canvas, plain_log
from headgate.report.model import Expectation, Learning

__all__ = ["expectations", "learning"]

_COLUMNS = 2
_POINT = 6.5
_LEGEND, _TITLE_AND_SCALE, _LINE = 0.55, 0.75, 0.27
"""Heights in inches: of the legend, of what stands above and below each panel, and of a line."""
_LOG_FROM = 15
"""Largest over smallest value from which on an axis is logarithmic."""


def expectations(rows: Sequence[Expectation], *, width: float = WIDE_INCHES) -> str:
    """A panel a quantity, a line a candidate: its interval, and on it what was measured.

    A candidate that was skipped has its interval alone; one of which none of two panels that stand
    side by side says anything has no line in them.
    """
    quantities = list(dict.fromkeys(r.quantity for r in rows))
    columns = min(_COLUMNS if width == WIDE_INCHES else 1, len(quantities))
    bands = [quantities[i : i + columns] for i in range(0, len(quantities), columns)]
    names = [list(dict.fromkeys(r.candidate for r in rows if r.quantity in b)) for b in bands]
    heights = [_TITLE_AND_SCALE + _LINE * len(each) for each in names]
    canvas = Canvas(
        width,
        _LEGEND + sum(heights),
        columns=columns,
        rows=len(bands),
        sharey="row",
        gridspec_kw={"height_ratios": [_LINE * (len(each) + 0.2) for each in names]},
    )
    for i, ax in enumerate(canvas.axes):
        if i < len(quantities):
            shown = [r for r in rows if r.quantity == quantities[i]]
            _panel(ax, shown, names[i // columns])
        else:
            ax.set_visible(False)
    canvas.figure.legend(
        handles=_legend(rows),
        loc="outside lower center",
        ncols=4 if width == WIDE_INCHES else 2,
        handletextpad=0.6,
    )
    return canvas.svg("forecasts and what was measured")


def _panel(ax: Any, rows: Sequence[Expectation], names: Sequence[str]) -> None:
    unit = rows[0].forecast.unit
    values = [v for r in rows for v in _values(r) if math.isfinite(v)]
    scale, said = _scale(unit, max(map(abs, values)))
    log = ""
    if min(values) > 0 and max(values) > _LOG_FROM * min(values):
        ax.set_xscale("log")
        plain_log(ax.xaxis)
        log = " (log)"
    else:
        ax.locator_params(axis="x", nbins=5)
    if unit in ("points", "difference"):
        ax.axvline(0, color=MUTED, lw=0.8)
    for r in rows:
        y, f = names.index(r.candidate), r.forecast
        low, high = r.interval
        ax.plot([low * scale, high * scale], [y, y], lw=5, color=ACCENT, alpha=0.3,
                solid_capstyle="round")  # fmt: skip
        ax.plot(f.value * scale, y, "|", ms=10, mew=2, color=ACCENT)
        if r.measured is not None:
            look = {"color": INK, "marker": "o"} if r.held else {"color": WARN, "marker": "D"}
            ax.plot(r.measured.value * scale, y, ms=_POINT if r.held else _POINT - 1, **look)
        if r.limit is not None:
            ax.axvline(r.limit * scale, color=WARN, lw=1, ls=(0, (4, 3)))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)  # the first on top
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.08)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    title = ", ".join(filter(None, (rows[0].quantity, said)))
    ax.set_title(title + log, loc="left", color=INK)


def _values(row: Expectation) -> Sequence[float]:
    f = row.forecast
    measured = None if row.measured is None else row.measured.value
    return [v for v in (f.value, f.low, f.high, measured, row.limit) if v is not None]


def _scale(unit: str, largest: float) -> tuple[float, str]:
    """What values are multiplied by, and how that is called."""
    match unit:
        case "points" | "share":
            return 100.0, "%"
        case "s" if largest < 1e-3:
            return 1e6, "µs"
        case "s" if largest < 1:
            return 1e3, "ms"
        case "s" if largest >= 300:
            return 1 / 60, "min"
        case "bytes":
            return 2.0**-20, "MiB"
        case "times" | "ratio":
            return 1.0, "times"
        case "per_s":
            return 1.0, "per s"
        case "money_per_1k" | "difference":
            return 1.0, ""
    return 1.0, unit


def _legend(rows: Sequence[Expectation]) -> list[Any]:
    from matplotlib.lines import Line2D

    found = [
        Line2D([], [], color=ACCENT, alpha=0.45, lw=5, marker="|", ms=9, mew=2,
               label="forecast, 90 % interval"),
    ]  # fmt: skip
    held = {r.held for r in rows}
    if True in held:
        found.append(Line2D([], [], color=INK, marker="o", ls="", ms=_POINT, label="measured"))
    if False in held:
        found.append(
            Line2D([], [], color=WARN, marker="D", ls="", ms=_POINT - 1, label="measured, outside")
        )
    if any(r.limit is not None for r in rows):
        found.append(Line2D([], [], color=WARN, lw=1, ls=(0, (4, 3)), label="contract"))
    return found


def learning(rows: Sequence[Learning], *, width: float = WIDE_INCHES) -> str:
    """Loss over steps, a colour a training: of its batches, smoothed, and on held-back texts."""
    canvas = Canvas(width, 3.3)
    ax = canvas.axes[0]
    for i, row in enumerate(rows):
        colour = CYCLE[i % len(CYCLE)]
        smooth = _smoothed(row.losses)
        ax.plot(
            range(1, len(smooth) + 1), smooth, color=colour, lw=1.2, alpha=0.55,
            label=f"{row.name}, its batches",
        )  # fmt: skip
        if row.held_back:
            steps, losses = zip(*row.held_back, strict=True)
            ax.plot(
                steps, losses, "o-", color=colour, ms=4.5, lw=1.6,
                label=f"{row.name}, held-back texts",
            )  # fmt: skip
    top = max((max(_smoothed(r.losses)[_WARM_UP:], default=0.0) for r in rows), default=0.0)
    top = max([top, *(loss for r in rows for _, loss in r.held_back)])
    if top > 0:
        ax.set_ylim(0, 1.15 * top)
    ax.set_xlabel("steps")
    ax.set_ylabel("loss against the teacher")
    canvas.figure.legend(
        loc="outside lower center", ncols=2 if width == WIDE_INCHES else 1
    )  # curves may run anywhere
    return canvas.svg("training curves")


_WARM_UP = 3
"""Steps whose losses may run out of the picture."""
_MEMORY = 0.9


def _smoothed(losses: Sequence[float]) -> list[float]:
    """An exponential mean, free of its start: what single batches are off would hide the course.

    >>> _smoothed([2.0, 2.0, 2.0])
    [2.0, 2.0, 2.0]
    """
    found, total, weight = [], 0.0, 0.0
    for loss in losses:
        total = _MEMORY * total + (1 - _MEMORY) * loss
        weight = _MEMORY * weight + 1 - _MEMORY
        found.append(total / weight)
    return found
