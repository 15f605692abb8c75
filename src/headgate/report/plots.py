"""The report's plots, as SVG text that is put into the page as it is.

Each function takes rows of ``report.model`` and returns one ``<svg>``; the bytes are the same for
the same rows. Knows nothing of pages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate import amounts
from headgate.report.canvas import (
    ACCENT,
    BASE,
    CYCLE,
    INK,
    MUTED,
    STYLE,
    WARN,
    WIDE_INCHES,
    Canvas,
    plain_log,
)
from headgate.report.model import Candidate, Curve, Distribution, Figure, Prediction, Share

__all__ = [
    "ACCENT",
    "BASE",
    "CYCLE",
    "INK",
    "MUTED",
    "STYLE",
    "WARN",
    "cost_breakdown",
    "latency_distributions",
    "predicted_against_measured",
    "quality_against_cost",
    "service_curves",
    "shares",
]


def quality_against_cost(
    candidates: Sequence[Candidate],
    *,
    quality: str,
    cost: str,
    limit: float | None,
    currency: str,
    width: float = WIDE_INCHES,
) -> str:
    """Quality difference (with interval) over money per thousand requests (log).

    ``limit``: the difference that the contract allows, in the unit of the figures; below 0 where
    more is better.
    """
    canvas = Canvas(width, 4.0)
    ax = canvas.axes[0]
    drawn = [c for c in candidates if quality in c.figures and cost in c.figures]
    points = any(c.figures[quality].unit == "points" for c in drawn)
    scale = 100.0 if points else 1.0
    if limit is not None:
        ax.axhspan(limit * scale, math.copysign(1e6, -limit), color=ACCENT, alpha=0.05, lw=0)
        ax.axhline(limit * scale, color=WARN, lw=1, ls=(0, (4, 3)))
    highest, lowest = max(0.0, (limit or 0) * scale), min(0.0, (limit or 0) * scale)
    price, said = _cost_scale([c.figures[cost].value for c in drawn], "money_per_1k", currency)
    names: list[tuple[str, tuple[float, float], str]] = []
    for i, c in enumerate(drawn):
        q, x = c.figures[quality], c.figures[cost].value * price
        low = (q.low if q.low is not None else q.value) * scale
        high = (q.high if q.high is not None else q.value) * scale
        highest, lowest = max(highest, high), min(lowest, low)
        good = c.verdict in ("accept", "warn")
        colour = BASE if c.verdict == "baseline" else CYCLE[i % len(CYCLE)]
        ax.plot([x] * 2, [low, high], color=colour, lw=2, alpha=0.5, solid_capstyle="round")
        ax.plot(x, q.value * scale, "o", ms=8, mec=colour, mfc=colour if good else "white", mew=2)
        names.append((c.name, (x, q.value * scale), MUTED if colour == BASE else colour))
    span = max(highest - lowest, 0.01 * scale)
    ax.set_ylim(lowest - 0.15 * span, highest + 0.2 * span)
    _money_axis(
        ax,
        [c.figures[cost].value * price for c in drawn],
        most=_MOST_TICKS if width == WIDE_INCHES else _MOST_TICKS // 2,
    )
    ax.set_xlabel(f"cost of 1,000 requests, {said} (log)")
    ax.set_ylabel(f"{quality} against the baseline" + (", points" if points else ""))
    if limit is not None:
        ax.annotate(
            "margin",
            (1, limit * scale),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 4),
            textcoords="offset points",
            ha="right",
            color=WARN,
            fontsize=9,
        )
    _name_points(canvas, names)
    return canvas.svg("quality against cost")


_MOST_TICKS = 8


def _legend_columns(width: float) -> int:
    return 4 if width == WIDE_INCHES else 2


_NAME_PT = 9.5
_PLACES = tuple((side, up) for up in (5, -14, 18, -27, 31, -40, 44, -53) for side in (1, -1))
"""Where a name may stand: right (1) or left of its point, and how far up in points."""


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle on the page, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def touches(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def within(self, other: _Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and (self.bottom >= other.bottom and self.top <= other.top)
        )


def _box(name: str, x: float, y: float, side: int, up: int) -> _Box:
    """Where ``name`` stands beside the point (x, y), all in points."""
    width = 0.62 * _NAME_PT * len(name)  # no narrower than any of the fonts
    left = x + 9 if side > 0 else x - 9 - width
    return _Box(left, y + up - 3, left + width, y + up + _NAME_PT)


def _name_points(canvas: Canvas, names: Sequence[tuple[str, tuple[float, float], str]]) -> None:
    """Writes (name, point, colour) beside the points, so that no two names touch: each at the
    first place that lies within the axes and is free."""
    ax, figure = canvas.axes[0], canvas.figure
    figure.draw_without_rendering()  # so that the axes are where they will be
    to_pt = 72 / figure.dpi
    inside = _Box(*(v * to_pt for v in ax.get_window_extent().extents))
    taken: list[_Box] = []
    for name, point, colour in names:
        x, y = (v * to_pt for v in ax.transData.transform(point))
        boxes = [(_box(name, x, y, side, up), side, up) for side, up in _PLACES]
        free = [b for b in boxes if not any(b[0].touches(other) for other in taken)] or boxes
        box, side, up = next((b for b in free if b[0].within(inside)), free[0])
        taken.append(box)
        ax.annotate(
            name,
            point,
            xytext=(9 * side, up),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            color=colour,
            fontsize=_NAME_PT,
        )


def _money_axis(ax: Any, values: Sequence[float], *, most: int) -> None:
    """A log axis whose few labels are plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_xscale("log")
    if values:
        low, high = min(values) / 1.5, max(values) * 2.2
        ticks = [
            m * 10.0**e
            for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for m in (1, 2, 5)
            if low <= m * 10.0**e <= high
        ]
        if len(ticks) > most:
            ticks = [t for t in ticks if math.isclose(math.log10(t) % 1, 0, abs_tol=1e-9)]
        ax.set_xlim(low, high)
        ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.9f}".rstrip("0").rstrip(".")))


