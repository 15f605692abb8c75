"""Students whose true risk is known at every threshold: how sure, and what is lost, drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WORLDS", "World"]

_VOTES = np.arange(20) / 20


@dataclass(frozen=True)
class World:
    """``margins`` draws some; an item of margin m is lost with probability ``harm(m)``; ``risk(t)``
    is the share of items that have a margin of t or more and are lost."""

    margins: Callable[[np.random.Generator, int], NDArray[np.float64]]
    harm: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    risk: Callable[[float], float]
    even: float | None = None
    """Where what is lost of an item is a share, beta-distributed about ``harm(m)``: large where the
    shares differ little. None where an item is lost or is not."""

    def draw(
        self, rng: np.random.Generator, n: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_] | NDArray[np.float64]]:
        """Margins and losses of ``n`` items."""
        margin = self.margins(rng, n)
        harm = self.harm(margin)
        if self.even is None:
            return margin, rng.uniform(size=n) < harm
        harm = np.maximum(harm, 1e-9)
        return margin, rng.beta(self.even * harm, self.even * (1 - harm))


def _uniform(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return rng.uniform(size=n)


def _smooth(most: float, even: float | None = None) -> World:
    """Lost the more often, or the more of it, the smaller the margin."""
    return World(_uniform, lambda m: most * (1 - m) ** 2, lambda t: most * (1 - t) ** 3 / 3, even)


WORLDS = {
    "at most 5 % lost": _smooth(0.05),
    "at most 30 % lost": _smooth(0.3),
    "shares, nearly all or nothing": _smooth(0.3, 0.3),
    "shares, small each": _smooth(0.3, 10.0),
    # As a forest of twenty trees votes: many items share a margin.
    "twenty margins": World(
        lambda rng, n: rng.choice(_VOTES, size=n),
        lambda m: 0.2 * (1 - m) ** 2,
        lambda t: float((0.2 * (1 - _VOTES) ** 2 * (t <= _VOTES)).mean()),
    ),
    # The surest are lost no less often than others, so that only few may be kept.
    "overconfident": World(_uniform, lambda m: np.full_like(m, 0.02), lambda t: 0.02 * (1 - t)),
}
"""Name -> world."""
