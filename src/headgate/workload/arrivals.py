"""What is asked and when: popularity of queries, and the times at which requests arrive.

Everything is drawn from a ``numpy`` generator that the caller owns, so one seed gives one workload.
Knows nothing of what is asked: items are numbers, the most popular is 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import bisect

from headgate.errors import InputError
from headgate.theory.hits import ideal_hit_ratio, zipf_popularity

__all__ = [
    "MarkovModulatedPoisson",
    "draw_items",
    "expected_repeat_share",
    "index_of_dispersion",
    "poisson_arrivals",
    "repeat_share",
    "solve_zipf_exponent",
]

_STEEPEST_EXPONENT = 8.0  # here item 0 takes 99.6 % of all draws: nothing steeper is a workload


def repeat_share(items: Iterable[Hashable]) -> float:
    """``1 - distinct / total``: what a cache that forgets nothing answers of this very stream.

    Raises ``InputError`` where nothing was asked.

    >>> repeat_share("abca")
    0.25
    """
    asked = list(items)
    if not asked:
        raise InputError(
            "an empty stream repeats nothing", fix="give a workload with at least one request"
        )
    return 1.0 - len(set(asked)) / len(asked)


def expected_repeat_share(
    n_items: int, n_requests: int, exponent: float, *, one_time_share: float = 0.0
) -> float:
    """Expected ``repeat_share`` of ``draw_items(...)``: its ideal hit ratio, 0 to 1.

    Only the ``m = n - round(q n)`` requests that are no one-time queries can hit:
    ``m/n * ideal_hit_ratio(zipf(n_items, s), m)``. Raises ``InputError``.

    >>> round(expected_repeat_share(1000, 1000, 0.0), 4)
    0.3677
    """
    repeated = n_requests - _one_time(n_requests, one_time_share)
    if repeated < 2:  # one request repeats nothing, whatever the rounding of its popularity says
        return 0.0
    popularity = zipf_popularity(n_items, exponent)
    return repeated / n_requests * ideal_hit_ratio(popularity, repeated)


def solve_zipf_exponent(
    n_items: int, n_requests: int, hit_ratio: float, *, one_time_share: float = 0.0
) -> float:
    """The exponent at which ``expected_repeat_share`` is ``hit_ratio``, by bisection.

    The ratio grows with the exponent, so there is one answer or none. Raises ``InputError`` where
    no exponent from 0 to 8 reaches it, which says how far it can be reached.

    >>> s = solve_zipf_exponent(3000, 20_000, 0.45, one_time_share=0.44)
    >>> round(expected_repeat_share(3000, 20_000, s, one_time_share=0.44), 6)
    0.45
    """

    def excess(exponent: float) -> float:
        reached = expected_repeat_share(
            n_items, n_requests, exponent, one_time_share=one_time_share
        )
        return reached - hit_ratio

    least, most = excess(0.0) + hit_ratio, excess(_STEEPEST_EXPONENT) + hit_ratio
    if not least <= hit_ratio <= most:
        raise InputError(
            f"no popularity gives {n_requests} requests over {n_items} items a hit ratio of "
            f"{hit_ratio}: it can be {least:.3f} to {most:.3f}",
            fix="use more items for a lower ratio, or a smaller one-time share for a higher one",
        )
    return float(bisect(excess, 0.0, _STEEPEST_EXPONENT, xtol=1e-12))


def draw_items(
    n_requests: int,
    n_items: int,
    exponent: float,
    rng: np.random.Generator,
    *,
    one_time_share: float = 0.0,
) -> NDArray[np.int64]:
    """A stream of items, shape (n_requests,): Zipf over ``0..n_items-1``, and queries asked once.

    A share of exactly ``round(q n) / n`` of the requests, at random places, asks what is never
    asked again: items ``n_items, n_items + 1, ...`` in order of appearance. Query logs are like
    this: Baeza-Yates et al., "The impact of caching on search engines", SIGIR 2007, count 44 % of
    the volume as queries that occur once. Raises ``InputError``.
    """
    once = _one_time(n_requests, one_time_share)
    popularity = zipf_popularity(n_items, exponent)
    items = rng.choice(n_items, size=n_requests, p=popularity).astype(np.int64)
    places = np.sort(rng.permutation(n_requests)[:once])
    items[places] = n_items + np.arange(once)
    return items


def _one_time(n_requests: int, share: float) -> int:
    if n_requests < 1 or not 0 <= share <= 1:
        raise InputError(
            f"cannot draw {n_requests} requests of which a share of {share} is asked once",
            fix="use at least one request and a share from 0 to 1",
        )
    return round(share * n_requests)


def poisson_arrivals(
    n_requests: int, rate_per_s: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Arrival times in seconds, ascending, shape (n_requests,): exponential gaps of mean 1/rate.

    Independent users who do not know of each other. Raises ``InputError``.
    """
    if n_requests < 1 or not 0 < rate_per_s < np.inf:
        raise InputError(
            f"cannot draw {n_requests} arrivals at {rate_per_s} per second",
            fix="use at least one request and a positive rate",
        )
    return np.cumsum(rng.exponential(1.0, n_requests)) / rate_per_s


