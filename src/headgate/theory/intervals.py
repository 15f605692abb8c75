"""Intervals for means, proportions and paired differences.

Every bound is one-sided at ``level`` (0.95 unless told), so ``low`` and ``high`` together are an
interval at ``2*level - 1``. A release rule looks at one side at a time: harm is shown by one bound,
safety by the other. Knows nothing of contracts or verdicts.

No interval here has zero width because a sample happened to be constant: 1,250 pairs without a
difference are strong evidence, not a proof.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.special import betaincinv, ndtri, stdtrit

from headgate.theory._domain import require

__all__ = [
    "Interval",
    "Range",
    "exact_interval",
    "log_ratios",
    "normal_quantile",
    "paired_binary_interval",
    "paired_mean_interval",
    "ratio_interval",
    "t_interval",
    "wilson_interval",
]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate from ``n`` observations with its one-sided bounds."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Range:
    """A forecast and the 90 % interval in which the measurement will probably lie."""

    value: float
    low: float
    high: float

    def holds(self, measured: float) -> bool:
        """Whether ``measured`` lies in the interval, its ends included.

        Both may have been rounded to 12 digits on their way through a ledger.

        >>> Range(0.1, 0.1, 0.1).holds(0.1 + 1e-15)
        True
        """
        inside = self.low <= measured <= self.high
        return inside or any(
            math.isclose(measured, e, abs_tol=1e-12) for e in (self.low, self.high)
        )


def normal_quantile(level: float) -> float:
    """``z = Phi^-1(level)``, for ``0 < level < 1``.

    >>> normal_quantile(0.95)
    1.6448536
    """
    require(0 < level < 1, f"a level lies between 0 and 1, got {level}")
    return float(ndtri(level))


def t_interval(
    values: Sequence[float],
    *,
    level: float = 0.95,
    largest: float = 0.0,
    least_sd: float = 0.0,
) -> Interval:
    """``mean +- t(level, n-1) * s / sqrt(n)`` (Student, 1908), ``n >= 2``, finite values.

    Two floors keep ``s`` from being believed when it is too good:

    - ``largest``: the widest distance between two values that there could be, in the unit of the
      values. ``z^2 * largest^2`` is added to the sum of squares, so that a constant sample gives
      the half-width ``z^2 * largest / n`` of a score interval without events (Wilson, 1927), and
      not zero; where values do differ it fades as ``1/n``.
    - ``least_sd``: a standard deviation known from elsewhere, such as an A/A run.

    Sums are exact (``math.fsum``): the order of the values does not matter, to the last bit.

    Textbook: n = 10, mean 5, s = 1 at 95 % one-sided: ``t = 1.833``.

    >>> import math
    >>> s = math.sqrt(9 / 10)
    >>> t_interval([5 - s, 5 + s] * 5)
    Interval(value=5.0, low=4.420, high=5.580, n=10)
    >>> t_interval([0.0] * 1250, largest=1.0).low
    -0.00217
    """
    n = len(values)
    require(n >= 2, f"a t interval needs at least 2 values, got {n}")
    require(all(map(math.isfinite, values)), "a t interval needs finite values")
    require(largest >= 0 and least_sd >= 0, "the floors of a spread are at least 0")
    mean = math.fsum(values) / n
    squares = math.fsum((x - mean) ** 2 for x in values)
    variance = (squares + (normal_quantile(level) * largest) ** 2) / (n - 1)
    sd = max(math.sqrt(variance), least_sd)
    half = float(stdtrit(n - 1, level)) * sd / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired_mean_interval(
    candidate: Sequence[float],
    current: Sequence[float],
    *,
    level: float = 0.95,
    largest: float = 0.0,
) -> Interval:
    """``t_interval`` of the differences ``candidate[i] - current[i]`` of the same items.

    Textbook: Student's sleep data (1908), drug 2 minus drug 1, n = 10: mean 1.58, s = 1.23.

    >>> one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    >>> two = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    >>> paired_mean_interval(two, one, level=0.975)
    Interval(value=1.58, low=0.700, high=2.460, n=10)
    """
    require(len(candidate) == len(current), "paired values come in equal numbers")
    differences = [a - b for a, b in zip(candidate, current, strict=True)]
    return t_interval(differences, level=level, largest=largest)


def ratio_interval(
    pairs: Sequence[tuple[float, float]],
    *,
    level: float = 0.95,
    same: Sequence[tuple[float, float]] = (),
) -> Interval:
    """The ratio ``b / a`` over pairs ``(a, b)`` of neighbouring measurements, all above zero.

    ``exp`` of the ``t_interval`` of ``log(b / a)``, so a ratio of geometric means: a time is a
    product of many causes. ``same`` are pairs of what is known to be equal (A/A runs); the spread
    is never taken to be less than the root mean square of their logarithms.

    Blocks that agree to the last bit are as good as the A/A runs were, and no better:

    >>> ratio_interval([(1.0, 3.0)] * 9, same=[(1.0, 1.1), (1.1, 1.0)])
    Interval(value=3.0, low=2.828, high=3.183, n=9)
    """
    squares = [log**2 for log in log_ratios(same)]
    least_sd = math.sqrt(math.fsum(squares) / len(squares)) if squares else 0.0
    interval = t_interval(log_ratios(pairs), level=level, least_sd=least_sd)
    low, value, high = map(math.exp, (interval.low, interval.value, interval.high))
    return Interval(value, low, high, interval.n)


def log_ratios(pairs: Iterable[tuple[float, float]]) -> list[float]:
    """``log(b / a)`` of pairs ``(a, b)``, all above zero.

    >>> log_ratios([(1.0, 1.0), (1.0, math.e)])
    [0.0, 1.0]
    """
    return [math.log(b / a) for a, b in pairs]


def wilson_interval(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson, 1927): the ``p`` with ``|x - np| <= z sqrt(npq)``.

    Textbook: 81 of 263 (Newcombe, 1998, case 1) at 95 % two-sided: 0.2553 to 0.3662.

    >>> wilson_interval(81, 263, level=0.975)
    Interval(value=0.3080, low=0.2553, high=0.3662, n=263)
    """
    require(n >= 1 and 0 <= successes <= n, f"{successes} of {n} is not a proportion")
    z2 = normal_quantile(level) ** 2
    p = successes / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At 0 and n the exact bound is 0 or 1; rounding must not step over it.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(p, low, high, n)


