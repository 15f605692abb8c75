"""What a cache of any size would do on a workload, before it exists.

Exact, not sampled. For LRU one pass yields every capacity at once: a request hits exactly where
its *stack distance*, the bytes of distinct entries used since its last use, itself included, is
within the capacity (Mattson, Gecsei, Slutz and Traiger, 1970). Other policies are replayed.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.caching.policy import CachePolicy, charge_bytes

__all__ = ["HitRatioCurve", "hit_ratio_curve", "ideal_hit_ratio", "replay"]


def ideal_hit_ratio(keys: Collection[Hashable]) -> float:
    """What an infinite cache, empty at first, answers of this stream: ``1 - distinct / all``.

    >>> ideal_hit_ratio("abca")
    0.25
    """
    return 1.0 - len(set(keys)) / len(keys) if keys else 0.0


def replay(policy: CachePolicy, keys: Sequence[bytes], sizes: Sequence[int]) -> int:
    """Hits of ``policy`` on a sequence of keys, each filled at once on a miss; ``sizes[i]`` is
    the size in bytes of the answer to ``keys[i]``."""
    hits = 0
    for i, (key, size) in enumerate(zip(keys, sizes, strict=True)):
        if policy.get(key, float(i)) is not None:
            hits += 1
        else:
            policy.put(key, True, size, float(i))
    return hits


@dataclass(frozen=True, slots=True)
class HitRatioCurve:
    """Hit ratio of an LRU cache by capacity in bytes."""

    requests: int
    distances_bytes: NDArray[np.int64]
    """Stack distance of every request that is not its key's first, ascending."""

    def hit_ratio(self, capacity_bytes: int) -> float:
        """Share of requests that a cache of this capacity answers."""
        hits = int(np.searchsorted(self.distances_bytes, capacity_bytes, side="right"))
        return hits / self.requests if self.requests else 0.0

    @property
    def ideal(self) -> float:
        """Hit ratio of an infinite cache."""
        return len(self.distances_bytes) / self.requests if self.requests else 0.0

    def capacity_for(self, share_of_ideal: float) -> int:
        """Least capacity in bytes that reaches this share (0 to 1) of the ideal hit ratio."""
        hits = int(np.ceil(share_of_ideal * len(self.distances_bytes)))
        return int(self.distances_bytes[hits - 1]) if hits else 0


def hit_ratio_curve(keys: Sequence[bytes], sizes: Sequence[int]) -> HitRatioCurve:
    """All LRU hit ratios of a workload in one pass, O(n log n). A key has one size, its first.

    >>> curve = hit_ratio_curve([b"a", b"b", b"a", b"c", b"b"], [10] * 5)
    >>> one = charge_bytes(b"a", 10)
    >>> [curve.hit_ratio(n * one) for n in (1, 2, 3)]
    [0.0, 0.2, 0.4]
    """
    n = len(keys)
    tree = [0] * (n + 1)  # a Fenwick tree over positions: bytes of the entry last used there
    charges: dict[bytes, int] = {}
    last: dict[bytes, int] = {}
    distances = []
    total = 0

    def add(position: int, amount: int) -> None:
        while position <= n:
            tree[position] += amount
            position += position & -position

    for now, (key, size) in enumerate(zip(keys, sizes, strict=True), start=1):
        before = last.get(key)
        if before is None:
            charges[key] = charge_bytes(key, size)
            total += charges[key]
        else:
            position, used_before = before, 0
            while position > 0:
                used_before += tree[position]
                position -= position & -position
            distances.append(total - used_before + charges[key])
            add(before, -charges[key])
        add(now, charges[key])
        last[key] = now
    return HitRatioCurve(n, np.sort(np.array(distances, dtype=np.int64)))
