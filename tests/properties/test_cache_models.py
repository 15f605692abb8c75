"""The caches against models of them that are slow and plainly right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.caching import LRU, S3FIFO, CachePolicy, charge_bytes
from headgate.caching.policy import ENTRY_OVERHEAD_BYTES


class ModelLRU:
    """A list, most recent last."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.entries: list[tuple[bytes, int]] = []

    def get(self, key: bytes) -> bool:
        for entry in self.entries:
            if entry[0] == key:
                self.entries.remove(entry)
                self.entries.append(entry)
                return True
        return False

    def put(self, key: bytes, size: int) -> None:
        self.entries = [e for e in self.entries if e[0] != key]
        charge = charge_bytes(key, size)
        if charge > self.capacity:
            return
        while sum(c for _, c in self.entries) + charge > self.capacity:
            self.entries.pop(0)
        self.entries.append((key, charge))

    def keys(self) -> set[bytes]:
        return {k for k, _ in self.entries}


@dataclass
class Entry:
    key: bytes
    charge: int
    uses: int = 0


class ModelS3FIFO:
    """Three lists, oldest first; sums are recomputed at every step."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.small: list[Entry] = []
        self.main: list[Entry] = []
        self.ghosts: list[bytes] = []

    def used(self) -> int:
        ghosts = sum(len(g) + ENTRY_OVERHEAD_BYTES // 2 for g in self.ghosts)
        return sum(e.charge for e in self.small + self.main) + ghosts

    def get(self, key: bytes) -> bool:
        for entry in self.small + self.main:
            if entry.key == key:
                entry.uses = min(entry.uses + 1, 3)
                return True
        return False

    def put(self, key: bytes, size: int) -> None:
        proven = key in self.ghosts or key in {e.key for e in self.main}
        self.ghosts = [g for g in self.ghosts if g != key]
        self.small = [e for e in self.small if e.key != key]
        self.main = [e for e in self.main if e.key != key]
        self.forget_ghosts()
        charge = charge_bytes(key, size)
        if charge > self.capacity:
            return
        while self.used() + charge > self.capacity:
            small_is_over = 10 * sum(e.charge for e in self.small) > self.capacity
            if self.small and (small_is_over or not self.main):
                entry = self.small.pop(0)
                if entry.uses >= 2:
                    self.main.append(Entry(entry.key, entry.charge))
                else:
                    self.ghosts.append(entry.key)
            else:
                entry = self.main.pop(0)
                if entry.uses >= 1:
                    self.main.append(Entry(entry.key, entry.charge, entry.uses - 1))
            self.forget_ghosts()
        (self.main if proven else self.small).append(Entry(key, charge))

    def forget_ghosts(self) -> None:
        while len(self.ghosts) > len(self.small) + len(self.main):
            self.ghosts.pop(0)

    def keys(self) -> set[bytes]:
        return {e.key for e in self.small + self.main}


@pytest.mark.parametrize(("make", "make_model"), [(LRU, ModelLRU), (S3FIFO, ModelS3FIFO)])
@given(
    asked=st.lists(
        st.tuples(st.integers(0, 15), st.sampled_from([0, 80, 80, 80, 700, 9000])), max_size=120
    ),
    overwrite=st.booleans(),
)
@settings(max_examples=200)
def test_a_policy_keeps_what_its_model_keeps(
    make: Callable[[int], CachePolicy],
    make_model: Callable[[int], ModelLRU | ModelS3FIFO],
    asked: list[tuple[int, int]],
    overwrite: bool,
) -> None:
    """The same keys after every step, for reads, fills on a miss, and overwrites."""
    policy, model = make(4000), make_model(4000)
    universe = [bytes([i]) * 3 for i in range(16)]
    for i, size in asked:
        key = universe[i]
        hit = policy.get(key, 0.0) is not None
        assert hit == model.get(key)
        if not hit or overwrite:
            policy.put(key, True, size, 0.0)
            model.put(key, size)
        assert {k for k in universe if k in policy} == model.keys()
    if isinstance(model, ModelS3FIFO):
        assert policy.used_bytes == model.used()


@pytest.mark.parametrize(("make", "make_model"), [(LRU, ModelLRU), (S3FIFO, ModelS3FIFO)])
@pytest.mark.parametrize("overwrites", [0.0, 0.3])
def test_a_policy_keeps_what_its_model_keeps_over_a_long_life(
    make: Callable[[int], CachePolicy],
    make_model: Callable[[int], ModelLRU | ModelS3FIFO],
    overwrites: float,
) -> None:
    """4,000 popular and unpopular keys through a dozen entries: ages, ghosts and all."""
    rng = np.random.default_rng(13)
    policy, model = make(5000), make_model(5000)
    for item in rng.zipf(1.2, 4000) % 40:
        key = bytes([item]) * 3
        hit = policy.get(key, 0.0) is not None
        assert hit == model.get(key)
        if not hit or rng.random() < overwrites:
            size = int(rng.integers(0, 150))
            policy.put(key, True, size, 0.0)
            model.put(key, size)
        kept = model.keys()
        assert len(policy) == len(kept)
        assert all(k in policy for k in kept)
