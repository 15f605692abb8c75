"""Policies, and the variant that they make of a build."""

from __future__ import annotations

from headgate.objects import BatchingSpec, CacheSpec
from headgate.planning import Policies
from headgate.scheduling import InstancePlan


def test_policies_make_a_variant_of_a_build() -> None:
    """What was chosen is what will be served."""
    policies = Policies(InstancePlan(1, 2), BatchingSpec(8, 512), CacheSpec("lru", 200_000))
    variant = policies.variant("winner", "b1")
    assert (variant.name, variant.build, variant.instances) == ("winner", "b1", 2)
    assert (variant.batching, variant.cache) == (policies.batching, policies.cache)


def test_memory_counts_before_batches_in_what_is_simpler() -> None:
    """A cache is more to look after than a large batch; one at a time has no budget of tokens."""
    plan = InstancePlan(2, 1)
    alone, batched = BatchingSpec(max_requests=1), BatchingSpec(32, 2048)
    none, cache = CacheSpec(), CacheSpec("lru", 1 << 20)
    rising = [Policies(plan, spec, c) for c in (none, cache) for spec in (alone, batched)]
    mixed = [rising[i] for i in (2, 0, 3, 1)]
    assert sorted(mixed, key=lambda p: p.complexity) == rising
