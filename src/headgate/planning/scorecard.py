"""Held to its word: forecasts joined with what was then measured, and whether to trust the next.

A preview says 90 % of its intervals hold. So of the last twenty that met their truth at most four
may have missed; with a fifth it is not trusted until others have hit. Twenty tell little (15 of 20
are compatible with a true 90 %), so the exact interval of the share stands beside it: the rule asks
for a warning, not for a proof. A forecast of the same thing that meets its truth again is no other
evidence: it takes the place of the earlier. Knows nothing of ledgers, models or units.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headgate.objects import Action
from headgate.theory.intervals import Range, exact_interval

__all__ = ["LOOKS_BACK", "MAY_MISS", "Met", "Score", "scorecard"]

LOOKS_BACK = 20
_LEAST_COVERAGE = 0.8
MAY_MISS = LOOKS_BACK - math.ceil(LOOKS_BACK * _LEAST_COVERAGE)
"""Of the last twenty."""


_FORECAST = {"quantization": "schemes and small students", "distillation": "encoders' students"}
"""Preview -> whose forecasts they are: small students and their cascades are piloted as schemes
are, encoders' students are foretold from small trainings."""


@dataclass(frozen=True, slots=True)
class Met:
    """A forecast that met its truth."""

    of: str
    """What was forecast of what; one that is met again counts once, as the last time."""
    preview: str
    """``quantization`` or ``distillation``."""
    about: str
    """What kind of figure: ``quality``, ``speed``, ``size``, ``memory`` or ``cost``."""
    forecast: Range
    truth: float

    @property
    def held(self) -> bool:
        """Whether the truth lay in the interval."""
        return self.forecast.holds(self.truth)


@dataclass(frozen=True, slots=True)
class Score:
    """How the last forecasts of one kind did."""

    preview: str
    about: str
    n: int
    """At most twenty."""
    held: int
    low: float
    """Exact 95 % interval of the share that holds (Clopper and Pearson)."""
    high: float

    @property
    def coverage(self) -> float:
        return self.held / self.n

    @property
    def trusted(self) -> bool | None:
        """None while fewer than twenty have met their truth, and not more missed than may."""
        if self.n - self.held > MAY_MISS:
            return False
        return True if self.n == LOOKS_BACK else None

    @property
    def action(self) -> Action:
        """Warn where it is not trusted; unknown where that cannot be told yet."""
        if self.trusted is None:
            return Action.UNKNOWN
        return Action.ACCEPT if self.trusted else Action.WARN

    def describe(self) -> str:
        """For a report.

        >>> Score("quantization", "quality", 20, 15, 0.509, 0.913).describe()
        'schemes and small students, quality: 15 of the last 20 intervals held \
(95 % interval 51 % to 91 %): not to be trusted'
        """
        word = {True: "trusted", False: "not to be trusted", None: "too few to tell"}
        of = _FORECAST.get(self.preview, self.preview)
        return (
            (
                f"{of}, {self.about}: {self.held} of the last {self.n} intervals held "
                f"(95 % interval {self.low:.0%} to {self.high:.0%}): {word[self.trusted]}"
            )
            .replace("%", " %")
            .replace("95  %", "95 %")
        )


def scorecard(met: Iterable[Met]) -> tuple[Score, ...]:
    """One score for each preview and kind of figure, from forecasts in the order of their truths.

    >>> [s.held for s in scorecard([Met(of, "quantization", "quality", Range(0, -1, 1), t)
    ...                             for of, t in (("a", 0.5), ("b", 0.5), ("b", 2.0))])]
    [1]
    """
    newest: dict[tuple[str, str, str], Met] = {}
    for each in met:
        same = each.preview, each.about, each.of
        newest.pop(same, None)
        newest[same] = each
    kinds: dict[tuple[str, str], list[Met]] = {}
    for each in newest.values():
        kinds.setdefault((each.preview, each.about), []).append(each)
    return tuple(_score(*kind, every[-LOOKS_BACK:]) for kind, every in sorted(kinds.items()))


def _score(preview: str, about: str, last: Sequence[Met]) -> Score:
    held = sum(m.held for m in last)
    interval = exact_interval(held, len(last), level=0.975)
    return Score(preview, about, len(last), held, interval.low, interval.high)
