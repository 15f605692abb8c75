"""Forecasts from pilots."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.distillation import Anchor, Forecast, forecast
from headgate.errors import InputError

EXAMPLES, STEPS = 10_000, 800


def law(rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    """e, a, b, alpha, beta of a plausible student."""
    return (
        float(rng.uniform(0, 0.02)),
        float(rng.uniform(0.002, 0.03)),
        float(rng.uniform(0.002, 0.03)),
        float(rng.uniform(0.15, 0.8)),
        float(rng.uniform(0.15, 0.8)),
    )


def loss(which: tuple[float, float, float, float, float], n: float, s: float) -> float:
    e, a, b, alpha, beta = which
    return e + a * (n / EXAMPLES) ** -alpha + b * (s / STEPS) ** -beta


def pilots(
    which: tuple[float, float, float, float, float], noise: float, rng: np.random.Generator
) -> list[Anchor]:
    return [
        Anchor(n, s, loss(which, n, s) + noise * float(rng.standard_normal()), noise)
        for n in (600, 1200, 2400)
        for s in (50, 100)
    ]


@pytest.mark.parametrize("anchors", [4, 6])
def test_the_interval_covers_what_full_runs_turn_out_to_lose(anchors: int) -> None:
    """Over 60 random students, nominal 90 % intervals hold the truth 9 times in 10 or more.

    With precise pilots, where the law is what is not known, and even with the fewest.
    """
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(60):
        which = law(rng)
        made = forecast(
            pilots(which, 0.001, rng)[:anchors], examples=EXAMPLES, steps=STEPS, rng=rng, draws=300
        )
        held += made.lower <= loss(which, EXAMPLES, STEPS) <= made.upper
    assert held >= 54


def test_precise_pilots_do_not_leave_the_vote_to_a_handful_of_laws() -> None:
    """Twelve anchors that are almost exact: whatever laws are drawn, the truth is in the interval.

    Two laws that happened to fit best gave intervals that shared nothing, each sure of itself.
    """
    which = (0.005, 0.02, 0.02, 0.4, 0.4)
    exact = [
        Anchor(n, s, loss(which, n, s), 1e-6)
        for n in (600, 1200, 2400, 4800)
        for s in (50, 100, 200)
    ]
    for seed in range(6):
        made = forecast(exact, examples=EXAMPLES, steps=STEPS, rng=np.random.default_rng(seed))
        assert made.lower <= loss(which, EXAMPLES, STEPS) <= made.upper


def test_better_pilots_give_a_narrower_interval() -> None:
    """A tenth of the measurement error leaves less than two thirds of the width."""
    which = (0.005, 0.02, 0.02, 0.4, 0.4)

    def width(noise: float) -> float:
        rng = np.random.default_rng(0)
        made = forecast(pilots(which, noise, rng), examples=EXAMPLES, steps=STEPS, rng=rng)
        return made.upper - made.lower

    assert width(0.0005) < 0.67 * width(0.005)


def test_pilots_at_full_size_are_believed() -> None:
    """Where the run asked about was itself measured often, the forecast is that figure."""
    anchors = [Anchor(EXAMPLES, STEPS, 0.02, 0.001)] * 20
    made = forecast(anchors, examples=EXAMPLES, steps=STEPS, rng=np.random.default_rng(0))
    assert made.median == pytest.approx(0.02, abs=3e-4)


def test_a_measurement_to_come_is_wider_than_the_loss_itself() -> None:
    """The error of measuring the full run is part of the interval when it is named."""
    which = (0.005, 0.02, 0.02, 0.4, 0.4)
    anchors = pilots(which, 0.001, np.random.default_rng(1))

    def width(error: float) -> float:
        made = forecast(
            anchors, examples=EXAMPLES, steps=STEPS, rng=np.random.default_rng(0),
            standard_error=error,
        )  # fmt: skip
        return made.upper - made.lower

    assert width(0.02) > 0.06 > width(0.0)


def test_one_generator_state_gives_one_forecast() -> None:
    """The same pilots and seed give the same draws."""
    anchors = pilots((0.01, 0.01, 0.01, 0.5, 0.5), 0.002, np.random.default_rng(2))
    a, b = (
        forecast(anchors, examples=EXAMPLES, steps=STEPS, rng=np.random.default_rng(5), draws=50)
        for _ in range(2)
    )
    assert a == b


def test_probability_counts_draws_up_to_the_loss() -> None:
    """A draw equal to the margin meets it."""
    made = Forecast((0.1, 0.2, 0.3, 0.4), 0.5)
    assert made.probability_at_most(0.2) == 0.5
    assert made.probability_at_most(0.05) == 0.0


def test_too_few_pilots_and_impossible_figures_are_refused() -> None:
    """Three pilots, or one without an error, cannot carry a forecast."""
    good = Anchor(100, 10, 0.1, 0.01)
    with pytest.raises(InputError, match="at least 4 pilot figures, got 3"):
        forecast([good] * 3, examples=1000, steps=100, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="above 0"):
        forecast(
            [good] * 3 + [Anchor(100, 10, 0.1, 0.0)],
            examples=1000,
            steps=100,
            rng=np.random.default_rng(0),
        )


def test_larger_batches_are_worth_something_between_a_step_and_their_size() -> None:
    """Four times the batch: at most as if it took four times the steps, and wider than without."""
    which = (0.005, 0.02, 0.02, 0.4, 0.4)
    anchors = pilots(which, 0.001, np.random.default_rng(1))

    def asked(steps: int, ratio: float) -> Forecast:
        return forecast(
            anchors, examples=EXAMPLES, steps=steps, rng=np.random.default_rng(0),
            batch_ratio=ratio,
        )  # fmt: skip

    assert asked(4 * STEPS, 1.0).median < asked(STEPS, 4.0).median < asked(STEPS, 1.0).median
