"""What a scheme would do, before it is paid for: size, memory, speed, quality, and what it takes.

Pilot measurements in, a forecast out, with an interval on all that is uncertain. The pilots are
run by ``headgate.optimize``; this module knows no engine, clock or file.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from headgate.errors import Undecided
from headgate.quantization.facts import ModelFacts
from headgate.quantization.schemes import Scheme, applies_to, coverage, product_weights
from headgate.theory.intervals import Range
from headgate.theory.significance import required_n_paired_mean
from headgate.theory.strata import Stratum, stratified

__all__ = [
    "CALIBRATING_S",
    "FEW_ITEMS",
    "Pilot",
    "QualityForecast",
    "QualityPilot",
    "QuantizationForecast",
    "Side",
    "file_bytes",
    "forecast",
    "pilot_items",
    "quality",
    "ratio_to_come",
    "speedup_by_coverage",
]

_SHRINKABLE = ("Gather",)
"""Besides matrix products: embedding tables, which every int8 scheme here stores in int8."""
_DRIFT_OF_RATIOS = 0.03
"""Standard deviation of the logarithm of a ratio of two builds' times from hour to hour: neighbours
on a shared machine do not slow all kernels alike."""
FEW_ITEMS = 16
"""That a pilot calibrates on, where all would cost too much."""
_SHIFT_OF_FEW = 0.005
"""Of the range of a metric: standard deviation of what calibrating on few changes of its mean."""
_WEIGHED_APART = 0.05
"""Share by which the peaks of two processes that serve builds of one size differ."""
CALIBRATING_S = 15.0
"""Of the minute that a preview may take: that calibrating in full may take longer than on a few."""


class Side(enum.Enum):
    """What is forecast of a quality metric, and which side of the limit is good."""

    LOSS = "loss"
    """How much worse than the baseline; at most the limit."""
    AT_LEAST = "at_least"
    """The candidate's own value."""
    AT_MOST = "at_most"


@dataclass(frozen=True, slots=True)
class QualityPilot:
    """Values of the pilot's items, as the contract on ``metric`` looks at them."""

    metric: str
    side: Side
    limit: float
    largest: float
    """Width of the range of differences (of values, unless ``side`` is a loss)."""
    strata: tuple[Stratum, ...]
    """Of a loss, baseline less candidate where more is better: above 0 is worse."""
    stops: bool = True
    """Whether a breach stops a promotion, and does not just warn."""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """Beyond which no mean can lie."""
    alpha: float = 0.05
    """The gate's chance to accept what breaks it, and below its power: both shared among all that
    it judges."""
    power: float = 0.8


@dataclass(frozen=True, slots=True)
class Pilot:
    """What was measured of a small build of the scheme."""

    file_bytes: int
    memory_bytes: int | None
    """Peak of a process that serves it; None where none could be weighed."""
    p50_ratios: tuple[float, ...]
    """Median latency of a lone item over the baseline's, one a block."""
    speedups: tuple[float, ...]
    """Baseline's time over this one's for the same batches, one a block."""
    baseline_p50_s: float
    """In the same blocks."""
    baseline_per_s: float
    """Items a second in batches, in the same blocks."""
    quality: tuple[QualityPilot, ...]
    few: bool
    """It was calibrated on few items, and the build to come will be on all: it is not this one."""
    again: bool
    """Asked again it may answer otherwise: by its batches."""
    invalid: tuple[str, ...] = ()
    """Metrics with a contract, of which so many items errored that nothing can be forecast."""


@dataclass(frozen=True, slots=True)
class QualityForecast:
    """What will be measured of one metric on all items."""

    metric: str
    side: Side
    limit: float
    range: Range
    meets: float
    """Probability, 0 to 1, that it keeps to ``limit`` on all items."""
    n_required: int | None
    """Items with which the gate would show it with power 0.8; None where no n would."""
    stops: bool = True

    @property
    def width_in_margins(self) -> float:
        """Width of the interval over the limit; infinite where that is 0."""
        return (self.range.high - self.range.low) / self.limit if self.limit else math.inf


