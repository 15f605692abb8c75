"""A shell around the data plane for tests: carries out actions, checks every promise as it goes."""

from __future__ import annotations

from dataclasses import dataclass, field

from headgate.dataplane import (
    Action,
    Answer,
    Arrived,
    Cancelled,
    DataPlane,
    Draining,
    Event,
    Failed,
    Finished,
    Looked,
    NotReplaced,
    Probe,
    Proved,
    Reject,
    Replace,
    Replaced,
    Run,
    Wake,
    Woke,
)
from headgate.errors import EngineError
from headgate.objects import BatchingSpec
from headgate.workload import Batch, Request
from tests.bystanders import Turns

__all__ = ["PlaneShell"]


@dataclass
class PlaneShell:
    """Instances that run until a test says how they end; ``outcomes`` is what callers were told.

    A value is (tenant, key, generation), so that an answer shows whose and which it is.
    """

    plane: DataPlane
    spec: BatchingSpec
    isolated: bool = False
    turns: Turns | None = None
    """Where nothing is cached: told who waits, so that it can hold every turn to its bounds."""
    now_s: float = 0.0
    requests: dict[int, Request] = field(default_factory=dict)
    outcomes: dict[int, str] = field(default_factory=dict)
    running: dict[int, Batch] = field(default_factory=dict)
    proving: dict[int, Probe] = field(default_factory=dict)
    lost: dict[int, Batch | Probe] = field(default_factory=dict)
    """Instance -> what it hangs on."""
    unreplaced: set[int] = field(default_factory=set)
    """Of the lost, those whose successor could not be loaded."""
    began_s: dict[int, float] = field(default_factory=dict)
    hung: int = 0
    late: int = 0
    """Words of instances that were lost."""
    ran: dict[int, int] = field(default_factory=dict)
    """Leader's request id -> times that it was in a batch."""
    wake_at_s: float | None = None
    draining: bool = False

    def value(self, request: Request) -> object:
        return (request.tenant, request.key, self.plane.generation)

    def arrive(self, *requests: Request) -> None:
        for request in requests:
            assert request.id not in self.requests
            self.requests[request.id] = request
        self._deliver(Arrived(requests))

    def finish(self, instance: int, *, bad: int | None = None) -> None:
        """``bad``: position of an item whose value is an error."""
        batch = self.running.pop(instance)
        values = [self.value(r) for r in batch.requests]
        if bad is not None:
            values[bad % batch.size] = EngineError("not finite")
        self._deliver(Finished(batch, instance, tuple(values), 64))

    def fail(self, instance: int) -> None:
        batch = self.running.pop(instance)
        self._deliver(Failed(batch, instance, EngineError("a planted fault")))

    def cancel(self, request_id: int) -> None:
        if request_id in self.requests and request_id not in self.outcomes:
            self.outcomes[request_id] = "cancelled"
        self._deliver(Cancelled(request_id))

    def wake(self) -> None:
        self._deliver(Woke())

    def drain(self) -> None:
        self.draining = True
        self._deliver(Draining())

    def look(self, seconds: float = 1.0) -> None:
        """Time passes, and then somebody looks."""
        self.now_s += seconds
        self._deliver(Looked())

    def prove(self, instance: int) -> None:
        """The canary comes back."""
        self._deliver(Proved(self.proving.pop(instance)))

    def come_back_late(self, instance: int) -> None:
        """What was given up comes back after all: nobody is told anything a second time."""
        work = self.lost[instance]
        values = ("late",) * work.size if isinstance(work, Batch) else ()
        word = Proved(work) if isinstance(work, Probe) else Finished(work, instance, values, 64)
        self.late += 1
        self._deliver(word)

    def replace(self, instance: int) -> None:
        del self.lost[instance]
        self.unreplaced.discard(instance)
        self._deliver(Replaced(instance))

    def fail_to_replace(self, instance: int) -> None:
        self.unreplaced.add(instance)
        self._deliver(NotReplaced(instance))

    def settle(self) -> None:
        """Runs everything to its end, and checks that nothing was lost."""
        while self.running or self.proving or self.lost or self.wake_at_s is not None:
            if self.lost:
                self.replace(next(iter(self.lost)))
            elif self.proving:
                self.prove(next(iter(self.proving)))
            elif self.running:
                self.finish(next(iter(self.running)))
            else:
                self.now_s = max(self.now_s, self.wake_at_s or 0.0)
                self.wake_at_s = None
                self.wake()
        assert set(self.outcomes) == set(self.requests), "everybody was told exactly one thing"
        assert self.plane.in_flight == 0
        assert not self.draining or self.plane.drained
        self.check()

    def check(self) -> None:
        """Counters and gauges agree with what the shell saw."""
        stats = self.plane.stats()
        told = list(self.outcomes.values())
        assert stats.arrived == len(self.requests)
        assert stats.answered == sum(o in ("engine", "cache", "twin") for o in told)
        assert stats.errors == told.count("error")
        assert stats.cancelled == told.count("cancelled")
        assert stats.rejected_total == sum(o.startswith("rejected") for o in told)
        assert stats.in_flight == len(self.requests) - len(told)
        assert stats.busy_instances == len(self.running)
        assert stats.lost_instances == len(self.lost)
        assert stats.hung == self.hung
        assert stats.stale_events == self.late
        assert stats.running == sum(b.size for b in self.running.values())
        assert stats.batches == sum(stats.dispatch_sizes.values())
        assert stats.padded_tokens >= stats.tokens

    def _tell(self, request: Request, outcome: str) -> None:
        assert request.id in self.requests
        assert self.outcomes.get(request.id) is None, f"{request.id} was told twice"
        self.outcomes[request.id] = outcome

    def _deliver(self, event: Event) -> None:
        actions = self.plane.handle(event, self.now_s)
        self._carry_out(actions)
        if self.turns is not None:
            self.turns.after(event, actions)

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Answer():
                    request = action.request
                    if action.error is None:
                        assert action.value == self.value(request), "somebody else's answer"
                        self._tell(request, action.source)
                    else:
                        self._tell(request, "error")
                case Reject():
                    self._tell(action.request, f"rejected: {action.reason}")
                case Run():
                    batch = action.batch
                    assert action.instance not in self.running, "the instance is busy"
                    assert action.instance not in self.proving, "the instance proves itself"
                    assert action.instance not in self.lost, "the instance is lost"
                    lone = self.plane.lone_service is not None
                    assert 0 <= action.instance < self.plane.instances + lone
                    assert 1 <= batch.size <= self.spec.max_requests
                    assert batch.size == 1 or batch.padded_tokens <= self.spec.max_padded_tokens
                    assert len({r.group for r in batch.requests}) == 1
                    if self.isolated:
                        assert len({r.tenant for r in batch.requests}) == 1
                    for request in batch.requests:
                        self.ran[request.id] = self.ran.get(request.id, 0) + 1
                    self.running[action.instance] = batch
                    self.began_s[action.instance] = self.now_s
                case Wake():
                    self.wake_at_s = action.at_s
                case Probe():
                    assert action.instance not in {*self.running, *self.proving, *self.lost}
                    self.proving[action.instance] = action
                    self.began_s[action.instance] = self.now_s
                case Replace():
                    instance = action.instance
                    assert self.now_s - self.began_s[instance] > 4.999, "it had no time"
                    work = self.running.pop(instance, None) or self.proving.pop(instance)
                    self.lost[instance] = work
                    self.hung += 1
        queued, n = self.plane.stats().queued, self.plane.instances
        if len(self.unreplaced - {n}) == n:
            assert queued == 0, "somebody waits for an engine that does not come"
        taken = {*self.running, *self.proving, *self.lost} - {n}
        held = self.wake_at_s is not None and self.now_s < self.wake_at_s
        if n in self.running:
            assert self.running.keys() == {n}, "the lone instance has the machine to itself"
        elif len(taken) < n and not held:
            assert queued == 0, "an instance is free and somebody waits"
