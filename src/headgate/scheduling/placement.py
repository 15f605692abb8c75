"""Which free instance runs the next batch, and which instance plans a machine allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["InstancePlan", "instance_plans", "most_recently_freed"]


def most_recently_freed(free: Mapping[int, float]) -> int:
    """Of the free instances (index -> time since when, in seconds) the one with the warmest
    caches; the lowest index where several are equal.

    >>> most_recently_freed({0: 1.0, 1: 3.0, 2: 3.0})
    1
    """
    return min(free, key=lambda instance: (-free[instance], instance))


@dataclass(frozen=True, slots=True, order=True)
class InstancePlan:
    """``instances`` copies of a model with ``threads`` intra-op threads each."""

    threads: int
    instances: int

    @property
    def cores(self) -> int:
        """Cores that it keeps busy."""
        return self.threads * self.instances


def instance_plans(effective_cores: int) -> tuple[InstancePlan, ...]:
    """Every plan that uses all cores and oversubscribes none, most threads last.

    Many one-thread instances win under load; one instance of many threads answers a lone request
    sooner. Which is better is measured, not known.

    >>> instance_plans(4)
    (InstancePlan(threads=1, instances=4), InstancePlan(threads=2, instances=2), \
InstancePlan(threads=4, instances=1))
    """
    return tuple(
        InstancePlan(threads, effective_cores // threads)
        for threads in range(1, effective_cores + 1)
        if effective_cores % threads == 0
    )
