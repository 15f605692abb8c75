"""The search for the few layers that int8 cannot do without: what it asks, and when it stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.quantization.repair import Repair, Trial, Why, speed_kept
from headgate.quantization.sensitivity import Layer
from headgate.quantization.speed import Speedup

Holds = Callable[[Sequence[str]], bool]


def layers(*noise: float, work: Sequence[float] | None = None) -> list[Layer]:
    """a, b, c ... with ``noise``; of equal work where none is given."""
    shares = work if work is not None else [1 / len(noise)] * len(noise)
    return [
        Layer(chr(ord("a") + i), n, w) for i, (n, w) in enumerate(zip(noise, shares, strict=True))
    ]


def mend(repair: Repair, holds: Holds) -> list[tuple[str, ...]]:
    """Runs it to its end; what it asked for, in order."""
    asked = []
    while (keep := repair.ask()) is not None:
        asked.append(keep)
        repair.tell(keep, met=holds(keep))
    return asked


def shown(low: float, value: float, high: float) -> Speedup:
    """A share of plain int8's speed, as it was measured."""
    return Speedup(value, low, high, 5, 1.0)


def needs(*names: str) -> Holds:
    return lambda keep: set(names) <= set(keep)


def test_the_noisiest_layer_is_tried_first_and_is_enough() -> None:
    repair = Repair(layers(0.01, 0.5, 0.02, 0.03), speedup=1.2)
    assert mend(repair, needs("b")) == [("b",)]
    assert repair.why is Why.MET
    assert repair.best == Trial(("b",), True)


def test_sets_double_until_one_holds_and_bisection_finds_the_smallest() -> None:
    """Noise falls from a to j: five are needed, so 1, 2, 4 and 8 are tried, then 6 and 5."""
    ranked = layers(*[2.0**-k for k in range(10)])
    repair = Repair(ranked, speedup=1.2)
    asked = mend(repair, lambda keep: len(keep) >= 5)
    assert [len(keep) for keep in asked] == [1, 2, 4, 8, 6, 5]
    assert repair.best == Trial(tuple("abcde"), True)


def test_a_layer_that_was_not_needed_is_dropped_most_expensive_first() -> None:
    """a, b and d are noisy; a costs most and d next, and only a and b matter."""
    repair = Repair(layers(0.9, 0.2, 0.01, 0.5, work=[0.4, 0.1, 0.2, 0.3]), speedup=1.3)
    asked = mend(repair, needs("b"))
    assert asked == [("a",), ("a", "b"), ("b",)]
    assert repair.best == Trial(("b",), True)


def test_a_drop_that_gives_back_next_to_no_speed_is_not_tried() -> None:
    """Both are in the set that holds, and b costs a thousandth of the work."""
    repair = Repair(layers(0.5, 0.4, 0.1, work=[0.001, 0.001, 0.998]), speedup=3.0)
    assert mend(repair, needs("b")) == [("a",), ("a", "b")]
    assert repair.why is Why.MET


def test_noise_counts_for_the_work_that_removing_it_costs() -> None:
    """Half the noise for a tenth of the work goes first."""
    repair = Repair(layers(0.2, 0.1, 0.0, work=[0.5, 0.05, 0.45]), speedup=1.3)
    assert repair.ask() == ("b",)


def test_no_set_that_loses_too_much_speed_is_asked_for() -> None:
    """At 3x a fifth of the speed-up is lost with an eighth of the work: a alone has more."""
    repair = Repair(layers(0.9, 0.3, 0.2, 0.1, work=[0.7, 0.1, 0.1, 0.1]), speedup=3.0)
    for keep in mend(repair, needs("a")):
        assert "a" not in keep
        assert repair.estimate(keep) >= 0.8
    assert repair.why is Why.SPEED
    assert repair.best is None


def test_what_is_lost_elsewhere_is_not_mended_by_any_layer() -> None:
    repair = Repair(layers(0.3, 0.2, 0.1), speedup=1.1)
    asked = mend(repair, lambda keep: False)
    assert asked[-1] == ("a", "b", "c")
    assert repair.why is Why.NOTHING_HELPS


def test_a_model_without_products_has_nothing_to_mend() -> None:
    assert Repair([], speedup=3.0).why is Why.NOTHING_HELPS


def test_int8_that_is_not_faster_is_not_mended() -> None:
    assert Repair(layers(0.3, 0.2), speedup=1.0).why is Why.NO_FASTER


def test_where_value_for_work_fails_the_noise_alone_is_tried() -> None:
    """The room of 0.25 is filled by cheap b, c and d; a, the noisiest, does not fit beside them."""
    repair = Repair(layers(0.5, 0.2, 0.2, 0.2, 0.0, work=[0.2, 0.07, 0.07, 0.07, 0.59]), speedup=2)
    asked = mend(repair, needs("a"))
    assert asked == [("b",), ("b", "c"), ("b", "c", "d"), ("a",)]
    assert repair.best == Trial(("a",), True)


