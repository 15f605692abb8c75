"""Choosing batching, instances and cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from headgate.batching import forecast
from headgate.objects import BatchingSpec, CacheSpec
from headgate.planning import LOAD, WAITS, PlanChoice, Trial, choose
from headgate.scheduling import InstancePlan
from headgate.testing import poisson_requests
from headgate.workload import Request, ServiceCurve

MANY = InstancePlan(1, 2)
ONE = InstancePlan(2, 1)
ALONE = BatchingSpec(max_requests=1)
BATCHED = BatchingSpec(8, 512)
NO_CACHE = CacheSpec()
CACHE = CacheSpec("lru", 200_000)

CURVES = {
    MANY: ServiceCurve(fixed_s=2e-3, item_s=0.0, token_s=4e-5, square_s=0.0),
    ONE: ServiceCurve(fixed_s=2e-3, item_s=0.0, token_s=2.5e-5, square_s=0.0),
}


def workload(rate_per_s: float = 200.0, n: int = 1500) -> list[Request]:
    rng = np.random.default_rng(6)
    items = rng.zipf(1.4, n) % 400
    return poisson_requests(n, rate_per_s, rng, tokens=10 + items % 30, items=items)


def choice(requests: list[Request], p95_limit_s: float) -> PlanChoice:
    return choose(
        requests,
        CURVES,
        p95_limit_s=p95_limit_s,
        batching=(ALONE, BATCHED),
        caches=(NO_CACHE, CACHE),
        value_bytes=1536,
        trials=8,
        capacity_requests=800,
    )


def test_the_choice_is_the_cheapest_of_its_trials_and_says_what_it_skipped() -> None:
    """Every point of the grid is a trial or skipped with a reason; costs are consistent."""
    made = choice(workload(), 0.05)
    assert made.best is not None
    assert made.binding is None
    best = made.best
    assert replace(best.candidate.batching, max_wait_s=0.0) == BATCHED
    assert best.candidate.cache == CACHE
    grid = [t.candidate for t in made.trials if not t.candidate.batching.max_wait_s]
    looked_at = grid + [s.candidate for s in made.skipped]
    assert len(looked_at) == len(set(looked_at)) == 8
    assert all(s.why for s in made.skipped)
    least = min(t.provisioned_machine_s for t in made.trials)
    assert best.provisioned_machine_s <= least * 1.05
    assert best.provisioned_machine_s == 1 / best.max_rate_per_s
    assert best.attributed_machine_s * LOAD * best.max_rate_per_s <= 1.0, "a second has one second"
    assert best.p95_s <= 0.05


def test_what_caches_let_through_alike_is_forecast_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large enough caches none evicts, so what misses is the same: four caches, three mixes."""
    asked: list[tuple[int, ...]] = []

    def noted(curve: ServiceCurve, spec: BatchingSpec, lengths: Sequence[int]) -> object:
        asked.append(tuple(lengths))
        return forecast(curve, spec, lengths)

    monkeypatch.setattr("headgate.planning.choice.forecast", noted)
    large = [CacheSpec(policy, 1 << 24) for policy in ("lru", "s3fifo")]
    made = choose(
        workload(n=400),
        CURVES,
        p95_limit_s=0.05,
        batching=(ALONE, BATCHED),
        caches=(NO_CACHE, CacheSpec("lru", 20_000), *large),
        value_bytes=1536,
        trials=1,
        capacity_requests=100,
    )
    assert len(set(asked)) == 3
    assert len(asked) == 3 * len(CURVES) * 2
    assert len(made.trials) + len(made.skipped) >= 4 * len(CURVES) * 2, "each cache has its price"


def test_part_of_the_promise_is_spent_on_company() -> None:
    """Requests are held back as long as it lowers what each one costs, at no loss of rate."""
    made = choice(workload(), 0.05)
    assert made.best is not None
    waits = {t.candidate.batching.max_wait_s for t in made.trials}
    assert waits <= {0.0, *(share * 0.05 for share in WAITS)}
    at_once = next(
        t for t in made.trials if t.candidate == replace(made.best.candidate, batching=BATCHED)
    )
    assert made.best.candidate.batching.max_wait_s > 0
    assert made.best.attributed_machine_s < 0.9 * at_once.attributed_machine_s
    assert made.best.max_rate_per_s > 0.96 * at_once.max_rate_per_s
    assert at_once.p95_s < made.best.p95_s <= 0.05


