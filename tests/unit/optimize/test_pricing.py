"""What a request costs: engine time by curve, the shell's by measurement, all of one machine."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.objects import BatchingSpec, Build, CacheSpec
from headgate.optimize.chains import Chain
from headgate.optimize.job import Job
from headgate.optimize.load import ShellCost
from headgate.optimize.plan import Outcome
from headgate.optimize.pricing import CACHES, NO_CACHE, Pricer

from .fakes import RUN, build, curve, priced

SHELL_S = 2e-4
SHELL = ShellCost(
    crowd_cpu_s=SHELL_S,
    crowd_per_s=10_000.0,
    lone_cpu_s=3 * SHELL_S,
    lone_per_s=100.0,
    crowd_tokenize_s=SHELL_S,
    lone_tokenize_s=2 * SHELL_S,
    latency_s=1e-4,
    handover_s=3e-4,
    run=RUN,
)


def test_an_instance_alone_on_the_machine_pays_the_shells_time_by_its_share() -> None:
    """One instance on 4 cores loses a quarter of each CPU second spent beside it."""
    plain = curve(threads=4, instances=1)
    loaded = plain.with_shell(SHELL_S, cores=4)
    assert loaded.curve.item_s == pytest.approx(plain.curve.item_s + SHELL_S / 4)
    assert loaded.plan == plain.plan
    assert (loaded.curve.fixed_s, loaded.curve.token_s) == (plain.curve.fixed_s, 0.0)


def test_each_of_as_many_instances_as_cores_pays_all_of_its_own_requests() -> None:
    """Four of one thread: each handles a quarter of the requests, on a quarter of the cores."""
    plain = curve(threads=1, instances=4)
    loaded = plain.with_shell(SHELL_S, cores=4)
    assert loaded.curve.item_s == pytest.approx(plain.curve.item_s + SHELL_S)


@given(st.sampled_from([(1, 4), (2, 2), (4, 1)]), st.floats(0, 1e-2), st.floats(0, 20))
def test_machine_seconds_of_the_shell_are_the_same_under_every_plan(
    plan: tuple[int, int], cpu_s: float, hits_per_miss: float
) -> None:
    """CPU seconds over cores, for the request that runs and for those that hit beside it."""
    threads, instances = plan
    plain = curve(threads, instances)
    loaded = plain.with_shell(cpu_s, cores=4, hits_per_miss=hits_per_miss)
    machine_s = (loaded.curve.item_s - plain.curve.item_s) / instances
    assert machine_s == pytest.approx(cpu_s * (1 + hits_per_miss) / 4, abs=1e-12)


def pricer(items: tuple[str, ...]) -> Pricer:
    workload = SimpleNamespace(items=items)
    job = SimpleNamespace(cores=2, inputs=SimpleNamespace(workload=workload))
    return Pricer(cast("Job", job), SHELL, 0.04, {})


def test_requests_that_hit_are_paid_by_those_that_run() -> None:
    """Three of four repeat: each that runs carries three hits through the shell."""
    plain = curve(threads=2, instances=1)
    of_four = pricer(("a", "a", "a", "a"))
    assert of_four._hits == 0.75
    loaded = of_four._beside(plain, SHELL_S, of_four._hits)
    assert loaded.curve.item_s == pytest.approx(plain.curve.item_s + 4 * SHELL_S / 2)
    alone = of_four._beside(plain, SHELL_S, 0.0)
    assert alone.curve.item_s == pytest.approx(plain.curve.item_s + SHELL_S / 2)


def test_near_capacity_the_shell_costs_what_it_does_at_that_rate() -> None:
    """One at a time 2 ms a call is 500 requests/s; two instances, eight at a time, 1,778."""
    pays = pricer(("a", "b"))
    pays.job.lengths = (8, 16, 40, 80)
    for plain, largest, rate_per_s in (
        (curve(threads=2, instances=1), 1, 500.0),
        (curve(threads=1, instances=2), 32, 16 / 9e-3),
    ):
        loaded = pays._at_capacity(plain, largest, 0.0)
        share = plain.plan.instances / 2
        spent_s = (loaded.curve.item_s - plain.curve.item_s) / share
        assert spent_s == pytest.approx(SHELL.cpu_s(rate_per_s, new_share=1.0))


@pytest.mark.parametrize(("batch", "contends_s"), [(1.0, 0.0), (4.0, 1.25e-4)])
def test_what_the_shell_does_between_engine_calls_delays_nobody_twice(
    batch: float, contends_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.2 ms of shell and 0.3 ms between calls: alone all of it fits, shared by four 0.075 does.
    The process computes for what its engines do on 0.8 of their cores, and for the shell."""
    asked: dict[str, Any] = {}

    def simulated(*args: object, **kwargs: object) -> Chain[Outcome]:
        asked.update(kwargs, takes=args[4])
        yield from ()
        return priced("x", curve(), CacheSpec(), BatchingSpec()).outcome

    monkeypatch.setattr("headgate.optimize.pricing.simulate_variant", simulated)
    pays = pricer(("a", "b"))
    pays.job.config = SimpleNamespace(preprocess=None)
    pays.job.inputs.versions = {"workload": "w"}
    pays.job.store = SimpleNamespace(read=None)
    pays.job.recorder, pays.job.value_bytes = None, 4
    price = priced("x", curve(), CacheSpec(), BatchingSpec())
    price = replace(price, outcome=replace(price.outcome, mean_batch=batch))
    side = SimpleNamespace(rate_per_s=1e6, generator_cpu_s_per_request=1e-5, segments=[], before=())
    quick = replace(pays, shell=replace(SHELL, crowd_tokenize_s=0.0))
    found = quick.replayed(price, cast("Any", side), name="x")
    assert asked["beside_s"] == pytest.approx((contends_s + 1e-5) / 2)
    assert asked["takes"].curve.item_s == 1e-3, "nobody pays for what runs beside"
    assert asked["handover_s"] == SHELL.handover_s
    assert found.cpu_machine_s == pytest.approx(0.8 * 1e-3 + SHELL_S / 2)