def test_the_budget_ends_it_with_what_was_found() -> None:
    repair = Repair(layers(*[2.0**-k for k in range(16)]), speedup=1.1, budget=5)
    asked = mend(repair, lambda keep: len(keep) >= 5)
    assert len(asked) == 5
    assert repair.why is Why.BUDGET
    assert repair.best is not None


def test_a_measured_speed_replaces_the_estimate() -> None:
    """b holds and should cost little, but measured it costs twice what was thought of all work: the
    room shrinks, and what is asked for from then on fits into it."""
    ranked = layers(0.1, 0.9, 0.5, 0.2, work=[0.3, 0.1, 0.3, 0.3])
    repair = Repair(ranked, speedup=2.0)
    repair.tell(["b"], met=True, speed_kept=shown(0.72, 0.75, 0.78))
    assert repair.best is None
    assert repair.ask() is None
    assert repair.why is Why.SPEED
    repair.tell(["b"], met=True, speed_kept=shown(0.9, 0.95, 1.0))
    assert repair.best == Trial(("b",), True, shown(0.9, 0.95, 1.0))
    assert len(repair.trials) == 1


def test_a_set_is_dropped_for_its_speed_only_where_it_is_shown_to_be_too_slow() -> None:
    """Noise does not throw away what holds, nor takes the room away that it needs: it is timed
    again as every candidate is."""
    repair = Repair(layers(0.1, 0.9, 0.5, 0.2), speedup=2.0)
    repair.tell(["b"], met=True, speed_kept=shown(0.55, 0.75, 0.81))
    assert repair.best is not None
    assert repair.why is Why.MET
    repair.tell(["b"], met=True, speed_kept=shown(0.55, 0.75, 0.79))
    assert repair.best is None
    assert repair.why is Why.SPEED


def test_a_build_measured_faster_than_int8_leaves_room_for_everything() -> None:
    repair = Repair(layers(0.5, 0.4), speedup=3.0)
    repair.tell(["a"], met=False, speed_kept=shown(1.0, 1.02, 1.04))
    assert repair.ask() == ("a", "b")


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no such layers: z"):
        Repair(layers(0.5), speedup=2.0).tell(["z"], met=True)


@pytest.mark.parametrize(("work", "speedup", "kept"), [(0.0, 3.0, 1.0), (1.0, 3.0, 1 / 3)])
def test_all_of_the_work_is_all_of_the_speedup(work: float, speedup: float, kept: float) -> None:
    assert speed_kept(work, speedup) == pytest.approx(kept)


ANY_LAYERS = st.lists(
    st.tuples(st.floats(1e-6, 1.0), st.floats(0.01, 1.0)), min_size=1, max_size=40
).map(
    lambda rows: [
        Layer(f"l{i}", noise, work / sum(w for _, w in rows))
        for i, (noise, work) in enumerate(rows)
    ]
)


@given(ANY_LAYERS, st.floats(1.05, 5.0), st.randoms(use_true_random=False))
def test_whatever_comes_of_the_trials(ranked: list[Layer], speedup: float, answers: object) -> None:
    """It ends within its budget, asks nothing twice, asks only for what keeps the speed, and what
    it calls the best was told to hold."""
    repair = Repair(ranked, speedup=speedup)
    asked = mend(repair, lambda keep: answers.random() < 0.5)  # type: ignore[attr-defined]  # a Random
    assert len(asked) == len(set(asked)) <= 10
    assert all(repair.estimate(keep) >= 0.8 - 1e-9 for keep in asked)
    assert repair.why is not None
    held = [t for t in repair.trials if t.met]
    assert (repair.best in held) if held else repair.best is None


@given(ANY_LAYERS, st.floats(1.05, 5.0), st.integers(0, 2**32))
def test_told_the_same_it_asks_the_same(ranked: list[Layer], speedup: float, seed: int) -> None:
    """A killed search that is told again what it was told goes on where it was."""

    def holds(keep: Sequence[str]) -> bool:
        return hash((seed, *keep)) % 3 == 0

    whole = mend(Repair(ranked, speedup=speedup), holds)
    for killed in range(len(whole)):
        again = Repair(ranked, speedup=speedup)
        for keep in whole[:killed]:
            again.tell(keep, met=holds(keep))
        assert again.ask() == whole[killed]


@given(ANY_LAYERS, st.data())
def test_where_noise_adds_up_the_smallest_sufficient_prefix_is_found(
    ranked: list[Layer], data: st.DataObject
) -> None:
    """If a model holds once enough noise is gone, no shorter beginning of the ranking would do."""
    enough = data.draw(st.floats(0.01, 0.99)) * sum(layer.noise for layer in ranked)
    noise = {layer.name: layer.noise for layer in ranked}
    repair = Repair(ranked, speedup=1.01, budget=100)
    mend(repair, lambda keep: sum(noise[n] for n in keep) >= enough)
    order = sorted(ranked, key=lambda a: (-a.noise / a.work, a.name))
    needed = next(k for k in range(1, len(order) + 1) if sum(a.noise for a in order[:k]) >= enough)
    assert repair.best is not None
    assert len(repair.best.keep) <= needed
