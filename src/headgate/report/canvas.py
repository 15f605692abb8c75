"""The house style of every plot: colours, fonts, and a figure that becomes SVG text."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

__all__ = [
    "ACCENT",
    "BASE",
    "CYCLE",
    "GRID",
    "INK",
    "MUTED",
    "NARROW_INCHES",
    "STYLE",
    "WARN",
    "WIDE_INCHES",
    "Canvas",
    "log_ticks",
    "plain_log",
]

INK, MUTED, GRID = "#1c2733", "#66788a", "#e3e8ee"
ACCENT, BASE, WARN = "#0b7285", "#98a4b1", "#c2410c"
CYCLE = ("#0b7285", "#d9480f", "#5f3dc4", "#2b8a3e", "#1864ab", "#a61e4d", "#846358")
WIDE_INCHES, NARROW_INCHES = 7.6, 4.4
"""Width of a drawing on a page, and of the one that a phone shows in its place, whose letters are
as large as those beside it."""
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "headgate",
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica", "Arial", "DejaVu Sans", "sans-serif"],
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": "#b8c2cc",
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-9, 12),  # no power of ten at the end of an axis
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


class Canvas:
    """A figure in the house style that becomes SVG text."""

    def __init__(
        self, width: float, height: float, columns: int = 1, rows: int = 1, **kwargs: Any
    ) -> None:
        import matplotlib as mpl
        from matplotlib.figure import Figure as MplFigure

        # Parts of two drawings of one page must not have one name.
        self._style = mpl.rc_context({**STYLE, "svg.hashsalt": f"headgate {width}"})
        self._style.__enter__()
        self.figure = MplFigure(figsize=(width, height), layout="constrained")
        self.axes: Any = self.figure.subplots(rows, columns, squeeze=False, **kwargs).flatten()
        """Row by row."""

    def svg(self, title: str) -> str:
        """The drawing as ``<svg>``, with ``title`` for readers that cannot see it."""
        out = io.StringIO()
        try:
            self.figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        finally:
            self._style.__exit__(None, None, None)
        text = out.getvalue()
        text = text[text.index("<svg") :]
        head, _, rest = text.partition(">")
        return f'{head} role="img" aria-label="{title}">{rest}'


def plain_log(axis: Any) -> None:
    """Labels of a log axis as plain numbers at 1, 2 and 5 of each decade, or at fewer where those
    would touch."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    class Roomy(LogLocator):
        def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
            box, flat = axis.axes.bbox, axis.axis_name == "x"  # as they are when it is drawn
            length = (box.width if flat else box.height) * 72 / axis.axes.figure.dpi
            return log_ticks(vmin, vmax, length, flat=flat) or super().tick_values(vmin, vmax)

    axis.set_major_locator(Roomy(subs=_STEPS[0]))
    axis.set_major_formatter(FuncFormatter(lambda v, _: _label(v)))
    axis.set_minor_formatter(NullFormatter())


def log_ticks(low: float, high: float, length: float, *, flat: bool) -> Sequence[float]:
    """The most of a few regular choices of ticks whose labels do not touch; nothing where so few
    lie between ``low`` and ``high`` (both positive) that an axis cannot be read.

    ``length`` of the axis in points; ``flat`` where its labels stand side by side.

    >>> log_ticks(0.002, 0.11, 300, flat=True)
    [0.002, 0.005, 0.01, 0.02, 0.05, 0.1]
    >>> log_ticks(0.002, 0.11, 150, flat=True)
    [0.003, 0.01, 0.03, 0.1]
    >>> log_ticks(0.002, 0.11, 150, flat=False)
    [0.002, 0.005, 0.01, 0.02, 0.05, 0.1]
    >>> log_ticks(2, 4, 300, flat=True)
    []
    """
    if not 0 < low < high:
        return []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    choices = [[n * 10.0**d for d in decades for n in steps] for steps in _STEPS]
    choices += [[10.0**d for d in decades if d % k == 0] for k in range(2, len(decades))]
    a_point = math.log10(high / low) / length
    found: list[float] = []
    for choice in choices:
        ticks = [t for t in choice if low <= t <= high]
        if len(ticks) < 2:
            break
        found = ticks
        if all(math.log10(b / a) >= _apart(a, b, flat=flat) * a_point for a, b in pairwise(ticks)):
            break
    return found


_STEPS = ((1, 2, 5), (1, 3), (1,))
_LETTER, _LINE = 0.64, 1.2
"""Width of a digit and height of a line, in sizes of the font."""


def _apart(a: float, b: float, *, flat: bool) -> float:
    """How far apart two neighbours' labels must be, from middle to middle, in points."""
    size = float(STYLE["xtick.labelsize"])
    letters = (len(_label(a)) + len(_label(b))) / 2
    return size * ((letters + 1) * _LETTER if flat else _LINE)


def _label(value: float) -> str:
    return f"{value:g}"