@dataclass(frozen=True, slots=True)
class QuantizationForecast:
    """What is expected of one scheme on one model and machine."""

    scheme: str
    applies: bool
    reason: str
    warnings: tuple[str, ...]
    coverage: float
    """Share of matrix products that the scheme speeds up."""
    file_bytes: Range
    memory_bytes: Range | None
    """Of the process that serves it, at its peak; None where no pilot was weighed."""
    speedup: Range
    """Baseline's time over this one's, for the same batches; above 1 is faster."""
    p50_ratio: Range | None = None
    """Median latency of a lone item over the baseline's."""
    p50_s: Range | None = None
    """The same on a machine on which the baseline is as fast as it was beside the pilot."""
    per_s: Range | None = None
    """Items a second in batches, of the same machine: the speed-up in another unit."""
    quality: tuple[QualityForecast, ...] = ()
    """Empty without a pilot."""
    piloted: bool = False
    """Without a pilot all of it is accounting and rules of thumb."""
    invalid: tuple[str, ...] = ()
    """As the pilot's."""

    @property
    def meets(self) -> float | None:
        """At most so probably are all quality contracts kept, whose breach would stop a promotion;
        None where nothing was tried, or a measurement would be invalid."""
        if self.invalid:
            return None
        return min((q.meets for q in self.quality if q.stops), default=None)

    @property
    def n_required(self) -> int | None:
        """Items for the most demanding contract; None where no n would do, or nothing is known."""
        if self.invalid:
            return None
        needed = [q.n_required for q in self.quality if q.stops]
        return None if None in needed else max((n for n in needed if n is not None), default=None)


def forecast(
    scheme: Scheme,
    facts: ModelFacts,
    flags: Collection[str],
    *,
    source_file_bytes: int,
    pilot: Pilot | None = None,
    min_weights: int = 100_000,
) -> QuantizationForecast:
    """The forecast of ``scheme``, from what is known so far."""
    applicability = applies_to(scheme, facts, flags, min_weights=min_weights)
    fast = not scheme.fast_with or bool(set(scheme.fast_with) & set(flags))
    known = {
        "scheme": scheme.name,
        "applies": applicability.applies,
        "reason": applicability.reason,
        "warnings": applicability.warnings,
        "coverage": coverage(facts),
    }
    if pilot is None:
        small = file_bytes(scheme.file_bits, facts, source_file_bytes)
        return QuantizationForecast(
            **known,  # type: ignore[arg-type]  # five fields of as many types
            file_bytes=_within(small, 0.02),
            memory_bytes=None,
            speedup=speedup_by_coverage(scheme, coverage(facts), fast=fast),
        )
    return QuantizationForecast(
        **known,  # type: ignore[arg-type]  # five fields of as many types
        file_bytes=_within(pilot.file_bytes, 0.005 if pilot.few else 0.0),
        memory_bytes=None
        if pilot.memory_bytes is None
        else _within(pilot.memory_bytes, _WEIGHED_APART if pilot.few else 0.0),
        speedup=(speedup := ratio_to_come(pilot.speedups)),
        p50_ratio=(p50_ratio := ratio_to_come(pilot.p50_ratios)),
        p50_s=_times(p50_ratio, pilot.baseline_p50_s),
        per_s=_times(speedup, pilot.baseline_per_s),
        quality=tuple(quality(q, again=pilot.again, few=pilot.few) for q in pilot.quality),
        piloted=True,
        invalid=pilot.invalid,
    )


def pilot_items(
    available: int, *, schemes: int, item_s: float, within_s: float = CALIBRATING_S
) -> int:
    """How many of ``available`` items the pilots of so many calibrated ``schemes`` are made with.

    All, as the real build will be, where the rest takes no longer than ``within_s``: the pilot then
    is the real build, which need not be made again, and nothing is guessed about another. Else few.
    ``item_s``: of calibrating one scheme on one item.

    >>> pilot_items(150, schemes=1, item_s=0.03), pilot_items(150, schemes=4, item_s=0.03)
    (150, 16)
    """
    more = max(available - FEW_ITEMS, 0)
    return available if schemes * more * item_s <= within_s else FEW_ITEMS


def _within(value: float, share: float) -> Range:
    return Range(value, value * (1 - share), value * (1 + share))


def _times(ratio: Range, unit: float) -> Range:
    return Range(ratio.value * unit, ratio.low * unit, ratio.high * unit)


