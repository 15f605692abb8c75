"""The analytic floor, instance plans and placement."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import ConfigError
from headgate.scheduling import (
    InstancePlan,
    instance_plans,
    least_instances,
    most_recently_freed,
    square_root_staffing,
)
from headgate.theory.queueing import erlang_c


@given(rate=st.floats(0.1, 200.0), service=st.floats(0.001, 1.0), limit=st.floats(0.0, 5.0))
def test_the_floor_holds_and_one_instance_less_does_not(
    rate: float, service: float, limit: float
) -> None:
    """Least means least: P(W > limit) <= 5 % with it, more (or no stability) without it."""

    def late(instances: int) -> float:
        drain = instances / service - rate
        return erlang_c(instances, rate * service) * math.exp(-drain * limit)

    least = least_instances(rate, service, p95_wait_s=limit)
    assert late(least) <= 0.05
    assert least - 1 <= rate * service or late(least - 1) > 0.05


def test_square_root_staffing_has_economies_of_scale() -> None:
    """Twice the load takes less than twice the instances."""
    assert square_root_staffing(100.0, beta=2.0) == 120
    assert square_root_staffing(400.0, beta=2.0) == 440
    assert square_root_staffing(0.0) == 1


def test_impossible_loads_are_refused() -> None:
    """A service takes time, and nothing is negative."""
    with pytest.raises(ConfigError):
        least_instances(1.0, 0.0, p95_wait_s=1.0)
    with pytest.raises(ConfigError):
        square_root_staffing(-1.0)


@given(cores=st.integers(1, 64))
def test_plans_use_all_cores_and_no_more(cores: int) -> None:
    """From one thread each to one instance for all."""
    plans = instance_plans(cores)
    assert all(plan.cores == cores for plan in plans)
    assert plans[0] == InstancePlan(1, cores)
    assert plans[-1] == InstancePlan(cores, 1)


def test_the_warmest_free_instance_is_placed_first() -> None:
    """Freed last, then lowest index: deterministic."""
    assert most_recently_freed({2: 5.0, 0: 1.0, 1: 5.0}) == 1