@dataclass(frozen=True, slots=True)
class MarkovModulatedPoisson:
    """Poisson arrivals whose rate switches between calm and burst, each for an exponential time.

    Two states with rates ``l_c, l_b`` (requests/s) and mean dwell times ``d_c, d_b`` (s). Source:
    Fischer and Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook",
    Performance Evaluation 18, 1993.

    >>> bursty = MarkovModulatedPoisson.of_mean(50.0, burst_factor=4.0,
    ...                                         calm_dwell_s=8.0, burst_dwell_s=2.0)
    >>> round(bursty.calm_rate_per_s, 3), round(bursty.burst_rate_per_s, 3)
    (31.25, 125.0)
    >>> round(bursty.mean_rate_per_s, 9)
    50.0
    >>> round(bursty.limiting_index_of_dispersion, 2)  # a Poisson process has 1
    91.0
    """

    calm_rate_per_s: float
    burst_rate_per_s: float
    calm_dwell_s: float
    burst_dwell_s: float

    def __post_init__(self) -> None:
        rates = (self.calm_rate_per_s, self.burst_rate_per_s)
        dwells = (self.calm_dwell_s, self.burst_dwell_s)
        if not all(0 < value < np.inf for value in (*rates, *dwells)):
            raise InputError(
                f"rates {rates} per second and dwell times {dwells} s must be positive and finite",
                fix="give each state a rate and a mean time that it lasts",
            )

    @classmethod
    def of_mean(
        cls,
        mean_rate_per_s: float,
        *,
        burst_factor: float,
        calm_dwell_s: float,
        burst_dwell_s: float,
    ) -> MarkovModulatedPoisson:
        """With ``burst_factor = l_b / l_c`` and the given mean rate over both states."""
        burst_share = burst_dwell_s / (calm_dwell_s + burst_dwell_s)
        calm = mean_rate_per_s / (1.0 + burst_share * (burst_factor - 1.0))
        return cls(calm, burst_factor * calm, calm_dwell_s, burst_dwell_s)

    @property
    def burst_share(self) -> float:
        """Share of the time spent in a burst, ``d_b / (d_c + d_b)``."""
        return self.burst_dwell_s / (self.calm_dwell_s + self.burst_dwell_s)

    @property
    def mean_rate_per_s(self) -> float:
        """``(l_c d_c + l_b d_b) / (d_c + d_b)``."""
        share = self.burst_share
        return (1.0 - share) * self.calm_rate_per_s + share * self.burst_rate_per_s

    @property
    def limiting_index_of_dispersion(self) -> float:
        """Variance over mean of the counts in very long windows (Heffes and Lucantoni, 1986).

        ``1 + 2 pi_c pi_b (l_b - l_c)^2 / ((1/d_c + 1/d_b) l)`` with ``l`` the mean rate.
        """
        share = self.burst_share
        spread = share * (1.0 - share) * (self.burst_rate_per_s - self.calm_rate_per_s) ** 2
        switching_per_s = 1.0 / self.calm_dwell_s + 1.0 / self.burst_dwell_s
        return 1.0 + 2.0 * spread / (switching_per_s * self.mean_rate_per_s)

    def arrivals(self, n_requests: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Arrival times in seconds, ascending, shape (n_requests,); starts in a stationary state.

        By change of time: a Poisson process of rate 1 read through the inverse of the accumulated
        rate has that rate. Raises ``InputError`` for less than one request.
        """
        work = poisson_arrivals(n_requests, 1.0, rng)  # in units of expected requests
        rates = np.array([self.calm_rate_per_s, self.burst_rate_per_s])
        dwells_s = np.array([self.calm_dwell_s, self.burst_dwell_s])
        state = int(rng.random() < self.burst_share)
        switched_at_s, accumulated = [0.0], [0.0]
        while accumulated[-1] < work[-1]:
            dwell_s = float(rng.exponential(dwells_s[state]))
            switched_at_s.append(switched_at_s[-1] + dwell_s)
            accumulated.append(accumulated[-1] + dwell_s * float(rates[state]))
            state = 1 - state
        return np.interp(work, accumulated, switched_at_s)


def index_of_dispersion(arrivals_s: NDArray[np.float64], window_s: float) -> float:
    """Variance over mean of the counts in consecutive windows; 1 for Poisson, more for bursts.

    ``arrivals_s`` ascending, in seconds; the last, incomplete window is left out. Raises
    ``InputError`` where fewer than two windows are complete.

    >>> index_of_dispersion(np.array([0.1, 0.2, 1.1, 1.2, 2.5]), 1.0)
    0.0
    """
    windows = int(arrivals_s[-1] // window_s) if len(arrivals_s) and window_s > 0 else 0
    if windows < 2:
        raise InputError(
            f"{len(arrivals_s)} arrivals do not fill two windows of {window_s} s",
            fix="use a shorter window or a longer log",
        )
    counts, _ = np.histogram(arrivals_s, bins=windows, range=(0.0, windows * window_s))
    return float(counts.var(ddof=1) / counts.mean())
