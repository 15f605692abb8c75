"""Hit ratios of caches that do not exist yet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.caching import LRU, charge_bytes, hit_ratio_curve, ideal_hit_ratio, replay


@given(
    asked=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    sizes_of=st.lists(st.sampled_from([0, 50, 300, 900]), min_size=10, max_size=10),
    capacity=st.integers(300, 8000),
)
def test_the_curve_is_what_a_replay_of_lru_gives(
    asked: list[int], sizes_of: list[int], capacity: int
) -> None:
    """One pass equals a replay at every capacity that holds the largest entry."""
    keys = [bytes([i]) for i in asked]
    sizes = [sizes_of[i] for i in asked]
    curve = hit_ratio_curve(keys, sizes)
    capacity = max(capacity, max(charge_bytes(b"k", s) for s in sizes))
    assert curve.hit_ratio(capacity) == replay(LRU(capacity), keys, sizes) / len(keys)


def test_capacity_for_a_share_of_the_ideal() -> None:
    """The least capacity that reaches the share, not a byte less."""
    keys = [int(i).to_bytes(2, "big") for i in np.random.default_rng(1).zipf(1.3, 3000) % 500]
    curve = hit_ratio_curve(keys, [100] * 3000)
    assert curve.ideal == pytest.approx(ideal_hit_ratio(keys))
    for share in (0.5, 0.9, 1.0):
        capacity = curve.capacity_for(share)
        assert curve.hit_ratio(capacity) >= share * curve.ideal - 1e-12
        assert curve.hit_ratio(capacity - 1) < share * curve.ideal


def test_without_repeats_no_cache_helps() -> None:
    """All firsts: the curve is zero everywhere."""
    curve = hit_ratio_curve([b"a", b"b", b"c"], [1, 1, 1])
    assert curve.hit_ratio(10**9) == curve.ideal == 0.0
    assert curve.capacity_for(1.0) == 0
