"""Forecasts from pilots."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.distillation import Anchor, Forecast, forecast
from headgate.errors import InputError
from headgate.theory.hierarchy import Measured

EXAMPLES, STEPS = 10_000, 800
VAGUE = [Measured(fall, 0.01) for fall in (0.05, 0.2, 0.35, 0.5, 0.65)]
"""Trainings whose losses fell by very different powers of the texts that they saw."""


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


RUNS = ((0, 0), (64, 16), (128, 16), (256, 32))
"""Texts and steps of a student's start and of its pilots."""
ASKED, ASKED_STEPS, LARGER, MORE = 8000, 430, 4, 120.0
"""Texts and steps of its training, whose batches are four times as large, and which sees 120 times
the texts that the start was fitted on."""


def started(rng: np.random.Generator, falls: float) -> list[float]:
    """Losses of the start and of the pilots, beside 1 of the training. The start is worth texts
    and steps that nobody took, and a training falls by a power of about 0.15."""
    while True:
        fall, share, worth = rng.normal(0.15, falls), rng.uniform(), LARGER ** rng.uniform()
        head = float(np.exp(rng.uniform(*np.log([0.1, 10.0]))))
        alpha, beta = rng.uniform(0.05, 1.25, size=2)
        texts = [(n + head * 256) / (ASKED + head * 256) for n, _ in RUNS]
        steps = [(s + head * 32) / (ASKED_STEPS * worth + head * 32) for _, s in RUNS]
        each = [
            share * (n**-alpha - 1) + (1 - share) * (s**-beta - 1)
            for n, s in zip(texts, steps, strict=True)
        ]
        part = (MORE**fall - 1) / each[0]
        if 0 <= part <= 1:
            return [1 + part * more for more in each]


@pytest.mark.parametrize(("inaccuracy", "least"), [(1.0, 64), (2.0, 56)])
def test_the_interval_holds_what_trainings_come_to(inaccuracy: float, least: int) -> None:
    """Of 80 students that start well, about as many as a nominal 90 % promises.

    By ten trainings of the same kind. Fewer where pilots are twice as inaccurate as they say.
    """
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(80):
        anchors = [
            Anchor(n, s, mean * float(np.exp(0.015 * inaccuracy * rng.standard_normal())), 0.015)
            for (n, s), mean in zip(RUNS, started(rng, 0.03), strict=True)
        ]
        falls = [Measured(float(f), 0.004) for f in rng.normal(0.15, 0.03, 10)]
        made = forecast(
            anchors, examples=ASKED, steps=ASKED_STEPS, batch_ratio=LARGER, falls=falls,
            more_texts=MORE,
            rng=rng, draws=300,
        )  # fmt: skip
        held += made.lower <= 1.0 <= made.upper
    assert held >= least


def test_what_pilots_leave_open_other_trainings_tell() -> None:
    """Where they agree the interval is narrower, and where they fell further it is lower."""
    anchors = pilots((0.005, 0.02, 0.02, 0.4, 0.4), 0.001, np.random.default_rng(1))

    def asked(*falls: float) -> Forecast:
        told = [Measured(f, 0.01) for f in falls]
        rng = np.random.default_rng(0)
        return forecast(anchors, examples=EXAMPLES, steps=STEPS, falls=told, more_texts=8, rng=rng)

    alike, apart = asked(0.2, 0.21, 0.2, 0.19, 0.2, 0.2), asked(0.0, 0.4, 0.1, 0.3, 0.2, 0.2)
    assert alike.upper - alike.lower < 0.6 * (apart.upper - apart.lower)
    assert asked(0.3, 0.31, 0.3, 0.29, 0.3, 0.3).median < alike.lower


