"""Whether a build is faster, as a bound that was measured; and if it is not, why not.

Speed counts only with the lower bound of an interleaved comparison: fewer bits are no gain on a CPU
without their instructions, around operators that stay as they were, or where converting to and fro
takes what the products save (onnxruntime#20052, #17389, #12854, #16009).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from headgate.theory.intervals import log_ratios, ratio_interval

__all__ = ["LEAST_GAIN", "Cause", "Products", "Slow", "Speedup", "speed_up", "why_slow"]

LEAST_GAIN = 1.05
"""A speed-up of which no more than this is shown is none."""

_CALL_S = 1e-4
"""An item that takes no longer is mostly the engine's call, some ten microseconds of it fixed."""
_MOST_COVERED = 0.5
"""With less of the products in few bits, what is left as it was decides the time (Amdahl)."""

Pairs = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Speedup:
    """Baseline's time over a build's, for the same items in the same batches; above 1 is faster."""

    value: float
    """Of the geometric means of the blocks."""
    low: float
    high: float
    """One-sided 95 % bounds each."""
    blocks: int
    noise: float
    """The baseline over itself, as a factor of at least 1: the mean over the A/A pairs."""

    @property
    def counts(self) -> bool:
        """Whether more than ``LEAST_GAIN`` is shown."""
        return self.low > LEAST_GAIN


def speed_up(baseline_s: Sequence[float], build_s: Sequence[float], *, same: Pairs) -> Speedup:
    """From interleaved blocks: what each took of either, in seconds, in order.

    ``same`` are the times of the baseline against itself, before and after; no bound is narrower
    than they allow. At least two blocks, and one pair.

    >>> found = speed_up([3.0] * 9, [1.0] * 9, same=[(3.0, 3.3)])
    >>> round(found.value, 2), round(found.low, 2), round(found.noise, 2), found.counts
    (3.0, 2.83, 1.1, True)
    """
    pairs = list(zip(build_s, baseline_s, strict=True))
    found = ratio_interval(pairs, same=same)
    noise = math.exp(math.fsum(map(abs, log_ratios(same))) / len(same))
    return Speedup(found.value, found.low, found.high, found.n, noise)


@dataclass(frozen=True, slots=True)
class Products:
    """The matrix products of a build's graph, as nodes."""

    total: int
    quantized: int
    """Those that read fewer bits than the model has."""
    conversions: int
    """Nodes that quantize activations; what takes them back is part of what follows."""


class Cause(enum.StrEnum):
    """Why a build is not faster: codes, which are stored and keep their meaning."""

    NOISE = "noise"
    FLAGS = "missing_flags"
    SMALL = "too_small"
    UNQUANTIZED = "unquantized_operators"
    CONVERSIONS = "conversions"
    ESCALATION = "escalation"
    ELSEWHERE = "time_goes_elsewhere"


@dataclass(frozen=True, slots=True)
class Slow:
    """The cause that comes first, and its sentence."""

    cause: Cause
    because: str


def why_slow(
    speedup: Speedup,
    *,
    item_s: float,
    products: Products,
    fast_with: Collection[str],
    flags: Collection[str],
    escalated: float | None = None,
) -> Slow | None:
    """Why ``speedup`` does not count; None where it does.

    ``item_s`` is the baseline's time for an item in batches; ``fast_with`` are the CPU flags any of
    which brings the kernel (none for what computes in the model's own precision), and ``flags``
    those of this machine; ``escalated`` is the share of the workload that a cascade asks its
    teacher about as well, None of all else. Looked at in the order in which one excludes the next:
    what was measured, the machine, the model, the build.
    """
    if speedup.counts:
        return None
    if speedup.value > LEAST_GAIN:
        return Slow(
            Cause.NOISE,
            f"{speedup.value:.2f}x was measured, and {speedup.low:.2f}x is what is shown: blocks "
            f"scatter, and the baseline differs from itself by {speedup.noise - 1:.1%}",
        )
    if fast_with and not set(fast_with) & set(flags):
        return Slow(Cause.FLAGS, f"this CPU has none of {', '.join(sorted(fast_with))}")
    if item_s < _CALL_S:
        return Slow(
            Cause.SMALL,
            f"the baseline takes {item_s * 1e6:.3g} µs for an item, most of it the call itself",
        )
    if escalated is not None:
        return Slow(
            Cause.ESCALATION,
            f"of {escalated:.1%} of the workload its teacher is asked too, after its student was",
        )
    if not fast_with:
        return Slow(
            Cause.ELSEWHERE, "it computes as the model does, and what it leaves out took no time"
        )
    if products.quantized < _MOST_COVERED * products.total:
        left = products.total - products.quantized
        return Slow(
            Cause.UNQUANTIZED,
            f"{left} of {products.total} matrix products are left in the model's own precision",
        )
    if products.conversions >= products.quantized > 0:
        return Slow(
            Cause.CONVERSIONS,
            f"{products.conversions} nodes convert activations for {products.quantized} products",
        )
    return Slow(
        Cause.ELSEWHERE,
        f"{products.quantized} of {products.total} matrix products are in fewer bits, and at these "
        "shapes they take no less",
    )