def file_bytes(bits: int, facts: ModelFacts, source_file_bytes: int) -> int:
    """Bytes with the weights of products and embeddings in ``bits`` bits, the rest as it is.

    A scale for each of a product's output channels is within half a percent of that: 4 bytes for
    each column of some hundred weights.
    """
    shrinks = product_weights(facts) + sum(
        facts.parameters_by_operator.get(o, 0) for o in _SHRINKABLE
    )
    bytes_now = facts.weight_bytes / facts.parameters if facts.parameters else 0.0
    return round(source_file_bytes - shrinks * max(bytes_now - bits / 8, 0.0))


def speedup_by_coverage(scheme: Scheme, covered: float, *, fast: bool) -> Range:
    """Amdahl's law, ``1 / ((1 - f) + f / g)``, where nothing was measured yet.

    f: share of products covered; g: what the kernel gains, 1.5 to 4 times with its CPU flag and
    0.8 to 1.2 without, which spans what is published for encoders on CPUs. Wide on purpose.
    """
    if scheme.weight_bits == 32:
        return Range(1.0, 1.0, 1.0)
    gains = (2.5, 1.5, 4.0) if fast else (1.0, 0.8, 1.2)
    value, low, high = (1 / ((1 - covered) + covered / g) for g in gains)
    return Range(value, low, high)


def ratio_to_come(ratios: Sequence[float]) -> Range:
    """The geometric mean that as many interleaved blocks again will show, and its 90 % interval.

    Times are products of many causes, so they are summarised as logarithms: Student's prediction
    interval of the mean of as many blocks again, ``t s sqrt(2/n)``, and the drift in between added
    to its variance. Raises ``Undecided`` with fewer than two blocks.
    """
    seen = np.asarray(ratios, dtype=np.float64)
    if len(seen) < 2 or not (np.isfinite(seen) & (seen > 0)).all():
        raise Undecided(
            "a pilot needs at least two blocks with positive times",
            where=f"{len(seen)} blocks",
            fix="measure more blocks",
        )
    logs = np.log(seen)
    n = len(logs)
    sampling = float(stdtrit(n - 1, 0.95)) * float(logs.std(ddof=1)) * math.sqrt(2 / n)
    half = math.hypot(sampling, 1.645 * _DRIFT_OF_RATIOS)
    middle = float(logs.mean())
    return Range(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def quality(pilot: QualityPilot, *, again: bool, few: bool = False) -> QualityForecast:
    """What will be measured on all items, from those of the pilot.

    ``again``: of a build that may answer otherwise. ``few``: of one that is calibrated on more.
    Raises ``Undecided`` with fewer than two values, or any that is not finite.

    >>> spotless = QualityPilot("accuracy", Side.LOSS, 0.02, 1.0, (Stratum(1250, (0.0,) * 98),))
    >>> f = quality(spotless, again=True)
    >>> round(f.range.high, 3), round(f.meets, 2)
    (0.018, 0.97)
    """
    values = [v for s in pilot.strata for v in s.values]
    if len(values) < 2 or not all(map(math.isfinite, values)):
        raise Undecided(
            "a quality pilot needs at least two finite values",
            where=f"{pilot.metric}: {len(values)} items",
            fix="run the pilot on more items",
        )
    found = stratified(pilot.strata, largest=pilot.largest, again=few or again)
    if few:
        shift = _SHIFT_OF_FEW * pilot.largest
        found = replace(found, spread=math.hypot(found.spread, shift))
    low, high = found.interval()
    room = found.mean - pilot.limit if pilot.side is Side.AT_LEAST else pilot.limit - found.mean
    if found.spread > 0:
        meets = float(stdtr(found.degrees, room / found.spread))
    else:
        meets = float(room >= 0)
    return QualityForecast(
        metric=pilot.metric,
        side=pilot.side,
        limit=pilot.limit,
        range=Range(found.mean, max(low, pilot.bounds[0]), min(high, pilot.bounds[1])),
        meets=meets,
        # A gain that a pilot saw may be luck: what is needed is said as if there were none.
        n_required=required_n_paired_mean(
            sd=found.sd,
            margin=min(room, pilot.limit) if pilot.side is Side.LOSS else room,
            largest=pilot.largest,
            alpha=pilot.alpha,
            power=pilot.power,
        ),
        stops=pilot.stops,
    )
