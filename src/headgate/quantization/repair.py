"""Which few layers to leave out of int8, so that a model keeps what was promised.

Ask and tell: it says what to try next, whoever asks makes it and tells what came of it. It knows
no model, no metric and no clock; told the same things in the same order, it asks the same things.

Layers are taken by the noise that leaving them out of int8 removes, for the work that it costs
(greedy for the knapsack, Dantzig 1957). Of the sets that this order begins with, the first that
holds is found by doubling and then by bisection; what was taken in needlessly is then dropped
again, most expensive first. Where the speed-up leaves no room for more and it still does not hold,
the order of the noise alone is tried.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from headgate.quantization.sensitivity import Layer
from headgate.quantization.speed import Speedup

__all__ = ["BUDGET", "LEAST_KEPT", "Repair", "Trial", "Why", "speed_kept"]

BUDGET = 10
"""Trials; each makes a build and answers the evaluation items with it."""
LEAST_KEPT = 0.8
"""Share of the speed-up of plain int8 that a repaired build must keep."""
_WORTH = 0.02
"""A layer is dropped again only where that gives back so much of the speed: a trial costs more."""


def speed_kept(work_kept: float, speedup: float) -> float:
    """Share of the speed-up that is left: ``1 / (1 + (s - 1) W)``, by Amdahl's law (1967).

    ``speedup`` s: the engine's time in what is kept computes in, bf16 or fp32, over that of plain
    int8.
    ``work_kept`` W: share of the products' multiply-adds that is left out of int8. Of a time of 1,
    int8 takes 1/s, and each share of the work that it loses gives back as much of 1 - 1/s.

    >>> speed_kept(0.125, speedup=3.0)
    0.8
    """
    return 1 / (1 + (speedup - 1) * work_kept)


class Why(StrEnum):
    """Why there is nothing more to ask."""

    MET = "met"
    """A set holds, and nothing in it is worth dropping."""
    BUDGET = "budget"
    """All trials are used."""
    SPEED = "speed"
    """What would still have to be left out costs too much of the speed-up."""
    NO_FASTER = "no_faster"
    """Plain int8 has no speed-up over what layers would be kept in: take that, for all of them."""
    NOTHING_HELPS = "nothing_helps"
    """Every layer was left out: what is lost is lost elsewhere."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A set of layers left out of int8, and what came of it."""

    keep: tuple[str, ...]
    """Names, in graph order."""
    met: bool
    """Whether the quality that was promised is kept."""
    speed_kept: Speedup | None = None
    """Over plain int8, so 1 or less but for noise, where it was measured."""


