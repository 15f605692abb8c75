"""The roofline: the least time that an operation can take on a device."""

from __future__ import annotations

import math

from headgate.theory._domain import require

__all__ = ["attainable_flops_per_s", "time_s"]


def time_s(
    flops: float, bytes_moved: float, peak_flops_per_s: float, bandwidth_bytes_per_s: float
) -> float:
    """``T >= max(flops / peak, bytes / bandwidth)``, in seconds (Williams et al., 2009).

    Whichever of arithmetic and memory traffic takes longer hides the other. The bound is as good
    as the two rates are measured and the bytes counted.

    A 384 x 384 fp32 layer on 8 rows, at 100 GFLOP/s and 10 GB/s: the weights' traffic decides.

    >>> time_s(2 * 8 * 384 * 384, 4 * 384 * 384, 100e9, 10e9) * 1e6
    58.98
    """
    _rates(peak_flops_per_s, bandwidth_bytes_per_s)
    require(
        0 <= flops < math.inf and 0 <= bytes_moved < math.inf,
        "operations and bytes are finite and at least 0",
    )
    return max(flops / peak_flops_per_s, bytes_moved / bandwidth_bytes_per_s)


def attainable_flops_per_s(
    flops_per_byte: float, peak_flops_per_s: float, bandwidth_bytes_per_s: float
) -> float:
    """``min(peak, intensity * bandwidth)``: the roof over an arithmetic intensity.

    >>> attainable_flops_per_s(4.0, 100e9, 10e9)
    40000000000.0
    """
    _rates(peak_flops_per_s, bandwidth_bytes_per_s)
    require(flops_per_byte >= 0, "an intensity is at least 0")
    return min(peak_flops_per_s, flops_per_byte * bandwidth_bytes_per_s)


def _rates(peak_flops_per_s: float, bandwidth_bytes_per_s: float) -> None:
    require(
        0 < peak_flops_per_s < math.inf and 0 < bandwidth_bytes_per_s < math.inf,
        "peak and bandwidth are finite and above 0",
    )
