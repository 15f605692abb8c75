"""The benchmark of the search in short: the same table and worlds, fewer seeds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks.search.__main__ import _lost_nothing
from benchmarks.search.equal import TRUTHS, false_winners
from benchmarks.search.kill import Survived, killed_until_done
from benchmarks.search.record import made_by
from benchmarks.search.searches import at_random, everything, one_after_the_other, together
from benchmarks.search.table import World, recorded
from benchmarks.search.workloads import DEVELOPED_BY, WORKLOADS
from headgate.optimize.entrants import Caches
from headgate.planning import BASELINE, BATCHING_GRID, MENDED, Asked, Level, Told

SEEDS = range(3)


def test_the_table_holds_every_arm_of_every_workload() -> None:
    """Thirteen candidates and the model as it is, every plan, every way to batch, and every cache
    that differs."""
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
        assert ended.evaluations <= 0.15 * everything(world, world.permitted).evaluations


def test_others_are_held_to_the_same_table() -> None:
    """At random no more is spent than by the search; one after the other measures every build."""
    world = World(recorded()["cacheable"], 0)
    spent = together(world).evaluations
    assert at_random(world, spent).evaluations <= spent
    assert one_after_the_other(world).evaluations >= len(world.permitted)


def test_what_a_contract_forbids_is_no_part_of_everything() -> None:
    """Neither its arms nor what making it takes; shares of less are larger."""
    world = World(recorded()["cacheable"], 0)
    forbidden = {*world.named} - {*world.permitted}
    assert forbidden == {"int8_dynamic", "student3_int8_dynamic"}
    less, all_ = everything(world, world.permitted), everything(world, world.named)
    arms = sum(len(world.at.arms[b]) for b in forbidden)
    assert all_.evaluations - less.evaluations == arms + len(forbidden)
    assert all_.seconds > less.seconds


def test_where_nothing_is_accepted_the_model_as_it_is_is_priced_under_policies() -> None:
    """Then it is the optimum too, and both ways of choosing end with it; else it is not priced."""
    at = recorded()["cacheable"]
    lost = {b: replace(of, loss=0.5) for b, of in at.builds.items() if b != BASELINE}
    refused = World(replace(at, builds={**lost, BASELINE: at.builds[BASELINE]}), 0)
    assert refused.allowed == (BASELINE,)
    for ended in (together(refused), one_after_the_other(refused)):
        assert ended.build == BASELINE
        assert refused.log(BASELINE, ended.cost) <= refused.optimum + math.log(1.05)
    world = World(at, 0)
    assert together(world).build != BASELINE
    own = everything(world, [BASELINE])
    assert own.evaluations == own.simulated == len(at.arms[BASELINE])


def test_a_student_is_trained_once_for_all_of_its_precisions() -> None:
    """And its curves are measured once for all of its arms."""
    world = World(recorded()["cacheable"], 0)
    one, two = ["student3"], ["student3", "student3_int8_static"]
    assert world.once_s(two, two) - world.once_s(one, one) == world.once_s([], one) == 3.0
    assert world.once_s(one, []) == world.at.builds["student3"].training_s > 0
    apart = sum(everything(world, [b]).seconds for b in two)
    assert apart - everything(world, two).seconds == pytest.approx(world.once_s(one, []))


def test_a_search_is_charged_for_what_it_trained() -> None:
    """The machine's time is more than what its trials took, by trainings and curves."""
    world = World(recorded()["cacheable"], 0)
    trials: list[Told[Caches]] = []

    def measure(asked: Asked[Caches]) -> Told[Caches]:
        trials.append(world.measure(asked))
        return trials[-1]

    ended = together(world, measure)
    made = {t.asked.build for t in trials if t.asked.level is Level.PILOT}
    priced = {t.asked.build for t in trials if t.asked.level is Level.PLAN}
    assert "student3_int8_static" in made
    assert ended.seconds == pytest.approx(
        sum(t.seconds for t in trials) + world.once_s(made, priced)
    )
    assert 0 < ended.simulated < ended.evaluations


def test_a_table_that_other_code_made_says_what_differs() -> None:
    """And nothing else."""
    at = recorded()["cacheable"]
    now = made_by("cacheable")
    assert replace(at, made_by=now).made_by_other == []
    assert replace(at, made_by={**now, "policies": "other"}).made_by_other == ["policies"]
    assert made_by("office hours")["builds"] != now["builds"]


@pytest.mark.parametrize(("kills", "ok"), [(0, False), (4, False), (5, True)])
def test_a_search_that_was_hardly_killed_has_not_shown_that_it_loses_nothing(
    kills: int, ok: bool
) -> None:
    """Though it ended as it should."""
    survived = [Survived(k, 0, same=True, repeated=0, lost=0) for k in (10, kills)]
    targets = _lost_nothing(survived, least=5)
    assert all(t.ok for t in targets.values()) is ok


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
