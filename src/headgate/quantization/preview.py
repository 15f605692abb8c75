"""What a scheme would do, before it is paid for: size, memory, speed, quality, and what it takes.

Pilot measurements in, a forecast out, with an interval on all that is uncertain. The pilots are
run by ``headgate.optimize``; this module knows no engine, clock or file.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from headgate.errors import Undecided
from headgate.quantization.facts import ModelFacts
from headgate.quantization.schemes import Scheme, applies_to, coverage, product_weights
from headgate.theory.significance import required_n_paired_mean

__all__ = [
    "QuantizationForecast",
    "Range",
    "file_bytes",
    "forecast",
    "quality_loss",
    "speedup_by_coverage",
    "speedup_by_pilot",
]

_SHRINKABLE = ("Gather",)
"""Besides matrix products: embedding tables, which every int8 scheme here stores in int8."""


@dataclass(frozen=True, slots=True)
class Range:
    """A forecast and the 90 % interval in which the measurement will probably lie."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class QuantizationForecast:
    """What is expected of one scheme on one model and machine."""

    scheme: str
    applies: bool
    reason: str
    warnings: tuple[str, ...]
    file_bytes: int
    memory_bytes: int
    """Of the process that serves it: the baseline's, less what the weights save."""
    speedup: Range
    """Baseline's time over this one's, for the same batches; above 1 is faster."""
    speedup_from: str
    """``pilot``, or ``coverage`` where nothing was measured: then it is a rule of thumb."""
    quality_loss: Range | None
    """Baseline less candidate on all items, in the metric's unit; None without a pilot."""
    meets_margin: float | None
    """Probability, 0 to 1, that the loss on all items stays within the margin."""
    n_required: int | None
    """Items with which the gate would show it with power 0.8; None where no n would."""
    coverage: float
    """Share of matrix products that the scheme speeds up."""


def forecast(
    scheme: Scheme,
    facts: ModelFacts,
    flags: Collection[str],
    *,
    source_file_bytes: int,
    baseline_memory_bytes: int,
    pilot_speedups: NDArray[np.float64] | None = None,
    pilot_differences: NDArray[np.float64] | None = None,
    evaluation_items: int = 0,
    margin: float = 0.0,
    metric_range: float = 1.0,
    min_weights: int = 100_000,
) -> QuantizationForecast:
    """The forecast of ``scheme``, from what is known so far.

    ``pilot_speedups``: baseline time over candidate time, one for each interleaved block.
    ``pilot_differences``: candidate less baseline for each pilot item, in the metric's unit, whose
    largest possible difference is ``metric_range``; ``evaluation_items`` and ``margin`` are those
    of the gate to come.
    """
    applicability = applies_to(scheme, facts, flags, min_weights=min_weights)
    fast = not scheme.fast_with or bool(set(scheme.fast_with) & set(flags))
    if pilot_speedups is None:
        speedup, source = speedup_by_coverage(scheme, coverage(facts), fast=fast), "coverage"
    else:
        speedup, source = speedup_by_pilot(pilot_speedups), "pilot"
    loss = meets = required = None
    if pilot_differences is not None:
        loss, meets = quality_loss(
            pilot_differences,
            evaluation_items=evaluation_items,
            margin=margin,
            metric_range=metric_range,
        )
        _, variance = _smoothed(pilot_differences, metric_range)
        required = required_n_paired_mean(
            sd=math.sqrt(variance), margin=margin, difference=-max(loss.value, 0.0)
        )
    return QuantizationForecast(
        scheme=scheme.name,
        applies=applicability.applies,
        reason=applicability.reason,
        warnings=applicability.warnings,
        file_bytes=file_bytes(scheme.file_bits, facts, source_file_bytes),
        memory_bytes=baseline_memory_bytes
        + file_bytes(scheme.weight_bits, facts, source_file_bytes)
        - source_file_bytes,
        speedup=speedup,
        speedup_from=source,
        quality_loss=loss,
        meets_margin=meets,
        n_required=required,
        coverage=coverage(facts),
    )


def file_bytes(bits: int, facts: ModelFacts, source_file_bytes: int) -> int:
    """Bytes with the weights of products and embeddings in ``bits`` bits, the rest as it is."""
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


def speedup_by_pilot(speedups: NDArray[np.float64]) -> Range:
    """Geometric mean of the blocks' ratios, and the 90 % interval of one more such mean.

    Times are products of many causes, so their ratios are summarised as logarithms; the interval
    is Student's for a mean of as many blocks again. Raises ``Undecided`` with fewer than two.
    """
    ratios = np.asarray(speedups, dtype=np.float64)
    if len(ratios) < 2 or not (np.isfinite(ratios) & (ratios > 0)).all():
        raise Undecided(
            "a pilot needs at least two blocks with positive times",
            where=f"{len(ratios)} blocks",
            fix="measure more blocks",
        )
    logs = np.log(ratios)
    n = len(logs)
    half = float(stdtrit(n - 1, 0.95) * logs.std(ddof=1) * math.sqrt(2 / n))
    middle = float(logs.mean())
    return Range(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def quality_loss(
    differences: NDArray[np.float64],
    *,
    evaluation_items: int,
    margin: float,
    metric_range: float = 1.0,
) -> tuple[Range, float]:
    """(loss on ``evaluation_items`` items to come, probability that it is at most ``margin``).

    ``differences`` are candidate less baseline on n pilot items. The prediction interval of a
    mean of N further items is ``mean +- t_(n-1) * s * sqrt(1/n + 1/N)``. Mean and variance count
    half an item more each way and one more tie (Agresti and Min, 2005): a pilot without a single
    difference has not shown that there is none.

    >>> loss, meets = quality_loss(np.zeros(98), evaluation_items=1250, margin=0.02)
    >>> round(loss.high, 4), round(meets, 2)
    (0.0174, 0.97)
    """
    n = len(differences)
    if n < 2 or evaluation_items < 1 or not np.isfinite(differences).all():
        raise Undecided(
            "a quality pilot needs at least two finite differences and items to forecast",
            where=f"{n} pilot items, {evaluation_items} to come",
            fix="run the pilot on more items",
        )
    mean, variance = _smoothed(differences, metric_range)
    spread = math.sqrt(variance * (1 / n + 1 / evaluation_items))
    half = float(stdtrit(n - 1, 0.95)) * spread
    meets = float(stdtr(n - 1, (margin + mean) / spread))
    return Range(-mean, -mean - half, -mean + half), meets


def _smoothed(differences: NDArray[np.float64], metric_range: float) -> tuple[float, float]:
    n = len(differences) + 2
    mean = float(differences.sum()) / n
    second = (float(np.square(differences).sum()) + metric_range**2) / n
    return mean, second - mean**2
