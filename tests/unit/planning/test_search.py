"""Which plan to try next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headgate.objects import BatchingSpec, CacheSpec
from headgate.planning import Policies, Search, Trial
from headgate.scheduling import InstancePlan

MANY = InstancePlan(1, 2)
ONE = InstancePlan(2, 1)
ALONE = BatchingSpec(max_requests=1)
BATCHED = BatchingSpec(8, 512)
NO_CACHE = CacheSpec()
CACHE = CacheSpec("lru", 200_000)


def trial(candidate: Policies, provisioned: float, refused: str | None = None) -> Trial:
    return Trial(
        candidate=candidate,
        max_rate_per_s=1 / provisioned,
        p95_s=0.01,
        attributed_machine_s=provisioned,
        provisioned_machine_s=provisioned,
        refused=refused,
    )


def test_search_asks_for_each_plans_best_first_and_nothing_twice() -> None:
    """Cheapest prediction first, but no plan is forgotten."""
    a, b, c = (Policies(MANY, s, NO_CACHE) for s in (ALONE, BATCHED, BatchingSpec(4, 512)))
    d = Policies(ONE, ALONE, NO_CACHE)
    search = Search({a: 3.0, b: 1.0, c: 2.0, d: 9.0})
    assert [search.ask() for _ in range(5)] == [b, d, c, a, None]
    assert search.untried == ()


def test_search_gives_up_on_what_the_model_says_is_hopeless() -> None:
    """Predicted far above the best outcome: not tried, and listed as untried."""
    near, far = Policies(MANY, BATCHED, NO_CACHE), Policies(MANY, ALONE, NO_CACHE)
    search = Search({near: 1.0, far: 2.0})
    assert search.ask() == near
    search.tell(trial(near, 1.1))
    assert search.ask() is None
    assert search.untried == (far,)


def test_equal_costs_go_to_the_simpler_plan() -> None:
    """Within 1 % the smaller cache wins; a refused trial never does."""
    plain, cached, refused = (
        Policies(MANY, BATCHED, NO_CACHE),
        Policies(MANY, BATCHED, CACHE),
        Policies(ONE, BATCHED, NO_CACHE),
    )
    search = Search(dict.fromkeys((plain, cached, refused), 1.0))
    for _ in range(3):
        search.ask()
    search.tell(trial(cached, 1.0))
    search.tell(trial(refused, 0.1, "too slow"))
    assert search.best is not None
    assert search.best.candidate == cached
    search.tell(trial(plain, 1.009))
    assert search.best.candidate == plain


def test_search_takes_answers_to_its_questions_only() -> None:
    """Neither unasked nor twice."""
    a = Policies(MANY, ALONE, NO_CACHE)
    search = Search({a: 1.0})
    with pytest.raises(ValueError, match="not asked for"):
        search.tell(trial(a, 1.0))
    search.ask()
    search.tell(trial(a, 1.0))
    with pytest.raises(ValueError, match="told before"):
        search.tell(replace(trial(a, 1.0), p95_s=9.0))


def test_a_candidate_becomes_a_variant() -> None:
    """What was chosen is what will be served."""
    variant = Policies(MANY, BATCHED, CACHE).variant("winner", "b1")
    assert (variant.instances, variant.batching, variant.cache) == (2, BATCHED, CACHE)
