"""What admission promises beside other tenants: by a request's own turn, and nearly always kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.batching import TokenBudgetBatcher
from headgate.dataplane import Action, Answer, DataPlane, Event, Reject
from headgate.objects import BatchingSpec
from headgate.planning.simulate import lognormal_noise, simulate
from headgate.scheduling import Admission
from headgate.workload import Request, ServiceCurve

CURVE = ServiceCurve(fixed_s=0.01, item_s=0.0, token_s=1e-3, square_s=0.0)


class Told(DataPlane):
    """Notes what each caller was told: ``answered``, ``late``, ``broken`` (let in, and told later
    that its deadline has passed), or the reason for which it was not let in."""

    def handle_all(self, events: Iterable[Event], now_s: float) -> list[Action]:
        actions = super().handle_all(events, now_s)
        told = self.__dict__.setdefault("told", {})
        for action in actions:
            if isinstance(action, Answer):
                deadline_s = action.request.deadline_s
                late = deadline_s is not None and now_s > deadline_s + 1e-9
                told[action.request.id] = "late" if late else "answered"
            elif isinstance(action, Reject):
                at_once = now_s == action.request.arrived_at_s
                told[action.request.id] = action.reason if at_once else "broken"
        return actions


def plane(spec: BatchingSpec, admission: Admission, *, instances: int = 1) -> Told:
    return Told(
        batcher=TokenBudgetBatcher(spec),
        service=CURVE,
        instances=instances,
        admission=admission,
        weights={"b": 2.0},
    )


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=60),
    st.sampled_from("abcd"),
    st.integers(1, 3000),
)
def test_the_last_to_come_has_its_answer_by_the_deadline_that_it_was_let_in_with(
    waiting: list[tuple[str, int]], tenant: str, deadline_ms: int
) -> None:
    """With exact service times, one at a time, and each tenant with its own length: no slack."""
    tokens = {"a": 5, "b": 20, "c": 50, "d": 10}
    deadline_s = 1e-3 * len(waiting) + deadline_ms / 1e3
    requests = [
        Request(i, b"", tokens[name], 1e-3 * i, name, priority=priority)
        for i, (name, priority) in enumerate(waiting)
    ]
    last = Request(len(waiting), b"", tokens[tenant], 1e-3 * len(waiting), tenant, deadline_s)
    told = plane(BatchingSpec(1, 64), Admission())
    simulate(told, [*requests, last], CURVE)
    assert told.__dict__["told"][last.id] in ("answered", "deadline")


def test_a_flood_of_one_tenant_is_no_reason_to_refuse_the_deadline_of_another() -> None:
    """A thousand wait, some 40 s of work. At hand or running are five: 0.2 s."""
    flood = [Request(i, b"", 30, 0.0, "hog") for i in range(1000)]
    told = plane(BatchingSpec(1, 64), Admission(2000, 100.0))
    asks = [
        Request(1000, b"", 30, 0.001, "own", 0.1),
        Request(1001, b"", 30, 0.001, "own", 0.4),
        Request(1002, b"", 30, 0.001, "hog", 30.0),
    ]
    simulate(told, [*flood, *asks], CURVE)
    assert [told.__dict__["told"][i] for i in (1000, 1001)] == ["deadline", "answered"]


def test_a_tenant_that_fills_the_queue_does_not_fill_it_for_another() -> None:
    """The bound is a hundred; the second tenant still gets in, the first no more."""
    flood = [Request(i, b"", 30, 0.0, "hog") for i in range(200)]
    told = plane(BatchingSpec(1, 64), Admission(100, 100.0))
    simulate(told, [*flood, Request(200, b"", 30, 0.0, "own")], CURVE)
    words = told.__dict__["told"]
    assert words[200] == "answered"
    assert Counter(words[i] for i in range(200)) == {"answered": 100, "queue_full": 100}


def test_what_is_let_in_with_a_deadline_is_nearly_always_kept_beside_a_flood() -> None:
    """Twice what can be served, of a tenant that can wait, and two that cannot: after the time that
    it takes to learn how late a batch at hand may be, all but one in a hundred."""
    rng = np.random.default_rng(0)
    streams = [("hog", 120.0, None), ("hurried", 40.0, 6.0), ("own", 10.0, 3.0)]
    coming = sorted(
        (at_s, tenant, within_s)
        for tenant, rate_per_s, within_s in streams
        for at_s in np.cumsum(rng.exponential(1 / rate_per_s, int(rate_per_s * 120))).tolist()
    )
    requests = [
        Request(i, b"", int(rng.integers(5, 40)), at_s, tenant, within_s and at_s + within_s)
        for i, (at_s, tenant, within_s) in enumerate(coming)
    ]
    told = plane(BatchingSpec(8, 128), Admission(1024, 10.0))
    simulate(told, requests, CURVE, noise=lognormal_noise(rng, 0.1))
    words = told.__dict__["told"]
    for tenant in ("hurried", "own"):
        kept = Counter(words[r.id] for r in requests if r.tenant == tenant and r.arrived_at_s > 60)
        let_in = kept["answered"] + kept["late"] + kept["broken"]
        assert kept["late"] + kept["broken"] <= 0.01 * let_in
        assert let_in > 100
