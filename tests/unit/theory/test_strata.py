"""A stratified sample says of all items what it can, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.theory.strata import Stratum, drawn, stratified


@given(
    closeness=st.lists(st.floats(0, 1), min_size=16, max_size=200),
    n=st.integers(2, 250),
    seed=st.integers(0, 99),
)
def test_every_item_is_in_one_stratum_and_drawn_at_most_once(
    closeness: list[float], n: int, seed: int
) -> None:
    """Strata cover all items; no more are drawn than were asked for, nor than there are."""
    found = drawn(closeness, n, len(closeness), np.random.default_rng(seed))
    indices = [i for _, stratum in found for i in stratum]
    assert sum(size for size, _ in found) == len(closeness)
    assert len(set(indices)) == len(indices) <= min(n, len(closeness))
    assert all(len(stratum) >= 2 for _, stratum in found)


def test_half_of_the_draws_go_to_the_quarter_that_is_nearest_to_flipping() -> None:
    """And each later quarter gets some."""
    found = drawn(range(400), 80, 400, np.random.default_rng(0))
    assert [len(stratum) for _, stratum in found] == [40, 20, 10, 10]
    assert max(found[0][1]) < 100 <= min(found[1][1])


def test_a_sample_of_all_is_one_stratum_and_knows_the_mean() -> None:
    """Of the very values that it saw nothing is left to know; of others there is."""
    ((size, stratum),) = drawn([0.5] * 30, 99, 30, np.random.default_rng(0))
    assert (size, len(stratum)) == (30, 30)
    values = Stratum(30, (1.0, 0.0, 0.0) * 10)
    assert stratified([values], largest=1.0, again=False).spread == 0
    assert stratified([values], largest=1.0, again=True).spread > 0.1


def test_the_mean_is_weighted_by_what_each_stratum_stands_for() -> None:
    """Half of the draws came from a quarter of the items."""
    strata = [Stratum(25, (1.0,) * 20), Stratum(75, (0.0,) * 20)]
    assert stratified(strata, largest=1.0, again=True).mean == 0.25


@pytest.mark.parametrize("again", [True, False])
def test_stratified_intervals_cover_and_are_shorter_than_plain_ones(again: bool) -> None:
    """1,000 samples of 256 of 1,300 items whose flips are where closeness says: nine in ten hold
    what is then measured, in less width than without strata."""
    rng = np.random.default_rng(3)
    closeness = rng.random(1300)
    chance = 0.2 * np.exp(-6 * closeness)
    held, widths, plain = 0, [], []
    for _ in range(1000):
        values = np.where(rng.random(1300) < chance, rng.choice([1.0, -1.0], 1300), 0.0)
        then = np.where(rng.random(1300) < chance, rng.choice([1.0, -1.0], 1300), 0.0)
        found = drawn(closeness, 256, 1300, rng)
        strata = [Stratum(size, tuple(values[list(i)])) for size, i in found]
        low, high = stratified(strata, largest=1.0, again=again).interval()
        held += low <= (then if again else values).mean() <= high
        widths.append(high - low)
        one = Stratum(1300, tuple(values[rng.choice(1300, 256, replace=False)]))
        low, high = stratified([one], largest=1.0, again=again).interval()
        plain.append(high - low)
    assert held >= 880
    assert np.mean(widths) < 0.95 * np.mean(plain)


def test_a_stratum_without_a_difference_still_leaves_some_open() -> None:
    """Ten items that agree do not show that all do."""
    strata = [Stratum(100, (1.0, 0.0) * 20), Stratum(900, (0.0,) * 10)]
    apart = stratified(strata, largest=1.0, again=False)
    sure = stratified([strata[0], Stratum(900, (0.0,) * 900)], largest=1.0, again=False)
    assert apart.spread > 3 * sure.spread


@pytest.mark.parametrize("values", [(), (0.0,), (0.0, float("inf"))])
def test_too_few_values_or_such_as_are_not_finite_are_refused(values: tuple[float, ...]) -> None:
    """There is no spread in one value."""
    with pytest.raises(ValueError, match=r"value"):
        stratified([Stratum(10, values)], largest=1.0, again=True)
