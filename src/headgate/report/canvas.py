"""The house style of every plot: colours, fonts, and a figure that becomes SVG text."""

from __future__ import annotations

import io
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
    """Labels of a log axis as plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())
