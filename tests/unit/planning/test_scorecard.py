"""Whether the next forecast is to be trusted follows from how the last twenty did."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from headgate.objects import Action
from headgate.planning.scorecard import LOOKS_BACK, Met, scorecard
from headgate.theory.intervals import Range

NUMBERS = count()


def met(held: int, missed: int, about: str = "quality", preview: str = "quantization") -> list[Met]:
    """The misses come first."""
    unit = Range(0.0, -1.0, 1.0)
    return [
        Met(f"forecast {next(NUMBERS)}", preview, about, unit, 2.0 if k < missed else -1.0)
        for k in range(missed + held)
    ]


@pytest.mark.parametrize(
    ("held", "missed", "trusted", "action"),
    [
        (16, 4, True, Action.ACCEPT),
        (15, 5, False, Action.WARN),
        (3, 1, None, Action.UNKNOWN),
        (19, 0, None, Action.UNKNOWN),
        (0, 5, False, Action.WARN),
        (10, 5, False, Action.WARN),
    ],
)
def test_four_of_the_last_twenty_may_miss(
    held: int, missed: int, trusted: bool | None, action: Action
) -> None:
    """With a fifth the preview warns, however few there were; before twenty it is not praised."""
    (score,) = scorecard(met(held, missed))
    assert (score.trusted, score.action) == (trusted, action)


def test_only_the_last_twenty_count() -> None:
    """A preview that was mended earns its trust back."""
    (score,) = scorecard([*met(0, 30), *met(20, 0)])
    assert (score.n, score.held, score.trusted) == (LOOKS_BACK, 20, True)


def test_the_same_forecast_met_again_is_no_other_evidence() -> None:
    """Measured anew it counts as it was the last time, however often it is."""
    (one,) = met(1, 0)
    again = [replace(one, truth=2.0) for _ in range(30)]
    (score,) = scorecard([*met(3, 0), one, *again])
    assert (score.n, score.held) == (4, 3)
    (mended,) = scorecard([one, *again, one])
    assert (mended.n, mended.held) == (1, 1)


def test_previews_and_kinds_of_figures_are_scored_apart() -> None:
    """Sizes that are always right do not make up for losses that are not."""
    scores = scorecard([*met(20, 0, "size"), *met(5, 5), *met(9, 0, preview="distillation")])
    assert {(s.preview, s.about): s.trusted for s in scores} == {
        ("quantization", "size"): True,
        ("quantization", "quality"): False,
        ("distillation", "quality"): None,
    }


def test_what_twenty_can_tell_is_said_beside() -> None:
    """15 of 20 are compatible with a preview that is as good as its word (exact binomial, 95 %)."""
    (score,) = scorecard(met(15, 5))
    assert (round(score.low, 3), round(score.high, 3)) == (0.509, 0.913)
    assert score.low < 0.9 < score.high
    assert "51 % to 91 %" in score.describe()


@pytest.mark.parametrize(
    ("preview", "said"),
    [
        ("quantization", "schemes and small students, speed: 3 of the last 4 intervals held"),
        ("distillation", "encoders' students, speed: 3 of the last 4 intervals held"),
    ],
)
def test_a_score_names_all_whose_forecasts_it_counts(preview: str, said: str) -> None:
    """Where only small students were tried nothing was quantized; they are piloted as schemes are,
    and an encoder's students otherwise."""
    (score,) = scorecard(met(3, 1, "speed", preview=preview))
    assert score.preview == preview
    assert score.describe().startswith(said)


def test_nothing_met_is_nothing_scored() -> None:
    """An empty ledger has no opinion."""
    assert scorecard([]) == ()
