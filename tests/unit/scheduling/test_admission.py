"""Who is let in."""

from __future__ import annotations

import pytest

from headgate.errors import ConfigError
from headgate.objects import BatchingSpec
from headgate.scheduling import Admission, predicted_wait_s
from headgate.workload import Request, ServiceCurve

REQUEST = Request(1, b"k", 8, 0.0)
CURVE = ServiceCurve(fixed_s=0.01, item_s=0.0, token_s=1e-4, square_s=0.0)


def test_zero_bounds_admit_what_an_instance_is_free_for() -> None:
    """Nobody waits, nobody is refused who need not."""
    closed = Admission(max_queue_requests=0, max_predicted_wait_s=0.0)
    free = closed.refuse(REQUEST, waiting=0, wait_s=0.0, service_s=0.1, now_s=0.0)
    busy = closed.refuse(REQUEST, waiting=0, wait_s=0.2, service_s=0.1, now_s=0.0)
    assert free is None
    assert busy is not None
    assert (busy.reason, busy.retry_after_s) == ("queue_full", 0.2)


def test_a_wait_at_the_bound_is_admitted_and_above_it_refused() -> None:
    """The bound itself is allowed."""
    admission = Admission(max_predicted_wait_s=1.0)

    def reason(wait_s: float) -> str | None:
        refusal = admission.refuse(REQUEST, waiting=3, wait_s=wait_s, service_s=0.1, now_s=0.0)
        return refusal and refusal.reason

    assert reason(1.0) is None
    assert reason(1.001) == "predicted_wait"


def test_a_queue_that_one_tenant_filled_has_places_for_another() -> None:
    """Up to its share, and never more than twice the bound in all."""
    admission = Admission(max_queue_requests=10)

    def refused(own: int, tenants: int, *, waiting: int = 10) -> bool:
        refusal = admission.refuse(
            REQUEST,
            waiting=waiting,
            own=own,
            tenants=tenants,
            wait_s=0.5,
            service_s=0.1,
            now_s=0.0,
        )
        return refusal is not None

    assert refused(own=9, tenants=1)
    assert not refused(own=4, tenants=2)
    assert refused(own=5, tenants=2)
    assert not refused(own=0, tenants=2, waiting=19)
    assert refused(own=0, tenants=2, waiting=20)
    assert refused(own=0, tenants=11)


def test_a_deadline_is_held_against_the_predicted_finish() -> None:
    """Wait and service both count; asking again is no use."""
    request = Request(1, b"k", 8, 0.0, deadline_s=5.0)
    admission = Admission()
    assert admission.refuse(request, waiting=1, wait_s=0.5, service_s=0.5, now_s=4.0) is None
    refusal = admission.refuse(request, waiting=1, wait_s=0.5, service_s=0.6, now_s=4.0)
    assert refusal is not None
    assert (refusal.reason, refusal.retry_after_s) == ("deadline", None)


def test_negative_bounds_are_refused() -> None:
    """A configuration that cannot be meant."""
    with pytest.raises(ConfigError, match="must not be negative"):
        Admission(max_queue_requests=-1)


def test_predicted_wait_shares_calls_among_full_batches() -> None:
    """Eight of 16 tokens in batches of four (64 tokens): two calls over two instances."""
    spec = BatchingSpec(max_requests=8, max_padded_tokens=64)
    wait_s = predicted_wait_s(
        waiting=8, waiting_tokens=128, running_s=0.004, instances=2, spec=spec, service=CURVE
    )
    assert wait_s == pytest.approx((0.004 + 2 * (0.01 + 64e-4)) / 2)


def test_predicted_wait_of_an_empty_queue_is_what_still_runs() -> None:
    """Only the running batches are in the way."""
    wait_s = predicted_wait_s(
        waiting=0, waiting_tokens=0, running_s=0.3, instances=3, spec=BatchingSpec(), service=CURVE
    )
    assert wait_s == pytest.approx(0.1)
