"""Which optimization brought how much: leave one out.

Savings of several optimizations do not add up: a cache leaves fewer requests to batch, int8 leaves
less to save. So each is judged by what is lost when it alone is taken away from the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Attribution", "leave_one_out"]


@dataclass(frozen=True, slots=True)
class Attribution:
    """Costs in the unit of the function that was given."""

    naive: float
    """With none of them."""
    full: float
    """With all of them."""
    without: Mapping[str, float]
    """Optimization -> cost with all others."""

    @property
    def factor(self) -> float:
        """How many times cheaper all together are."""
        return self.naive / self.full

    @property
    def saved_by(self) -> Mapping[str, float]:
        """Optimization -> what the cost would rise by without it; negative where it harms."""
        return {name: cost - self.full for name, cost in self.without.items()}

    @property
    def shared(self) -> float:
        """Savings that no single one accounts for: what several would have saved alone (> 0), or
        what they save only together (< 0)."""
        return (self.naive - self.full) - sum(self.saved_by.values())


def leave_one_out(
    cost: Callable[[frozenset[str]], float], optimizations: Sequence[str]
) -> Attribution:
    """Calls ``cost`` with the set of enabled optimizations: none, all, and all but each one.

    >>> speed_up = {"int8": 3.0, "batching": 2.0}
    >>> def cost(enabled):
    ...     out = 12.0
    ...     for name in enabled:
    ...         out /= speed_up[name]
    ...     return out
    >>> a = leave_one_out(cost, ["int8", "batching"])
    >>> a.naive, a.full, dict(a.saved_by), a.shared
    (12.0, 2.0, {'int8': 4.0, 'batching': 2.0}, 4.0)
    """
    everything = frozenset(optimizations)
    return Attribution(
        naive=cost(frozenset()),
        full=cost(everything),
        without={name: cost(everything - {name}) for name in optimizations},
    )
