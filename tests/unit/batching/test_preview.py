"""The forecast of what batching gains."""

from __future__ import annotations

import pytest

from headgate.batching import MIN_SPEED_UP, forecast, pays
from headgate.objects import BatchingSpec
from headgate.workload import ServiceCurve

SPEC = BatchingSpec(max_requests=8, max_padded_tokens=1024)


def test_cheap_calls_turn_batching_off_and_say_so() -> None:
    """Where a call costs nothing there is nothing to share."""
    curve = ServiceCurve(fixed_s=1e-6, item_s=0.0, token_s=1e-4, square_s=0.0)
    gain = forecast(curve, SPEC, [32] * 100)
    assert gain.speed_up < MIN_SPEED_UP
    assert not pays(curve, SPEC, [32] * 100)
    assert gain.effective == BatchingSpec(max_requests=1)
    assert "does not pay and is off" in gain.reason


def test_dear_calls_are_shared_by_as_many_as_the_budget_allows() -> None:
    """t(8)/8 against t(1): the closed form of equal lengths."""
    curve = ServiceCurve(fixed_s=8e-3, item_s=0.0, token_s=1e-4, square_s=0.0)
    gain = forecast(curve, SPEC, [10] * 80)
    assert gain.mean_size == 8
    assert gain.speed_up == pytest.approx(9e-3 / (16e-3 / 8))
    assert gain.effective is SPEC
    assert gain.padding_share == 0.0


def test_a_shallow_queue_gains_less() -> None:
    """With two waiting, two run together, whatever the budget."""
    curve = ServiceCurve(fixed_s=8e-3, item_s=0.0, token_s=1e-4, square_s=0.0)
    assert forecast(curve, SPEC, [10] * 80, waiting=2).mean_size == 2


def test_no_lengths_is_an_error() -> None:
    """Nothing can be said about nothing."""
    with pytest.raises(ValueError, match="at least one request"):
        forecast(ServiceCurve(1.0, 0.0, 0.0, 0.0), SPEC, [])
