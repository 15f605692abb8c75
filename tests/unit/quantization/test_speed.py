"""A speed-up counts by its lower bound, and what is no faster is told why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.quantization.speed import (
    LEAST_GAIN,
    Cause,
    Products,
    Speedup,
    speed_up,
    why_slow,
)

VNNI = ("avx512_vnni", "avx_vnni")
ALL = Products(48, 48, 10)
NONE = Speedup(1.0, 0.95, 1.05, 9, 1.01)
seconds = st.floats(1e-4, 10.0)


def slow(
    speedup: Speedup = NONE,
    *,
    item_s: float = 5e-3,
    products: Products = ALL,
    fast_with: tuple[str, ...] = VNNI,
    flags: tuple[str, ...] = ("avx2", "avx_vnni"),
    escalated: float | None = None,
) -> Cause | None:
    found = why_slow(
        speedup,
        item_s=item_s,
        products=products,
        fast_with=fast_with,
        flags=flags,
        escalated=escalated,
    )
    return None if found is None else found.cause


@given(st.lists(st.tuples(seconds, seconds), min_size=2, max_size=12), seconds, seconds)
def test_a_machine_of_another_speed_finds_the_same_speed_up(
    pairs: list[tuple[float, float]], again: float, factor: float
) -> None:
    """Both sides scale, and so does the baseline against itself."""
    baseline, build = zip(*pairs, strict=True)
    here = speed_up(baseline, build, same=[(1.0, 1.0 + again)])
    there = speed_up(
        [factor * s for s in baseline],
        [factor * s for s in build],
        same=[(factor, factor * (1.0 + again))],
    )
    assert there.value == pytest.approx(here.value)
    assert there.low == pytest.approx(here.low, rel=1e-6)
    assert here.low <= here.value <= here.high


def test_no_bound_is_narrower_than_the_baseline_against_itself() -> None:
    """Nine blocks that agree to the last bit, on a machine that wavers by a third, are no proof."""
    blocks = [2.0] * 9, [1.0] * 9
    calm, wavering = (speed_up(*blocks, same=[(1.0, again)]) for again in (1.01, 1.33))
    assert calm.low > 1.98
    assert wavering.low == pytest.approx(1.68, abs=0.01)
    assert wavering.noise == pytest.approx(1.33)


@pytest.mark.parametrize(("low", "counts"), [(LEAST_GAIN, False), (1.051, True)])
def test_it_counts_from_its_lower_bound_on(low: float, counts: bool) -> None:
    """Twice as fast in the mean, and not shown to be, gains nothing."""
    speedup = Speedup(2.0, low, 4.0, 9, 1.2)
    assert speedup.counts is counts
    assert slow(speedup) == (None if counts else Cause.NOISE)


def test_each_cause_is_named_where_the_ones_before_it_are_excluded() -> None:
    """What was measured, the machine, the model, the build."""
    assert slow(flags=("avx2", "avx512f")) is Cause.FLAGS
    assert slow(flags=("avx2", "avx512f"), item_s=1e-5) is Cause.FLAGS
    assert slow(item_s=9e-5) is Cause.SMALL
    assert slow(products=Products(48, 23, 0)) is Cause.UNQUANTIZED
    assert slow(products=Products(48, 24, 23)) is Cause.ELSEWHERE
    assert slow(products=Products(48, 24, 24)) is Cause.CONVERSIONS
    assert slow() is Cause.ELSEWHERE


def test_a_student_in_the_models_own_precision_lacks_no_flag_and_no_operator() -> None:
    """Nothing of it was to be quantized."""
    assert slow(fast_with=(), flags=(), products=Products(24, 0, 0)) is Cause.ELSEWHERE


def test_a_cascade_is_slow_by_what_escalates() -> None:
    """Nothing of it was to be quantized, and what it leaves to its teacher is known."""
    assert slow(fast_with=(), products=Products(0, 0, 0), escalated=0.9) is Cause.ESCALATION
    assert slow(fast_with=(), item_s=9e-5, escalated=0.9) is Cause.SMALL
    assert slow(Speedup(3.0, 2.7, 3.3, 9, 1.0), fast_with=(), escalated=0.1) is None


def test_the_sentence_has_the_numbers_that_it_rests_on() -> None:
    """So that a reader can check it."""
    found = why_slow(
        Speedup(0.99, 0.97, 1.01, 9, 1.0),
        item_s=1.0,
        products=Products(48, 12, 4),
        fast_with=VNNI,
        flags=VNNI,
    )
    assert found is not None
    assert found.because == "36 of 48 matrix products are left in the model's own precision"