def _cost_scale(values: Sequence[float], unit: str, currency: str) -> tuple[float, str]:
    """What costs of ``unit`` are multiplied by, so that they are numbers of few digits, and what
    they are called then.

    >>> _cost_scale([0.08], "money_per_1k", "USD"), _cost_scale([8e-6], "money_per_1k", "USD")
    ((1.0, 'USD'), (1000000.0, 'millionths of a USD'))
    """
    largest = max(values, default=0.0)
    if unit == "money_per_1k":
        if largest >= 1e-3 or largest == 0:
            return 1.0, currency
        return (
            (1e6, f"millionths of a {currency}")
            if largest >= 1e-6
            else (1e9, f"billionths of a {currency}")
        )
    for scale, name in ((1.0, "seconds"), (1e3, "ms")):
        if largest * scale >= 1:
            return scale, f"{name} of the machine"
    return 1e6, "µs of the machine"


def latency_distributions(
    rows: Sequence[Distribution], *, limit_s: float | None, width: float = WIDE_INCHES
) -> str:
    """Share of requests answered within a time; solid measured, dashed predicted."""
    from matplotlib.ticker import FuncFormatter

    canvas = Canvas(width, 3.8)
    ax = canvas.axes[0]
    names = list(dict.fromkeys(r.name for r in rows))
    for row in rows:
        colour = BASE if names.index(row.name) == 0 else CYCLE[(names.index(row.name) - 1) % 7]
        xs = [t * 1e3 for _, t in row.quantiles if math.isfinite(t)]
        ys = [share for share, t in row.quantiles if math.isfinite(t)]
        ax.step(
            xs,
            ys,
            where="post",
            color=colour,
            lw=2 if row.kind == "measured" else 1.4,
            ls="-" if row.kind == "measured" else (0, (4, 3)),
            label=f"{row.name}, {row.kind}",
        )
    ax.axhline(0.95, color=MUTED, lw=0.8)
    ax.annotate(
        "p95",
        (0, 0.95),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        color=MUTED,
        fontsize=9,
    )
    if limit_s is not None:
        ax.axvline(limit_s * 1e3, color=WARN, lw=1, ls=(0, (4, 3)))
        ax.annotate(
            "contract",
            (limit_s * 1e3, 0.02),
            xytext=(-4, 0),
            color=WARN,
            fontsize=9,
            textcoords="offset points",
            ha="right",
        )
    ax.set_xscale("log")
    plain_log(ax.xaxis)
    ax.set_ylim(0, 1.01)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v * 100:.0f} %"))
    ax.set_xlabel("latency from the scheduled time, ms (log)")
    canvas.figure.legend(
        loc="outside lower center", ncols=_legend_columns(width) // 2
    )  # curves may run anywhere
    return canvas.svg("latency distributions")


