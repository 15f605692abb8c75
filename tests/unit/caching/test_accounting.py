"""What an entry is charged against what it takes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from headgate.caching import GenerationCache, make_policy
from headgate.caching.fence import POLICIES
from headgate.objects import CacheSpec


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_charged_bytes_are_within_a_tenth_of_allocated_ones(name: str) -> None:
    """Entries of 4 KiB: the budget is memory, not a number of values."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cache = GenerationCache(make_policy(CacheSpec(name, 10**8)), generation=0)
        for i in range(2000):
            value = np.full(1024, i, dtype=np.float32)
            key = i.to_bytes(32, "big")
            cache.insert(key, value, value.nbytes, tenant="", generation=0, now_s=0.0)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert cache.used_bytes == pytest.approx(after - before, rel=0.1)
