"""Every request is answered, refused or cancelled exactly once, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headgate.batching import BatchPolicy, FixedWindow, Greedy, TokenBudgetBatcher
from headgate.caching import GenerationCache, make_policy
from headgate.dataplane import DataPlane
from headgate.objects import BatchingSpec, BatchInvariance, CacheSpec
from headgate.scheduling import Admission
from headgate.workload import Request, ServiceCurve
from tests.plane_shell import PlaneShell

CURVE = ServiceCurve(fixed_s=2e-3, item_s=1e-4, token_s=3e-5, square_s=1e-8)
SPEC = BatchingSpec(max_requests=4, max_padded_tokens=128)
BATCHERS: dict[str, Callable[[bool], BatchPolicy]] = {
    "token_budget": lambda isolate: TokenBudgetBatcher(SPEC, isolate_tenants=isolate),
    "greedy": lambda isolate: Greedy(SPEC, isolate_tenants=isolate),
    "fixed_window": lambda isolate: FixedWindow(SPEC, max_wait_s=0.01, isolate_tenants=isolate),
    "patient": lambda isolate: TokenBudgetBatcher(
        replace(SPEC, max_wait_s=0.01), isolate_tenants=isolate
    ),
}


def make_shell(
    batcher: str, *, instances: int, cache: str | None, dependent: bool, max_queue: int
) -> PlaneShell:
    plane = DataPlane(
        batcher=BATCHERS[batcher](dependent),
        service=CURVE,
        instances=instances,
        admission=Admission(max_queue, 0.05),
        cache=(
            GenerationCache(make_policy(CacheSpec(cache, 3000)), generation=7) if cache else None
        ),
        generation=7,
        batch_invariance=BatchInvariance.DEPENDENT if dependent else BatchInvariance.EXACT,
    )
    return PlaneShell(plane, SPEC, isolated=dependent)


class Plane(RuleBasedStateMachine):
    """Arrivals, ends, faults, cancels and time in any order."""

    @initialize(
        batcher=st.sampled_from(sorted(BATCHERS)),
        instances=st.integers(1, 3),
        cache=st.sampled_from([None, "lru", "s3fifo"]),
        dependent=st.booleans(),
        max_queue=st.integers(0, 12),
    )
    def start(
        self, batcher: str, instances: int, cache: str | None, dependent: bool, max_queue: int
    ) -> None:
        self.shell = make_shell(
            batcher, instances=instances, cache=cache, dependent=dependent, max_queue=max_queue
        )

    @rule(
        items=st.lists(
            st.tuples(st.integers(0, 5), st.integers(1, 150), st.sampled_from("ab")),
            min_size=1,
            max_size=3,
        ),
        within_s=st.none() | st.floats(-0.01, 0.1),
    )
    def arrive(self, items: list[tuple[int, int, str]], within_s: float | None) -> None:
        shell = self.shell
        deadline_s = None if within_s is None else shell.now_s + within_s
        n = len(shell.requests)
        shell.arrive(
            *(
                Request(n + i, bytes([item]), tokens, shell.now_s, tenant, deadline_s)
                for i, (item, tokens, tenant) in enumerate(items)
            )
        )

    @precondition(lambda self: self.shell.running)
    @rule(pick=st.integers(0, 2), bad=st.none() | st.integers(0, 3))
    def finish(self, pick: int, bad: int | None) -> None:
        running = sorted(self.shell.running)
        self.shell.finish(running[pick % len(running)], bad=bad)

    @precondition(lambda self: self.shell.running)
    @rule(pick=st.integers(0, 2))
    def fail(self, pick: int) -> None:
        running = sorted(self.shell.running)
        self.shell.fail(running[pick % len(running)])

    @rule(back=st.integers(0, 12))
    def cancel(self, back: int) -> None:
        self.shell.cancel(len(self.shell.requests) - back)

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.2]))
    def pass_time(self, seconds: float) -> None:
        self.shell.now_s += seconds
        self.shell.wake()

    @rule()
    def drain(self) -> None:
        if len(self.shell.requests) > 8:
            self.shell.drain()

    @invariant()
    def counters_agree(self) -> None:
        if hasattr(self, "shell"):
            self.shell.check()

    def teardown(self) -> None:
        if hasattr(self, "shell"):
            self.shell.settle()


TestPlane = Plane.TestCase
TestPlane.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)


@pytest.mark.parametrize("batcher", sorted(BATCHERS))
@pytest.mark.parametrize("seed", [1, 2])
def test_thousands_of_decisions_in_one_life(batcher: str, seed: int) -> None:
    """5,000 events on one plane: faults, cancels and repeats while the queue is never empty."""
    rng = np.random.default_rng(seed)
    shell = make_shell(
        batcher, instances=2, cache=("lru", "s3fifo")[seed % 2], dependent=False, max_queue=40
    )
    for _ in range(5000):
        shell.now_s += float(rng.exponential(1e-3))
        draw = rng.random()
        running = sorted(shell.running)
        if draw < 0.5 or not running:
            n = len(shell.requests)
            deadline_s = shell.now_s + 0.006 if rng.random() < 0.1 else None
            item = int(rng.zipf(1.3)) % 250
            tokens = int(rng.integers(1, 130))
            tenant = "ab"[int(rng.integers(0, 2))]
            shell.arrive(Request(n, bytes([item]), tokens, shell.now_s, tenant, deadline_s))
        elif draw < 0.8:
            shell.finish(int(rng.choice(running)))
        elif draw < 0.9:
            shell.fail(int(rng.choice(running)))
        else:
            shell.cancel(int(rng.integers(max(0, len(shell.requests) - 30), len(shell.requests))))
    shell.settle()
    seen = set(shell.outcomes.values())
    assert {"engine", "cache", "twin", "error", "cancelled", "rejected: deadline"} <= seen


def test_cancelled_work_that_still_waits_never_runs() -> None:
    """30 % random cancels of 3,000: none of those cancelled while they waited is ever run."""
    rng = np.random.default_rng(9)
    shell = make_shell("token_budget", instances=1, cache=None, dependent=False, max_queue=500)
    cancelled_waiting: set[int] = set()
    for i in range(3000):
        shell.now_s += 1e-4
        shell.arrive(Request(i, i.to_bytes(4, "big"), int(rng.integers(1, 60)), shell.now_s))
        if rng.random() < 0.3:
            victim = int(rng.integers(max(0, i - 20), i + 1))
            if victim not in shell.ran and victim not in shell.outcomes:
                cancelled_waiting.add(victim)
            shell.cancel(victim)
        if rng.random() < 0.25 and shell.running:
            shell.finish(0)
    shell.settle()
    assert len(cancelled_waiting) > 300
    assert not cancelled_waiting & set(shell.ran)