def test_precise_pilots_do_not_leave_the_vote_to_a_handful_of_laws() -> None:
    """Twelve anchors that are almost exact: whatever laws are drawn, intervals agree.

    Two laws that happened to fit best gave intervals that shared nothing, each sure of itself.
    """
    which = (0.005, 0.02, 0.02, 0.4, 0.4)
    exact = [
        Anchor(n, s, loss(which, n, s), 1e-6)
        for n in (600, 1200, 2400, 4800)
        for s in (50, 100, 200)
    ]
    made = [
        forecast(
            exact,
            examples=EXAMPLES,
            steps=STEPS,
            falls=VAGUE,
            more_texts=8,
            rng=np.random.default_rng(seed),
        )
        for seed in range(6)
    ]
    truth = loss(which, EXAMPLES, STEPS)
    assert sum(each.lower <= truth <= each.upper for each in made) >= 4
    narrowest = min(each.upper - each.lower for each in made)
    assert np.ptp([each.median for each in made]) < 0.25 * narrowest


def test_better_pilots_give_a_narrower_interval() -> None:
    """A tenth of the measurement error leaves less than four fifths of the width.

    Where other trainings tell next to nothing.
    """
    which = (0.005, 0.02, 0.02, 0.4, 0.4)

    def width(noise: float) -> float:
        rng = np.random.default_rng(0)
        made = forecast(
            pilots(which, noise, rng),
            examples=EXAMPLES,
            steps=STEPS,
            falls=VAGUE,
            more_texts=8,
            rng=rng,
        )
        return made.upper - made.lower

    assert width(0.0005) < 0.8 * width(0.005)


def test_pilots_at_full_size_are_believed() -> None:
    """Where the run asked about was itself measured often, the forecast is that figure."""
    anchors = [Anchor(EXAMPLES, STEPS, 0.02, 0.001)] * 20
    made = forecast(
        anchors,
        examples=EXAMPLES,
        steps=STEPS,
        falls=VAGUE,
        more_texts=8,
        rng=np.random.default_rng(0),
    )
    assert made.median == pytest.approx(0.02, abs=3e-4)


def test_a_measurement_to_come_is_wider_than_the_loss_itself() -> None:
    """The error of measuring the full run is part of the interval when it is named."""
    which = (0.005, 0.02, 0.02, 0.4, 0.4)
    anchors = pilots(which, 0.001, np.random.default_rng(1))

    def width(error: float) -> float:
        made = forecast(
            anchors, examples=EXAMPLES, steps=STEPS, rng=np.random.default_rng(0),
            standard_error=error, falls=VAGUE, more_texts=8,
        )  # fmt: skip
        return made.upper - made.lower

    assert width(0.02) > 0.06 > width(0.0)


def test_one_generator_state_gives_one_forecast() -> None:
    """The same pilots and seed give the same draws."""
    anchors = pilots((0.01, 0.01, 0.01, 0.5, 0.5), 0.002, np.random.default_rng(2))
    a, b = (
        forecast(
            anchors,
            examples=EXAMPLES,
            steps=STEPS,
            falls=VAGUE,
            more_texts=8,
            rng=np.random.default_rng(5),
            draws=50,
        )
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
        forecast(
            [good] * 3,
            examples=1000,
            steps=100,
            falls=VAGUE,
            more_texts=8,
            rng=np.random.default_rng(0),
        )
    with pytest.raises(InputError, match="above 0"):
        forecast(
            [good] * 3 + [Anchor(100, 10, 0.1, 0.0)],
            examples=1000,
            steps=100,
            falls=VAGUE,
            more_texts=8,
            rng=np.random.default_rng(0),
        )


def test_larger_batches_are_worth_something_between_a_step_and_their_size() -> None:
    """Four times the batch: at most as if it took four times the steps, and wider than without."""
    which = (0.005, 0.02, 0.02, 0.4, 0.4)
    anchors = pilots(which, 0.001, np.random.default_rng(1))

    def asked(steps: int, ratio: float) -> Forecast:
        return forecast(
            anchors, examples=EXAMPLES, steps=steps, rng=np.random.default_rng(0),
            batch_ratio=ratio, falls=VAGUE, more_texts=8,
        )  # fmt: skip

    assert asked(4 * STEPS, 1.0).median < asked(STEPS, 4.0).median < asked(STEPS, 1.0).median
