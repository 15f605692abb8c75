"""What a student would be worth, before it is paid for.

Puts a forecast of quality beside the contract and the price of training beside the saving of each
request. Pilots are run by ``headgate.optimize``; this module only judges their figures.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from headgate.distillation.forecast import Forecast

__all__ = ["Advice", "StudentPreview", "break_even_requests", "preview"]


class Advice(enum.StrEnum):
    """What to do about a student."""

    TRAIN = "train"
    DO_NOT_TRAIN = "do_not_train"
    LEARN_MORE = "learn_more"
    """The forecast is too wide to tell: a larger pilot, or the training itself, would."""


def break_even_requests(
    training_cost: float, cost_per_request: float, student_cost_per_request: float
) -> float:
    """Requests after which training has paid for itself: ``C_train / (c_teacher - c_student)``.

    All in one currency and at least 0; infinity where the student is not cheaper.

    >>> break_even_requests(0.01, 2e-6, 1e-6)
    10000.0
    >>> break_even_requests(0.01, 1e-6, 1e-6)
    inf
    """
    if min(training_cost, cost_per_request, student_cost_per_request) < 0:
        raise ValueError("costs are at least 0")
    saving = cost_per_request - student_cost_per_request
    return training_cost / saving if saving > 0 else math.inf


@dataclass(frozen=True, slots=True)
class StudentPreview:
    """A forecast, held against the contract and the price."""

    forecast: Forecast
    """Of the loss against the teacher, in the contract's unit; smaller is better."""
    margin: float
    """The loss that the contract allows."""
    meets_contract: float
    """Probability, 0 to 1, that the trained student loses at most ``margin``."""
    break_even_requests: float
    advice: Advice
    reason: str


def preview(
    forecast: Forecast,
    *,
    margin: float,
    training_cost: float,
    cost_per_request: float,
    student_cost_per_request: float,
    expected_requests: float = math.inf,
    give_up_below: float = 0.2,
) -> StudentPreview:
    """Advises on training a student whose loss is ``forecast`` and may be at most ``margin``.

    "Do not train" where it would probably fail (below ``give_up_below``) or would not pay within
    ``expected_requests``; "learn more" where the chance is between that and one half.
    """
    chance = forecast.probability_at_most(margin)
    pays_after = break_even_requests(training_cost, cost_per_request, student_cost_per_request)
    if chance < give_up_below:
        advice = Advice.DO_NOT_TRAIN
        reason = (
            f"it would lose {forecast.median:.3g} ({forecast.lower:.3g} to {forecast.upper:.3g}), "
            f"and may lose {margin:.3g}: a chance of {chance:.0%}"
        )
    elif math.isinf(pays_after):
        advice, reason = Advice.DO_NOT_TRAIN, "a request of the student is not cheaper"
    elif pays_after > expected_requests:
        advice = Advice.DO_NOT_TRAIN
        reason = (
            f"it pays after {pays_after:,.0f} requests, and {expected_requests:,.0f} are expected"
        )
    elif chance < 0.5:
        advice = Advice.LEARN_MORE
        reason = f"a chance of {chance:.0%} to lose at most {margin:.3g} decides nothing"
    else:
        advice = Advice.TRAIN
        reason = f"a chance of {chance:.0%} to lose at most {margin:.3g}"
    return StudentPreview(forecast, margin, chance, pays_after, advice, reason)
