"""Every request is answered, refused or cancelled exactly once, whatever happens in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headgate.batching import AIMD, BatchPolicy, FixedWindow, Greedy, TokenBudgetBatcher
from headgate.caching import GenerationCache, make_policy
from headgate.dataplane import DataPlane
from headgate.objects import BatchingSpec, BatchInvariance, CacheSpec
from headgate.scheduling import Admission
from headgate.workload import Request, ServiceCurve
from tests.bystanders import Turns, WatchedBatcher
from tests.plane_shell import PlaneShell

CURVE = ServiceCurve(fixed_s=2e-3, item_s=1e-4, token_s=3e-5, square_s=1e-8)
LONE = replace(CURVE, token_s=CURVE.token_s / 2)
SPEC = BatchingSpec(max_requests=4, max_padded_tokens=128)
WEIGHTS = {"a": 3.0, "b": 0.5}
BATCHERS: dict[str, Callable[[bool], BatchPolicy]] = {
    "token_budget": lambda isolate: TokenBudgetBatcher(SPEC, isolate_tenants=isolate),
    "greedy": lambda isolate: Greedy(SPEC, isolate_tenants=isolate),
    "fixed_window": lambda isolate: FixedWindow(SPEC, max_wait_s=0.01, isolate_tenants=isolate),
    "aimd": lambda isolate: AIMD(SPEC, objective_s=6e-3, isolate_tenants=isolate),
    "patient": lambda isolate: TokenBudgetBatcher(
        replace(SPEC, max_wait_s=0.01), isolate_tenants=isolate
    ),
}


def make_shell(
    batcher: str,
    *,
    instances: int,
    cache: str | None,
    dependent: bool,
    max_queue: int,
    max_wait_s: float = 0.05,
    lone: bool = False,
) -> PlaneShell:
    watched = WatchedBatcher(BATCHERS[batcher](dependent))
    plane = DataPlane(
        batcher=watched,
        service=CURVE,
        instances=instances,
        admission=Admission(max_queue, max_wait_s),
        cache=(
            GenerationCache(make_policy(CacheSpec(cache, 3000)), generation=7) if cache else None
        ),
        generation=7,
        batch_invariance=BatchInvariance.DEPENDENT if dependent else BatchInvariance.EXACT,
        weights=WEIGHTS,
        lone_service=LONE if lone else None,
    )
    everybody_waits = cache is None or dependent
    turns = Turns(watched, patience_s=max_wait_s, weights=WEIGHTS) if everybody_waits else None
    return PlaneShell(plane, SPEC, isolated=dependent, turns=turns)


class Plane(RuleBasedStateMachine):
    """Arrivals, ends, faults, hangs, cancels and time in any order; the clock jumps, ahead and
    back."""

    @initialize(
        batcher=st.sampled_from(sorted(BATCHERS)),
        instances=st.integers(1, 3),
        cache=st.sampled_from([None, "lru", "s3fifo"]),
        dependent=st.booleans(),
        max_queue=st.integers(0, 12),
        lone=st.booleans(),
    )
    def start(
        self,
        batcher: str,
        instances: int,
        cache: str | None,
        dependent: bool,
        max_queue: int,
        lone: bool,
    ) -> None:
        self.shell = make_shell(
            batcher,
            instances=instances,
            cache=cache,
            dependent=dependent,
            max_queue=max_queue,
            lone=lone,
        )

    @rule(
        items=st.lists(
            st.tuples(st.integers(0, 5), st.integers(1, 150), st.integers(0, 9)),
            min_size=1,
            max_size=3,
        ),
        tenant=st.sampled_from("abc"),
        within_s=st.none() | st.floats(-0.01, 0.1),
    )
    def arrive(
        self, items: list[tuple[int, int, int]], tenant: str, within_s: float | None
    ) -> None:
        shell = self.shell
        deadline_s = None if within_s is None else shell.now_s + within_s
        n = len(shell.requests)
        shell.arrive(
            *(
                Request(
                    n + i,
                    bytes([item]),
                    tokens,
                    shell.now_s,
                    tenant,
                    deadline_s,
                    priority=priority,
                )
                for i, (item, tokens, priority) in enumerate(items)
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

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 2.0, 2.0, 60.0]))
    def look(self, seconds: float) -> None:
        self.shell.look(seconds)

    @precondition(lambda self: self.shell.proving)
    @rule(pick=st.integers(0, 2))
    def prove(self, pick: int) -> None:
        proving = sorted(self.shell.proving)
        self.shell.prove(proving[pick % len(proving)])

    @precondition(lambda self: self.shell.lost)
    @rule(pick=st.integers(0, 2), then=st.sampled_from(["replace", "fail_to_replace", "late"]))
    def after_a_hang(self, pick: int, then: str) -> None:
        instance = sorted(self.shell.lost)[pick % len(self.shell.lost)]
        if then == "replace":
            self.shell.replace(instance)
        elif then == "fail_to_replace":
            self.shell.fail_to_replace(instance)
        else:
            self.shell.come_back_late(instance)

    @rule(back=st.integers(0, 12))
    def cancel(self, back: int) -> None:
        self.shell.cancel(len(self.shell.requests) - back)

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.2, 3600.0, -3600.0]))
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


def live(shell: PlaneShell, rng: np.random.Generator, events: int) -> None:
    """Somebody always waits: calls of one item or a few, with tenants, priorities and deadlines;
    batches that end, fail, hang, or hold a bad item; callers who leave; a machine that stood
    still."""
    for _ in range(events):
        shell.now_s += float(rng.exponential(1e-3))
        draw = rng.random()
        running = sorted(shell.running)
        if shell.proving:
            shell.prove(min(shell.proving))
        elif shell.lost and draw < 0.4:
            instance = int(rng.choice(sorted(shell.lost)))
            then = rng.choice(["replace", "fail_to_replace", "come_back_late"])
            getattr(shell, str(then))(instance)
        elif draw < 0.52 or not running:
            arrive(shell, rng)
        elif draw < 0.81:
            bad = int(rng.integers(0, 4)) if rng.random() < 0.05 else None
            shell.finish(int(rng.choice(running)), bad=bad)
        elif draw < 0.85:
            shell.fail(int(rng.choice(running)))
        elif draw < 0.95:
            shell.cancel(int(rng.integers(max(0, len(shell.requests) - 60), len(shell.requests))))
        elif draw < 0.992:
            shell.wake()
        elif draw < 0.9995:  # whoever is at work now hangs
            for _ in range(6):
                shell.look()
                for instance in sorted(shell.proving):
                    shell.prove(instance)
        else:
            shell.now_s += 3600.0
    shell.settle()


def arrive(shell: PlaneShell, rng: np.random.Generator) -> None:
    """One call of one tenant; an item in three was asked before."""
    tenant = "aabcd"[int(rng.integers(0, 5))]
    deadline_s = shell.now_s + float(rng.exponential(0.05)) if rng.random() < 0.1 else None
    first = len(shell.requests)
    shell.arrive(
        *(
            Request(
                n,
                b"%d" % (int(rng.zipf(1.3)) % 250 if rng.random() < 0.33 else 1000 + n),
                min(150, 1 + int(rng.lognormal(3.0, 0.8))),
                shell.now_s,
                tenant,
                deadline_s,
                "xxxy"[int(rng.integers(0, 4))],
                int(rng.integers(0, 10)) if rng.random() < 0.2 else 0,
            )
            for n in range(first, first + int(rng.choice([1, 1, 1, 2, 5])))
        )
    )


def decisions(short: int, long: int) -> pytest.MarkDecorator:
    """How many: few in every run of the tests, many in a campaign."""
    marks = (pytest.mark.campaign, pytest.mark.timeout(1200))
    return pytest.mark.parametrize("events", [short, pytest.param(long, marks=marks)])


@decisions(5_000, 300_000)
@pytest.mark.parametrize("batcher", sorted(BATCHERS))
@pytest.mark.parametrize("dependent", [False, True])
def test_every_turn_and_every_batch_keeps_to_its_bounds(
    batcher: str, dependent: bool, events: int
) -> None:
    """Nobody starves: a tenant's own go by what is due first, tenants share by weight to within
    one request of each, and no request at hand is overtaken more often than it has others before
    it. Without a cache, so that everybody who is let in waits for a turn."""
    rng = np.random.default_rng([events, dependent])
    lives = -(-events // 50_000)
    for _ in range(lives):
        shell = make_shell(
            batcher, instances=2, cache=None, dependent=dependent, max_queue=200, max_wait_s=1.0
        )
        live(shell, rng, events // lives)
        assert shell.turns is not None
        assert shell.turns.contended > shell.turns.taken / 2, "tenants meet most of the time"
    told = Counter(shell.outcomes.values())
    assert told.keys() >= {"engine", "error", "cancelled", "rejected: deadline"}
    assert told["engine"] > 0.3 * len(shell.requests), "most are not refused"


@decisions(5_000, 300_000)
@pytest.mark.parametrize("batcher", sorted(BATCHERS))
@pytest.mark.parametrize(("cache", "lone"), [("lru", False), ("s3fifo", True)])
def test_everybody_is_told_exactly_once(batcher: str, cache: str, lone: bool, events: int) -> None:
    """Hits, twins, faults, cancels and deadlines in one life, while the queue is never empty."""
    rng = np.random.default_rng([events, len(cache)])
    lives = -(-events // 50_000)
    for _ in range(lives):
        shell = make_shell(
            batcher, instances=2, cache=cache, dependent=False, max_queue=40, lone=lone
        )
        live(shell, rng, events // lives)
    seen = set(shell.outcomes.values())
    assert {"engine", "cache", "twin", "error", "cancelled", "rejected: deadline"} <= seen
    assert "rejected: no_engine" in seen
    assert shell.hung > 20


@pytest.mark.parametrize("batcher", sorted(BATCHERS))
def test_of_ten_thousand_whoever_leaves_the_queue_never_runs(batcher: str) -> None:
    """30 % leave at random, of those who wait and those who run alike."""
    rng = np.random.default_rng(9)
    shell = make_shell(
        batcher, instances=2, cache=None, dependent=False, max_queue=500, max_wait_s=100.0
    )
    left_the_queue: set[int] = set()
    for i in range(10_000):
        shell.now_s += 1e-4
        shell.arrive(Request(i, i.to_bytes(4, "big"), int(rng.integers(1, 60)), shell.now_s))
        if rng.random() < 0.3:
            victim = int(rng.integers(max(0, i - 100), i + 1))
            if victim not in shell.ran and victim not in shell.outcomes:
                left_the_queue.add(victim)
            shell.cancel(victim)
        if rng.random() < 0.25 and shell.running:
            shell.finish(int(rng.choice(sorted(shell.running))))
    shell.settle()
    assert len(left_the_queue) > 1000
    assert not left_the_queue & set(shell.ran)
