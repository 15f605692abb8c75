"""How far predictions are trusted, learned from those that were not kept."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.scheduling import Admission, Lateness
from headgate.workload import Request


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_the_factor_is_what_all_but_one_in_a_hundred_keep(sigma: float) -> None:
    """The quantile of a lognormal is known: exp(2.326 sigma)."""
    rng = np.random.default_rng(0)
    late = Lateness()
    seen = []
    for i, ratio in enumerate(np.exp(sigma * rng.standard_normal(60_000))):
        late.observe(0.02 * float(ratio), 0.02)
        if i >= 20_000:
            seen.append(late.factor)
    assert np.mean(seen) == pytest.approx(np.exp(2.326 * sigma), rel=0.1)


def test_predictions_that_are_kept_are_promised_as_they_are() -> None:
    """And those that were too long are not shortened: the factor is never below 1."""
    late = Lateness()
    for _ in range(1000):
        late.observe(0.5, 1.0)
    assert late.factor == 1.0


def test_one_stall_does_not_close_the_door() -> None:
    """A batch of 64 that hung for a minute is 64 broken promises, and one event."""
    late = Lateness()
    for _ in range(64):
        late.observe(60.0, 0.1)
    assert late.factor < 1.35
    for _ in range(10_000):
        late.observe(0.1, 0.1)
    assert late.factor == 1.0


def test_a_free_instance_is_never_refused_for_the_lateness_of_a_queue() -> None:
    """Only who has to wait depends on those before."""
    hurried = Request(1, b"k", 8, 0.0, deadline_s=0.2)

    def refused(wait_s: float) -> bool:
        refusal = Admission().refuse(
            hurried, waiting=0, wait_s=wait_s, service_s=0.1, now_s=0.0, lateness=3.0
        )
        return refusal is not None

    assert not refused(0.0)
    assert refused(0.01)