def test_a_lone_request_costs_more_than_one_in_a_crowd() -> None:
    """What was measured at its rate, half way at the geometric mean, no more beyond the ends."""
    rates = (1.0, 100.0, 1000.0, 10_000.0, 1e6)
    times = [SHELL.cpu_s(r, new_share=0.0) / SHELL_S for r in rates]
    assert times == pytest.approx([3.0, 3.0, 2.0, 1.0, 1.0])


def test_only_texts_that_were_not_seen_before_are_paid_for_by_their_tokens() -> None:
    """Half new: half of what tokenizing takes at that rate; without a cache all are new."""
    half, all_new = (SHELL.cpu_s(100.0, new_share=s) / SHELL_S for s in (0.5, 1.0))
    assert (half, all_new) == pytest.approx((4.0, 5.0))
    assert SHELL.cpu_s(10_000.0, new_share=1.0) / SHELL_S == pytest.approx(2.0)
    assert SHELL.request_latency_s(new_share=0.5) == pytest.approx(1e-4 + SHELL_S)


def test_a_search_has_caches_or_none() -> None:
    """Hits cost shell time, so a cache must pay for itself against a search of its own."""
    assert not any(spec.capacity_bytes for spec in NO_CACHE)
    assert all(spec.capacity_bytes for spec in CACHES)
    assert len(set(CACHES)) == len(CACHES)


@pytest.mark.parametrize(
    ("requests", "cores", "expected"), [(999, 2, 1), (1000, 2, 2), (1000, 1, 1), (1000, 64, 4)]
)
def test_helpers_price_where_that_pays_and_no_more_than_memory_allows(
    requests: int, cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a thousand requests they would take longer to start than they save."""
    used: list[int] = []
    monkeypatch.setattr(
        "headgate.optimize.pricing.follow_all", lambda *_, processes: used.append(processes)
    )
    pays = pricer(("a",) * requests)
    pays.job.recorder, pays.job.cores = None, cores
    pays.all([])
    assert used == [expected]


def test_provisioned_cost_is_the_time_between_requests_at_the_highest_rate() -> None:
    """And infinite where no rate keeps the promise."""
    price = priced("x", curve(), CacheSpec(), BatchingSpec())
    assert price.provisioned_s == pytest.approx(1 / price.choice.max_rate_per_s)
    never = replace(price, choice=replace(price.choice, max_rate_per_s=0.0))
    assert never.provisioned_s == float("inf")


def test_plans_are_measured_in_turn_all_together_or_each_by_itself() -> None:
    """A small machine holds all engines at once; a large one those of one plan."""
    one = build("fp32")
    asked: list[list[int]] = []

    class Counts:
        curves = Job.curves

        def _in_turn(self, plans: list[tuple[Build, int]]) -> list[int]:
            asked.append([n for _, n in plans])
            return [n for _, n in plans]

    assert Counts().curves([[(one, 2), (one, 2)], [(one, 1), (one, 1)]]) == [[2, 2], [1, 1]]
    assert Counts().curves([[(one, 8), (one, 8)], [(one, 1), (one, 1)]]) == [[8, 8], [1, 1]]
    assert asked == [[2, 2, 1, 1], [8, 8], [1, 1]]