def exact_interval(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Exact interval of a proportion (Clopper and Pearson, 1934): never too short, whatever it is.

    Its bounds are quantiles of Beta(x, n-x+1) and Beta(x+1, n-x).

    Textbook: 81 of 263 (Newcombe, 1998, case 1) at 95 % two-sided: 0.2527 to 0.3676.

    >>> exact_interval(81, 263, level=0.975)
    Interval(value=0.3080, low=0.2527, high=0.3676, n=263)
    """
    require(n >= 1 and 0 <= successes <= n, f"{successes} of {n} is not a proportion")
    lost = n - successes
    low = float(betaincinv(successes, lost + 1, 1 - level)) if successes else 0.0
    high = float(betaincinv(successes + 1, lost, level)) if lost else 1.0
    return Interval(successes / n, low, high, n)


def paired_binary_interval(gained: int, lost: int, n: int, *, level: float = 0.95) -> Interval:
    """Score interval of a paired difference of proportions (Tango, Statistics in Medicine, 1998).

    Of ``n`` pairs, ``gained`` succeeded only with the candidate and ``lost`` only with current;
    the difference is ``(gained - lost) / n``. Its bounds solve ::

        (gained - lost - n*d) / sqrt(n * (2*q(d) + d*(1 - d))) = +-z

    where ``q(d)`` is the maximum-likelihood probability of a loss given the difference ``d``.
    Without any discordant pair the bounds are ``+-z^2 / (n + z^2)``: never zero width.

    Textbook: airway reactivity, 21 pairs, 1 and 7 discordant (Fagerland et al., 2014), 95 %
    two-sided: -0.517 to -0.026.

    >>> paired_binary_interval(1, 7, 21, level=0.975)
    Interval(value=-0.286, low=-0.517, high=-0.026, n=21)
    >>> paired_binary_interval(0, 0, 1250).low
    -0.00216
    """
    require(gained >= 0 and lost >= 0 and n >= 1, "counts are not negative, and n at least 1")
    require(gained + lost <= n, f"{gained} + {lost} discordant pairs among {n}")
    low = _tango_low(gained, lost, n, normal_quantile(level))
    high = -_tango_low(lost, gained, n, normal_quantile(level))
    return Interval((gained - lost) / n, low, high, n)


def tango_null_q(gained: float, lost: float, n: float, d: float) -> float:
    """``q(d)``: the larger root of ``2n q^2 + (-(b+c) + (2n-b+c) d) q - c d (1-d) = 0``."""
    linear = -gained - lost + (2 * n - gained + lost) * d
    constant = -lost * d * (1 - d)
    root = math.sqrt(max(linear * linear - 8 * n * constant, 0.0))
    if linear > 0:  # the usual form would subtract nearly equal numbers
        return -2 * constant / (linear + root)
    return (root - linear) / (4 * n)


def _tango_low(gained: int, lost: int, n: int, z: float) -> float:
    # The statistic falls with d, so the bound is where it crosses z; 60 halvings of [-1, d] reach
    # the last bit, need no tolerance, and give the same bits everywhere.
    low, high = -1.0, (gained - lost) / n
    for _ in range(60):
        d = (low + high) / 2
        variance = n * (2 * tango_null_q(gained, lost, n, d) + d * (1 - d))
        if gained - lost - n * d > z * math.sqrt(max(variance, 0.0)):
            low = d
        else:
            high = d
    return low
