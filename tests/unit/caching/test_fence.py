"""The fence around the cache."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.caching import LRU, GenerationCache, make_policy
from headgate.errors import ConfigError
from headgate.objects import CacheSpec


def test_neither_promotion_nor_rollback_finds_what_was_fenced_off() -> None:
    """A rollback is generation 3, of the same build as 1, and begins empty; 1 never returns."""
    cache = GenerationCache(LRU(10_000), generation=1)
    assert cache.insert(b"k", "one", 10, tenant="t", generation=1, now_s=0.0)
    for later in (2, 3):
        cache.fence(later)
        assert cache.lookup(b"k", tenant="t", generation=later, now_s=1.0) is None
        assert cache.lookup(b"k", tenant="t", generation=1, now_s=1.0) is None
    with pytest.raises(ValueError, match="generation 1 is before 3"):
        cache.fence(1)
    assert cache.generation == 3


def test_a_late_fill_of_the_old_generation_is_refused() -> None:
    """What an old engine finishes after the promotion never enters."""
    cache = GenerationCache(LRU(10_000), generation=1)
    cache.fence(2)
    assert not cache.insert(b"k", "old", 10, tenant="t", generation=1, now_s=0.0)
    assert len(cache) == 0


def test_a_tenant_never_sees_anothers_answer() -> None:
    """Even where a shell forgot the tenant in its key."""
    cache = GenerationCache(LRU(10_000), generation=1)
    cache.insert(b"k", "a's", 10, tenant="a", generation=1, now_s=0.0)
    assert cache.lookup(b"k", tenant="b", generation=1, now_s=1.0) is None
    assert cache.lookup(b"k", tenant="a", generation=1, now_s=1.0) == "a's"


def test_no_stale_hit_in_many_swaps() -> None:
    """A hit always carries the current generation, over 20,000 requests and 100 swaps."""
    rng = np.random.default_rng(3)
    cache = GenerationCache(LRU(60_000), generation=0)
    current, hits = 0, 0
    for step in range(20_000):
        if step % 200 == 199:
            current += 1
            cache.fence(current)
        stale = max(current - int(rng.integers(0, 5)), 0)
        generation = stale if rng.random() < 0.3 else current
        key = bytes([int(rng.integers(0, 60))])
        tenant = "ab"[int(rng.integers(0, 2))]
        value = cache.lookup(key, tenant=tenant, generation=generation, now_s=float(step))
        if value is None:
            cache.insert(
                key, (generation, tenant), 100, tenant=tenant, generation=generation, now_s=step
            )
        else:
            hits += 1
            assert value == (current, tenant)
    assert hits > 1000


def test_an_unknown_policy_is_named_with_the_known_ones() -> None:
    """The message says where and what to write."""
    with pytest.raises(ConfigError, match="unknown cache policy 'lfu'") as error:
        make_policy(CacheSpec("lfu", 10))
    assert "lru, s3fifo" in str(error.value)