def service_curves(curves: Sequence[Curve], *, width: float = WIDE_INCHES) -> str:
    """Seconds of one engine call over batch size, a line a length; dots measured, lines fitted."""
    panels = max(len(curves), 1)
    columns, rows = (panels, 1) if width == WIDE_INCHES else (1, panels)
    canvas = Canvas(width, 3.5 if rows == 1 else 2.6 * rows, columns, rows, sharey=True)
    for ax, curve in zip(canvas.axes, curves, strict=False):
        lengths = sorted({length for _, length, _ in curve.points})
        for i, length in enumerate(lengths):
            seen = sorted(
                (n, s, f)
                for (n, at, s), f in zip(curve.points, curve.fitted, strict=True)
                if at == length
            )
            colour = CYCLE[i % len(CYCLE)]
            ax.plot(
                [n for n, _, _ in seen], [s * 1e3 for _, s, _ in seen], "o", ms=4.5, color=colour
            )
            ax.plot(
                [n for n, _, _ in seen],
                [f * 1e3 for _, _, f in seen],
                color=colour,
                lw=1.4,
                label=f"{length} {curve.lengths}",
            )
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        sizes = sorted({n for n, _, _ in curve.points})
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.set_title(curve.name, loc="left", color=INK)
        ax.set_xlabel("batch size")
    for ax in canvas.axes[::columns]:
        ax.set_ylabel("one engine call, ms (log)")
    plain_log(canvas.axes[0].yaxis)
    if any(curve.lengths for curve in curves):
        found = [ax.get_legend_handles_labels() for ax in canvas.axes]
        of = {label: handle for each in found for handle, label in zip(*each, strict=True)}
        canvas.figure.legend(
            [*of.values()],
            [*of],
            loc="outside lower center",
            ncols=min(len(of), _legend_columns(width)),
        )
    return canvas.svg("service-time curves")


def cost_breakdown(
    breakdown: Mapping[str, Mapping[str, Figure]], *, currency: str, width: float = WIDE_INCHES
) -> str:
    """Money per thousand requests, or the machine's seconds, by part; one bar a variant."""
    unit = next((f.unit for row in breakdown.values() for f in row.values()), "money_per_1k")
    canvas = Canvas(width, 1.1 + 0.5 * max(len(breakdown), 1))
    ax = canvas.axes[0]
    totals = [sum(f.value for f in row.values()) for row in breakdown.values()]
    scale, said = _cost_scale(totals, unit, currency)
    parts = list(dict.fromkeys(part for row in breakdown.values() for part in row))
    names = list(breakdown)
    left = [0.0] * len(names)
    for i, part in enumerate(parts):
        widths = [scale * breakdown[n][part].value if part in breakdown[n] else 0.0 for n in names]
        ax.barh(
            names,
            widths,
            left=left,
            height=0.62,
            label=part,
            color=CYCLE[i % len(CYCLE)],
            alpha=0.85,
        )
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for name, total in zip(names, left, strict=True):
        ax.annotate(
            amounts.figure(total, "", "") if scale != 1 else amounts.figure(total, unit, ""),
            (total, name),
            xytext=(5, 0),
            va="center",
            textcoords="offset points",
            fontsize=9.5,
        )
    ax.invert_yaxis()
    ax.set_xlim(0, max(left, default=1.0) * 1.15)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"cost of 1,000 requests, {said}")
    canvas.figure.legend(loc="outside lower center", ncols=min(len(parts), _legend_columns(width)))
    return canvas.svg("cost breakdown")


