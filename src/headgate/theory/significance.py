"""Tests, and what they can decide: exact McNemar, Holm, power and sample size.

The intervals of ``theory.intervals`` are re-exported here. Non-inferiority at ``margin`` m means
that the candidate's loss is shown to be below m: the one-sided bound at ``1 - alpha`` of
candidate - current lies above -m. Power is the chance of that when the true difference is
``difference`` (0 unless told). Knows nothing of contracts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import bdtr, chdtri, nctdtr, ndtr, stdtrit

from headgate.theory._domain import require
from headgate.theory.intervals import (
    Interval,
    normal_quantile,
    paired_binary_interval,
    paired_mean_interval,
    t_interval,
    tango_null_q,
    wilson_interval,
)

__all__ = [
    "Interval",
    "binomial_p_value",
    "fewest",
    "holm",
    "mcnemar_exact",
    "paired_binary_interval",
    "paired_mean_interval",
    "power_interleaved_blocks",
    "power_paired_binary",
    "power_paired_mean",
    "required_n_paired_mean",
    "t_interval",
    "wilson_interval",
]

_MOST = 2**40
"""A sample size that nobody takes: the search gives up there."""


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided p of "gains and losses are equally likely": ``min(1, 2*P(Bin(b+c, 1/2) <= min))``.

    McNemar (1947), exact. Without a discordant pair p is 1.

    Textbook: 1 and 7 discordant (Fagerland et al., 2014): p = 0.070.

    >>> mcnemar_exact(1, 7)
    0.0703
    """
    require(gained >= 0 and lost >= 0, "counts are not negative")
    if gained + lost == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def binomial_p_value(events: int, n: int, risk: float) -> float:
    """Exact p of "an event is at least as likely as ``risk``": ``P(Bin(n, risk) <= events)``.

    ``n >= 1`` independent trials, ``0 < risk < 1``. Small where so few events would be luck. The
    p-value of Angelopoulos et al., "Learn then test" (arXiv 2110.01052), for losses of 0 and 1.

    Textbook, the rule of three: without an event in 299 trials a risk of 1 % is ruled out at 95 %.

    >>> binomial_p_value(0, 299, 0.01), binomial_p_value(0, 298, 0.01)
    (0.0495, 0.0500)
    """
    require(n >= 1 and 0 <= events <= n, f"{events} of {n} is no count of events")
    require(0 < risk < 1, f"a risk lies between 0 and 1, got {risk}")
    return float(bdtr(events, n, risk))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values of Holm's step-down procedure (1979), in the order given.

    ``p'_(i) = max over j <= i of min(1, (m-j+1) * p_(j))``: rejecting ``p' <= alpha`` keeps the
    chance of any false rejection below alpha, whatever the dependence.

    Textbook: 0.01, 0.04, 0.03, 0.005.

    >>> holm([0.01, 0.04, 0.03, 0.005])
    (0.03, 0.06, 0.06, 0.02)
    """
    require(all(0 <= p <= 1 for p in p_values), "a p-value lies between 0 and 1")
    m = len(p_values)
    adjusted = [0.0] * m
    highest = 0.0
    for step, i in enumerate(sorted(range(m), key=lambda k: p_values[k])):
        highest = max(highest, min(1.0, (m - step) * p_values[i]))
        adjusted[i] = highest
    return tuple(adjusted)


def power_paired_binary(
    n: float,
    *,
    discordance: float,
    margin: float,
    difference: float = 0.0,
    alpha: float = 0.05,
) -> float:
    """Power of Tango's score interval to show non-inferiority (normal approximation; Nam, 1997).

    ``Phi((sqrt(n)*(difference + margin) - z_(1-alpha)*s0) / s1)``, where ``s1^2 = discordance -
    difference^2`` and ``s0^2`` is the same under the largest loss that still fails.
    ``discordance`` is the share of pairs in which exactly one side succeeds.

    >>> power_paired_binary(1250, discordance=0.04, margin=0.02)
    0.9592
    """
    s0, s1 = _binary_spreads(discordance, margin, difference)
    require(n >= 1, f"at least one pair, got {n}")
    excess = math.sqrt(n) * (difference + margin) - normal_quantile(1 - alpha) * s0
    if s1 == 0:  # every pair is alike: the answer is certain
        return float(excess > 0)
    return float(ndtr(excess / s1))


def _binary_spreads(discordance: float, margin: float, difference: float) -> tuple[float, float]:
    require(0 <= discordance <= 1, f"a discordance is a share, got {discordance}")
    require(abs(difference) <= discordance, "a difference is at most the discordance")
    require(-1 < margin < 1, f"a margin lies between -1 and 1, got {margin}")
    gained, lost = (discordance + difference) / 2, (discordance - difference) / 2
    q0 = tango_null_q(gained, lost, 1.0, -margin)
    s0 = math.sqrt(max(2 * q0 - margin * (1 + margin), 0.0))
    return s0, math.sqrt(max(discordance - difference**2, 0.0))


def power_paired_mean(
    n: int,
    *,
    sd: float,
    margin: float,
    difference: float = 0.0,
    alpha: float = 0.05,
    largest: float = 0.0,
) -> float:
    """Power of the t interval to show non-inferiority, from the noncentral t.

    ``P(T'(n-1, (difference + margin)*sqrt(n)/sd) > t_(1-alpha, n-1))``, where ``sd`` is that of the
    paired differences. With ``largest``, the floor of ``t_interval``, the sample's variance has a
    constant added, and a normal approximation takes that into account (within 0.02 from n = 30).

    Textbook: one-sided, effect 0.5 sd, n = 27: 0.81 (Cohen, 1988).

    >>> power_paired_mean(27, sd=1.0, margin=0.5)
    0.811
    """
    require(sd >= 0 and largest >= 0, "spreads are at least 0")
    require(n >= 2, f"a t interval needs at least 2 pairs, got {n}")
    df = n - 1
    t = float(stdtrit(df, 1 - alpha))
    excess = (difference + margin) * math.sqrt(n)
    believed = math.sqrt(sd**2 + (normal_quantile(1 - alpha) * largest) ** 2 / df)
    if sd == 0:
        return float(excess > t * believed)
    if largest > 0:
        # The bound's own noise is that of the mean and that of s^2, whose variance is 2*sd^4/df.
        noise = sd * math.sqrt(1 + (t * sd / believed) ** 2 / (2 * df))
        return float(ndtr((excess - t * believed) / noise))
    if abs(excess) > (40 + t) * sd:  # certain, and beyond what the noncentral t is computed for
        return float(excess > 0)
    return 1 - float(nctdtr(df, excess / sd, t))


def required_n_paired_mean(
    *,
    sd: float,
    margin: float,
    difference: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
    largest: float = 0.0,
) -> int | None:
    """The fewest pairs with which ``power_paired_mean`` reaches ``power``; None where none do.

    >>> required_n_paired_mean(sd=1.0, margin=0.5)
    27
    """
    if difference + margin <= 0:
        return None

    def enough(n: int) -> bool:
        reached = power_paired_mean(
            n, sd=sd, margin=margin, difference=difference, alpha=alpha, largest=largest
        )
        return reached >= power

    return fewest(enough)


def power_interleaved_blocks(
    n: int, *, sd: float, margin: float, noise_limit: float = math.inf, alpha: float = 0.05
) -> float:
    """Power of the t interval over ``n`` pairs of blocks beside two A/A pairs.

    Three rules rather than one: nothing is decided where an A/A difference ``a`` or ``b`` exceeds
    ``noise_limit``; the spread is believed to be at least ``R = sqrt((a^2 + b^2)/2)``; and ::

        mean + t_(1-alpha, n-1) * max(s, R) / sqrt(n) < margin

    All differences are normal with the same ``sd``, so ``R^2/sd^2`` is exponential and ``s^2/sd^2``
    is ``chi^2/(n-1)``: integrated at the midpoints of 100 by 100 equal shares, within 0.005.

    >>> power_interleaved_blocks(9, sd=0.02, margin=math.log(1.1), noise_limit=math.log(1.1) / 2)
    0.966
    >>> power_interleaved_blocks(9, sd=0.1, margin=math.log(1.1))
    0.742
    """
    require(sd >= 0 and noise_limit >= 0, "spreads are at least 0")
    require(n >= 2, f"a t interval needs at least 2 pairs, got {n}")
    if sd == 0:
        return float(margin > 0)
    shares = (np.arange(100) + 0.5) / 100
    s = sd * np.sqrt(chdtri(n - 1, shares) / (n - 1))
    r = sd * np.sqrt(-np.log(shares))
    # Of the directions in which (a, b) may lie, those in which neither exceeds the limit.
    quiet = 1 - 4 / math.pi * np.arccos(np.minimum(noise_limit / (math.sqrt(2) * r), 1.0))
    believed = np.maximum(s[:, None], r[None, :])
    t = float(stdtrit(n - 1, 1 - alpha))
    passes = ndtr((margin * math.sqrt(n) - t * believed) / sd).mean(axis=0)
    return float((passes * np.maximum(quiet, 0.0)).mean())


def fewest(enough: Callable[[int], bool]) -> int | None:
    """The smallest n >= 2 that is ``enough``, which stays true once it is; None where none is.

    >>> fewest(lambda n: n * n > 50)
    8
    """
    high = 2
    while not enough(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