def cached(requests: list[Request], value_bytes: int, capacity_requests: int) -> float:
    """The highest rate of the one plan that there is, with a cache."""
    made = choose(
        requests,
        {MANY: CURVES[MANY]},
        p95_limit_s=0.05,
        batching=(BATCHED,),
        caches=(CACHE,),
        value_bytes=value_bytes,
        capacity_requests=capacity_requests,
    )
    assert made.best is not None
    return made.best.max_rate_per_s


def test_the_highest_rate_is_that_of_a_cache_that_has_seen_the_workload() -> None:
    """The rate is sought on the end of the workload, behind a cache that the rest has filled."""
    cold, warm = cached(workload()[-800:], 1536, 800), cached(workload(), 1536, 800)
    assert warm > 1.1 * cold


def test_a_workload_that_a_full_cache_answers_ends_the_search() -> None:
    """Fifty queries again and again: no rate is too high for what is replayed."""
    again = workload(n=4000)
    few = [replace(r, key=bytes([r.id % 50])) for r in again]
    assert cached(few, 100, 500) > 0


def lone(one: ServiceCurve) -> tuple[Trial, Trial | None]:
    """What was chosen with ``one`` as the engine of all cores, and the same without it."""
    made = choose(
        workload(),
        {MANY: CURVES[MANY], ONE: one},
        p95_limit_s=0.05,
        batching=(BATCHED,),
        waits=(),
        capacity_requests=800,
    )
    assert made.best is not None
    assert made.best.candidate.plan == MANY
    plain = replace(made.best.candidate, lone_threads=0)
    without = next((t for t in made.trials if t.candidate == plain), None)
    return made.best, without


def test_a_lone_request_gets_all_cores_where_that_is_sooner_and_costs_nothing() -> None:
    """Two threads take half off; near the highest rate hardly anybody is alone."""
    best, without = lone(replace(CURVES[ONE], fixed_s=1e-3))
    assert best.candidate.lone_threads == 2
    assert without is not None
    assert best.max_rate_per_s == without.max_rate_per_s
    assert best.attributed_machine_s <= 1.01 * without.attributed_machine_s


def test_an_engine_more_that_is_hardly_sooner_is_not_chosen() -> None:
    best, _ = lone(replace(CURVES[ONE], token_s=3.9e-5))
    assert best.candidate.lone_threads == 0


def test_a_fixed_wait_stays_as_it_is() -> None:
    """Who asks what one policy costs gets that policy."""
    fixed = replace(BATCHED, max_wait_s=0.001)
    made = choose(workload(), CURVES, p95_limit_s=0.05, batching=(fixed,), waits=())
    assert {t.candidate.batching for t in made.trials} == {fixed}
    assert made.best is not None
    assert made.best.candidate.batching == fixed


def test_the_policy_decides_by_its_own_curve_and_time_passes_by_the_true_one() -> None:
    """What the shell takes beside the engine lowers the rate; the plane knows the engine alone."""
    curves = {MANY: CURVES[MANY]}
    slower = {MANY: replace(CURVES[MANY], item_s=1e-3)}
    plain = choose(workload(), curves, p95_limit_s=0.05, batching=(ALONE,))
    beside = choose(workload(), curves, p95_limit_s=0.05, batching=(ALONE,), takes=slower)
    assert plain.best is not None
    assert beside.best is not None
    assert beside.best.max_rate_per_s < 0.9 * plain.best.max_rate_per_s
    assert beside.best.attributed_machine_s > plain.best.attributed_machine_s


def test_a_limit_below_the_service_time_names_the_latency() -> None:
    """Infeasible: no best, and the constraint that binds, with its figures."""
    made = choice(workload(), 0.0001)
    assert made.best is None
    assert made.binding is not None
    assert made.binding.startswith("latency_p95: ")
    assert "0.0001 s" in made.binding


def test_a_choice_needs_something_to_choose_from() -> None:
    """No workload, no curves, no plan."""
    with pytest.raises(ValueError, match="needs a workload"):
        choose([], CURVES, p95_limit_s=1.0)