_CLIP = 100.0
"""Largest error that is drawn to scale, per cent."""


def predicted_against_measured(rows: Sequence[Prediction], *, width: float = WIDE_INCHES) -> str:
    """Relative error of each prediction; the band is 15 per cent.

    Errors beyond 100 per cent are arrows at the edge with their number, so that one of them leaves
    the others readable.
    """
    canvas = Canvas(width, 0.8 + 0.36 * max(len(rows), 1))
    ax = canvas.axes[0]
    labels = [f"{r.variant}: {r.shown}" for r in rows]
    known = [
        (label, row.relative_error * 100)
        for label, row in zip(labels, rows, strict=True)
        if row.relative_error is not None
    ]
    shown = [max(-_CLIP, min(_CLIP, error)) for _, error in known]
    ax.axvspan(-15, 15, color=ACCENT, alpha=0.07, lw=0)
    ax.axvline(0, color=MUTED, lw=1)
    ax.plot([0] * len(labels), labels, alpha=0)  # a line each, in their order
    ax.hlines([label for label, _ in known], 0, shown, color=ACCENT, lw=2, alpha=0.5)
    for (label, error), at in zip(known, shown, strict=True):
        if error == at:
            ax.plot(at, label, "o", color=ACCENT, ms=7)
            continue
        right = error > at
        ax.plot(at, label, ">" if right else "<", color=WARN, ms=9)
        ax.annotate(
            amounts.percent(error / 100, signed=True, digits=0),
            (at, label),
            xytext=(-8 if right else 8, 7),
            ha="right" if right else "left",
            va="center",
            textcoords="offset points",
            color=WARN,
            fontsize=9,
        )
    for label, row in zip(labels, rows, strict=True):
        text = (
            f"{amounts.figure(row.predicted.value, row.predicted.unit, '')} / "
            f"{amounts.figure(row.measured.value, row.measured.unit, '')}"
        )
        ax.annotate(
            text,
            (1.0, label),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            va="center",
            textcoords="offset points",
            color=MUTED,
            fontsize=8.5,
        )
    reach = max([30.0, *(abs(e) for e in shown)]) * 1.15
    ax.set_xlim(-reach, reach)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    between = "; " if width == WIDE_INCHES else "\n"
    ax.set_xlabel(
        f"error of the prediction, % (band: ±15 %){between}at the right: predicted / measured"
    )
    return canvas.svg("predicted against measured")


def shares(rows: Sequence[Share], *, width: float = WIDE_INCHES) -> str:
    """How many times dearer the winner is without each optimization."""
    canvas = Canvas(width, 0.7 + 0.42 * max(len(rows), 1))
    ax = canvas.axes[0]
    names = [r.optimization for r in rows]
    values = [r.factor_without.value for r in rows]
    ax.barh(names, [v - 1 for v in values], left=1, height=0.6, color=ACCENT, alpha=0.85)
    for row, value in zip(rows, values, strict=True):
        ax.annotate(
            amounts.times(value),
            (max(value, 1.0), row.optimization),
            xytext=(5, 0),
            va="center",
            textcoords="offset points",
            fontsize=9.5,
        )
    ax.axvline(1, color=MUTED, lw=1)
    ax.set_xlim(min([0.9, *values]), max([1.5, *values]) * 1.12)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("cost without it, times the winner's")
    return canvas.svg("what each optimization brings")
