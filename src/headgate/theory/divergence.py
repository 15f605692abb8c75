"""How far apart two distributions are: of given ones in nats, of two samples as a share.

Given distributions lie along the last axis.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr
from scipy.special import softmax as _softmax

from headgate.theory._domain import require
from headgate.theory.intervals import Interval

__all__ = ["js", "kl", "ks_distance", "softmax"]


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """``p_i = exp(z_i / T) / sum_j exp(z_j / T)``; shape as ``logits``, finite, ``T > 0``.

    A high T softens (uniform in the limit), a low one sharpens (Hinton et al., 2015).

    >>> softmax([0.0, np.log(3.0)])
    array([0.25, 0.75])
    >>> softmax([0.0, 2 * np.log(3.0)], temperature=2.0)
    array([0.25, 0.75])
    """
    require(0 < temperature < np.inf, f"a temperature is above 0, got {temperature}")
    z = np.asarray(logits, dtype=np.float64)
    require(bool(np.isfinite(z).all()), "logits are finite")
    return np.asarray(_softmax(z / temperature, axis=-1), dtype=np.float64)


def kl(p: ArrayLike, q: ArrayLike) -> NDArray[np.float64]:
    """``KL(p || q) = sum_i p_i ln(p_i / q_i)`` (Kullback and Leibler, 1951).

    Shapes ``(..., k)`` give ``(...)``. At least 0, and 0 only where ``p = q``; infinite where q
    is 0 and p is not; not symmetric.

    >>> float(kl([0.5, 0.5], [0.25, 0.75]))
    0.14384
    """
    a, b = _distribution(p), _distribution(q)
    return np.asarray(rel_entr(a, b).sum(axis=-1), dtype=np.float64)


def js(p: ArrayLike, q: ArrayLike) -> NDArray[np.float64]:
    """``JS = KL(p || m)/2 + KL(q || m)/2`` with ``m = (p + q)/2`` (Lin, 1991).

    Symmetric, between 0 and ``ln 2``, the latter where p and q share nothing.

    >>> float(js([1.0, 0.0], [0.0, 1.0]))
    0.693147
    """
    a, b = _distribution(p), _distribution(q)
    middle = (a + b) / 2
    return (kl(a, middle) + kl(b, middle)) / 2


def ks_distance(first: ArrayLike, second: ArrayLike, *, level: float = 0.99) -> Interval:
    """``D = sup_x |F_1(x) - F_2(x)|`` of two samples (Smirnov, 1939), with its bounds.

    An effect size: the largest share of one distribution that lies beyond a value where the other
    has it not, from 0 to 1, whatever the unit. The bounds hold at every n and for any distribution:
    ``D +- (e_1 + e_2)`` with ``e_i = sqrt(ln(4/(1 - level)) / (2*n_i))``, from the inequality of
    Dvoretzky, Kiefer and Wolfowitz with Massart's constant (1990), half of ``1 - level`` a sample.
    Shapes ``(n_1,)`` and ``(n_2,)``, at least one value each, no NaN; ``n`` is that of the smaller.

    >>> ks_distance([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]).value
    0.5
    >>> ks_distance(np.arange(2000), np.arange(2000) + 1000).low
    0.4226
    """
    require(0 < level < 1, f"a level lies between 0 and 1, got {level}")
    a, b = (np.sort(np.asarray(x, dtype=np.float64)) for x in (first, second))
    require(a.ndim == b.ndim == 1 and len(a) > 0 and len(b) > 0, "there is no observation")
    require(not (np.isnan(a).any() or np.isnan(b).any()), "an observation is NaN")
    at = np.concatenate([a, b])
    shares = [np.searchsorted(x, at, side="right") / len(x) for x in (a, b)]
    value = float(np.abs(shares[0] - shares[1]).max())
    noise = sum(math.sqrt(math.log(4 / (1 - level)) / (2 * len(x))) for x in (a, b))
    return Interval(value, max(0.0, value - noise), min(1.0, value + noise), min(len(a), len(b)))


def _distribution(p: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(p, dtype=np.float64)
    require(
        array.ndim >= 1
        and bool((array >= 0).all())
        and bool(np.allclose(array.sum(axis=-1), 1.0, atol=1e-6)),
        "a distribution is not negative and sums to 1",
    )
    return array
