"""The benchmark of the search in short: the same table and worlds, fewer seeds."""

from __future__ import annotations

import math

import pytest

from benchmarks.search.equal import TRUTHS, false_winners
from benchmarks.search.kill import killed_until_done
from benchmarks.search.searches import at_random, everything, one_after_the_other, together
from benchmarks.search.table import World, recorded
from benchmarks.search.workloads import DEVELOPED_BY, WORKLOADS
from headgate.planning import BATCHING_GRID, MENDED, Asked, Level

SEEDS = range(3)


def test_the_table_holds_every_arm_of_every_workload() -> None:
    """Thirteen builds, every plan, every way to batch, and every cache that differs."""
    table = recorded()
    assert [*table] == [*WORKLOADS]
    for at in table.values():
        assert [*at.arms] == [*at.builds]
        for build, costs in at.arms.items():
            assert len(costs) % (len(at.builds[build].curves) * len(BATCHING_GRID)) == 0
            assert sum(map(math.isfinite, costs)) > len(costs) / 2


@pytest.mark.parametrize("name", DEVELOPED_BY)
def test_the_search_ends_near_the_optimum_for_a_fraction_of_its_price(name: str) -> None:
    """Within 5 % for at most 15 % of the evaluations, whatever the noise."""
    for seed in SEEDS:
        world = World(recorded()[name], seed)
        ended = together(world)
        assert world.log(ended.build, ended.cost) <= world.optimum + math.log(1.05)
        assert ended.evaluations <= 0.15 * everything(world).evaluations


def test_others_are_held_to_the_same_table() -> None:
    """At random no more is spent than by the search; one after the other measures every build."""
    world = World(recorded()["cacheable"], 0)
    spent = together(world).evaluations
    assert at_random(world, spent).evaluations <= spent
    assert one_after_the_other(world).evaluations >= len(world.named)


def test_what_is_mended_is_tried_only_where_something_broke() -> None:
    """By the search and by whoever tries everything."""
    for seed in range(20):
        world = World(recorded()["azure-like"], seed)
        assert (MENDED.name in world.named) is not world.keeps("int8_static")


def test_who_measures_again_is_told_the_same() -> None:
    """In any order, so that all searches of a seed have the same luck."""
    world = World(recorded()["cacheable"], 1)
    trials = [Asked(level, b) for b in world.named for level in (Level.PILOT, Level.FULL)]
    first = {a: world.measure(a) for a in trials}
    assert {a: World(world.at, 1).measure(a) for a in reversed(trials)} == first


@pytest.mark.parametrize("name", TRUTHS)
def test_of_equal_variants_hardly_one_wins(name: str) -> None:
    """At 5 % more than three of thirty would come by chance once in sixteen times; it is less."""
    assert false_winners(name, 30, 3)["false"] <= 3


def test_a_search_that_is_killed_goes_on_where_it_was() -> None:
    """A real process and a real ledger, killed at random moments."""
    survived = killed_until_done("mooncake-like", 5, most=2)
    assert (survived.same, survived.repeated, survived.lost) == (True, 0, 0)
    assert survived.kills > 0