class Repair:
    """Asks for sets of layers to keep, until one holds that is worth keeping."""

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        speedup: float,
        least_kept: float = LEAST_KEPT,
        budget: int = BUDGET,
    ) -> None:
        """``layers`` in graph order; ``speedup`` of plain int8 over the same engine without, in
        the precision that layers are kept in: where it was measured to be none, all of them are as
        well kept in that."""
        self._layers = {layer.name: layer for layer in layers}
        self._speedup, self._least_kept, self._budget = speedup, least_kept, budget
        self._told: dict[tuple[str, ...], Trial] = {}

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All that was told, in order."""
        return tuple(self._told.values())

    @property
    def best(self) -> Trial | None:
        """Of the trials that hold, that with the least work kept, but for those too slow.

        What was measured is too slow where that is shown, by its upper bound: a set that is dropped
        is never looked at again, and one that stays is timed and priced as every candidate is.
        """
        held = [t for t in self._told.values() if t.met and self._fast(t)]
        return min(held, key=lambda t: (self._work(t.keep), t.keep), default=None)

    def ask(self) -> tuple[str, ...] | None:
        """The set to try next, never one that was told; None where ``why`` says why not."""
        asked = self._next()
        return asked if isinstance(asked, tuple) else None

    @property
    def why(self) -> Why | None:
        """Why it asks for nothing more; None while it does."""
        asked = self._next()
        return asked if isinstance(asked, Why) else None

    def tell(self, keep: Sequence[str], *, met: bool, speed_kept: Speedup | None = None) -> None:
        """What came of ``keep``. Told once more with a speed that was measured since, it counts as
        the same trial. Raises ``ValueError`` for a layer that is not there."""
        unknown = set(keep) - set(self._layers)
        if unknown:
            raise ValueError(f"no such layers: {', '.join(sorted(unknown))}")
        named = self._in_order(keep)
        self._told[named] = Trial(named, met, speed_kept)

    def estimate(self, keep: Sequence[str]) -> float:
        """Share of the speed-up that a build with ``keep`` left out would have."""
        return speed_kept(self._work(keep), 1 + self._slope)

    def _next(self) -> tuple[str, ...] | Why:
        if self._speedup <= 1:
            return Why.NO_FASTER
        wanted = self._wanted()
        spent = isinstance(wanted, tuple) and len(self._told) >= self._budget
        return Why.BUDGET if spent else wanted

    def _wanted(self) -> tuple[str, ...] | Why:
        """What would be asked for next if there were no budget."""
        by_value, by_noise = self._grown(_noise_for_work), self._grown(_noise)
        doubled = [2**k for k in range(len(by_value).bit_length()) if 2**k < len(by_value)]
        for sets, sizes in (
            (by_value, [*doubled, len(by_value)]),
            (by_noise, [len(by_noise)]),
        ):
            found = self._first_held(sets, sizes) if sets else None
            if isinstance(found, Trial):
                return self._dropped(found.keep)
            if found is not None:
                return found
        everything = bool(by_value) and len(by_value[-1]) == len(self._layers)
        return Why.NOTHING_HELPS if everything or not self._layers else Why.SPEED

    def _first_held(
        self, sets: Sequence[tuple[str, ...]], sizes: Sequence[int]
    ) -> tuple[str, ...] | Trial | None:
        """The smallest of ``sets`` that holds, or which to try to find it; None where none does.

        ``sizes`` are tried upwards until one holds; between it and the last that did not, bisection
        finds where it begins to.
        """
        failed, held = 0, 0
        for size in sizes:
            trial = self._told.get(sets[size - 1])
            if trial is None:
                return sets[size - 1]
            if trial.met:
                held = size
                break
            failed = size
        if not held:
            return None
        while held - failed > 1:
            middle = (failed + held) // 2
            trial = self._told.get(sets[middle - 1])
            if trial is None:
                return sets[middle - 1]
            failed, held = (failed, middle) if trial.met else (middle, held)
        return self._told[sets[held - 1]]

    def _dropped(self, keep: tuple[str, ...]) -> tuple[str, ...] | Why:
        """Which subset of a set that holds to try next, most expensive layer first."""
        for name in sorted(keep, key=lambda n: (-self._layers[n].work, n)):
            fewer = tuple(n for n in keep if n != name)
            gained = self.estimate(fewer) - self.estimate(keep)
            if not fewer or gained < _WORTH:
                continue
            trial = self._told.get(fewer)
            if trial is None:
                return fewer
            if trial.met:
                return self._dropped(fewer)
        return Why.MET if self.best is not None else Why.SPEED

    def _grown(self, value: Callable[[Layer], float]) -> list[tuple[str, ...]]:
        """Sets of one, two, three ... layers of the highest ``value`` that the speed has room for.

        A layer too large for what is left is passed over.
        """
        room = (1 / self._least_kept - 1) / self._slope if self._slope else math.inf
        grown: list[tuple[str, ...]] = []
        taken: list[str] = []
        for layer in sorted(self._layers.values(), key=lambda a: (-value(a), a.name)):
            if self._work([*taken, layer.name]) <= room:
                taken.append(layer.name)
                grown.append(self._in_order(taken))
        return grown

    @property
    def _slope(self) -> float:
        """s - 1 of ``speed_kept``: from the speed-up, or what the measured trials show it to be."""
        shown = [
            (1 / t.speed_kept.high - 1) / self._work(t.keep)
            for t in self._told.values()
            if t.speed_kept is not None and self._work(t.keep) > 0
        ]
        return max(statistics.median(shown), 0.0) if shown else self._speedup - 1

    def _fast(self, trial: Trial) -> bool:
        measured = trial.speed_kept
        kept = self.estimate(trial.keep) if measured is None else measured.high
        return kept >= self._least_kept

    def _work(self, keep: Sequence[str]) -> float:
        return sum(self._layers[name].work for name in keep)

    def _in_order(self, keep: Sequence[str]) -> tuple[str, ...]:
        kept = set(keep)
        return tuple(name for name in self._layers if name in kept)


def _noise(layer: Layer) -> float:
    return layer.noise


def _noise_for_work(layer: Layer) -> float:
    return layer.noise / layer.work
