"""How far a mean of bounded losses may lie from the truth: no shape of theirs is assumed."""

from __future__ import annotations

import math

from scipy.special import bdtr, rel_entr

from headgate.theory._domain import require

__all__ = ["hoeffding_bentkus_bound", "hoeffding_bentkus_p_value"]

_HALVINGS = 50


def hoeffding_bentkus_p_value(total: float, n: int, risk: float) -> float:
    """p of "the mean loss is at least ``risk``", of ``n`` independent losses in 0 to 1 that sum to
    ``total``: ``min(exp(-n*kl(min(m, r), r)), e * P(Bin(n, r) <= ceil(total)))``, ``m = total/n``.

    ``kl(a, b)`` is the divergence of two coins, ``a*ln(a/b) + (1-a)*ln((1-a)/(1-b))``. The first is
    Hoeffding's (1963), the second Bentkus' (2004); the smaller of both is a p-value too (Bates et
    al., arXiv 2101.02703, section 3.1). ``n >= 1``, ``0 < risk < 1``. Never below the exact one of
    losses that are 0 or 1 (``significance.binomial_p_value``), and the same where nothing is lost.

    >>> hoeffding_bentkus_p_value(0.0, 299, 0.01), hoeffding_bentkus_p_value(20.0, 1000, 0.05)
    (0.0495, 0.0000)
    """
    require(n >= 1 and 0 <= total <= n, f"{total:g} is no sum of {n} losses in 0 to 1")
    require(0 < risk < 1, f"a risk lies between 0 and 1, got {risk}")
    mean = min(total / n, risk)
    divergence = float(rel_entr(mean, risk) + rel_entr(1 - mean, 1 - risk))
    bentkus = math.e * float(bdtr(math.ceil(total), n, risk))
    return min(math.exp(-n * divergence), bentkus)


def hoeffding_bentkus_bound(total: float, n: int, *, level: float) -> float:
    """The least mean loss that those losses rule out at ``level``: its p is at most ``1 - level``.

    1 where none below is ruled out. Found by halving, and rounded up.

    >>> hoeffding_bentkus_bound(0.0, 299, level=0.95)
    0.00997
    """
    require(0 < level < 1, f"a level lies between 0 and 1, got {level}")
    low, high = total / n, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not 0 < middle < 1:
            break
        ruled_out = hoeffding_bentkus_p_value(total, n, middle) <= 1 - level
        low, high = (low, middle) if ruled_out else (middle, high)
    return high
