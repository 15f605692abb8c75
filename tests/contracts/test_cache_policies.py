"""One suite for every cache policy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.caching import CachePolicy, charge_bytes, ideal_hit_ratio, make_policy, replay
from headgate.caching.fence import POLICIES
from headgate.objects import CacheSpec

pytestmark = pytest.mark.parametrize("name", sorted(POLICIES))

operations = st.lists(
    st.tuples(
        st.sampled_from(["get", "put", "discard"]),
        st.integers(0, 7).map(lambda i: bytes([i]) * 4),
        st.sampled_from([0, 10, 200, 900, 5000]),
    ),
    max_size=60,
)


def make(name: str, capacity_bytes: int) -> CachePolicy:
    return make_policy(CacheSpec(name, capacity_bytes))


@given(operations=operations)
def test_never_over_budget_and_never_a_wrong_value(
    name: str, operations: list[tuple[str, bytes, int]]
) -> None:
    """After any calls, bytes stay within the budget and a hit is the value last put."""
    policy = make(name, 3000)
    last: dict[bytes, int] = {}
    for step, (operation, key, size) in enumerate(operations):
        if operation == "get":
            value = policy.get(key, float(step))
            assert (value is not None) == (key in policy)
            assert value is None or value == last[key]
        elif operation == "put":
            kept = policy.put(key, step + 1, size, float(step))
            assert kept == (charge_bytes(key, size) <= policy.capacity_bytes)
            assert kept == (key in policy)
            last[key] = step + 1
        else:
            policy.discard(key)
            assert key not in policy
        assert policy.used_bytes <= policy.capacity_bytes
        kept_keys = [k for k in last if k in policy]
        assert len(policy) == len(kept_keys)
        assert policy.used_bytes >= sum(charge_bytes(k, 0) for k in kept_keys)


@given(operations=operations)
def test_an_emptied_cache_is_charged_nothing(
    name: str, operations: list[tuple[str, bytes, int]]
) -> None:
    """Bytes are given back to the last one, ghosts included."""
    policy = make(name, 3000)
    for step, (_, key, size) in enumerate(operations):
        policy.put(key, 1, size, float(step))
    for _, key, _ in operations:
        policy.discard(key)
    assert len(policy) == 0
    assert policy.used_bytes == 0


def test_an_oversized_value_is_refused_and_replaces_nothing_by_something_old(name: str) -> None:
    """Too large is refused, and the key's former value does not survive it."""
    policy = make(name, 1000)
    assert policy.put(b"k", "old", 100, 0.0)
    assert not policy.put(b"k", "new", 1001, 1.0)
    assert policy.get(b"k", 2.0) is None
    assert policy.used_bytes == 0


def test_an_entry_of_exactly_the_budget_fits(name: str) -> None:
    """The budget itself is allowed."""
    policy = make(name, charge_bytes(b"k", 500))
    assert policy.put(b"k", "v", 500, 0.0)
    assert policy.used_bytes == policy.capacity_bytes


def test_no_policy_beats_an_infinite_cache_and_enough_room_reaches_it(name: str) -> None:
    """Hits stay below the ideal ratio and reach it where everything fits."""
    keys = [int(i).to_bytes(4, "big") for i in np.random.default_rng(5).zipf(1.2, 4000) % 900]
    sizes = [100] * len(keys)
    ideal = ideal_hit_ratio(keys) * len(keys)
    entry = charge_bytes(keys[0], 100)
    small = replay(make(name, 90 * entry), keys, sizes)
    assert 0.2 * ideal < small < ideal
    assert replay(make(name, 2000 * entry), keys, sizes) == round(ideal)


def test_a_popular_key_survives_a_scan_of_half_the_cache(name: str) -> None:
    """What is asked for again and again is not the first to go."""
    policy = make(name, 20 * charge_bytes(b"key0", 100))
    policy.put(b"key0", "hot", 100, 0.0)
    for i in range(100):
        assert policy.get(b"key0", float(i)) == "hot"
        if i % 2 == 0:
            policy.put(i.to_bytes(4, "big"), "cold", 100, float(i))
