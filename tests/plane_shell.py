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
    Reject,
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

    def settle(self) -> None:
        """Runs everything to its end, and checks that nothing was lost."""
        while self.running or self.wake_at_s is not None:
            if self.running:
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
                    assert 0 <= action.instance < self.plane.instances
                    assert 1 <= batch.size <= self.spec.max_requests
                    assert batch.size == 1 or batch.padded_tokens <= self.spec.max_padded_tokens
                    assert len({r.group for r in batch.requests}) == 1
                    if self.isolated:
                        assert len({r.tenant for r in batch.requests}) == 1
                    for request in batch.requests:
                        self.ran[request.id] = self.ran.get(request.id, 0) + 1
                    self.running[action.instance] = batch
                case Wake():
                    self.wake_at_s = action.at_s
        stats = self.plane.stats()
        held = self.wake_at_s is not None and self.now_s < self.wake_at_s
        if stats.busy_instances < self.plane.instances and not held:
            assert stats.queued == 0, "an instance is free and somebody waits"
