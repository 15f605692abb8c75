"""What others do, behind the same interface: first come first served, a fixed window, AIMD.

``Greedy`` is the batcher of text-embeddings-inference (a batch forms while the instance is busy,
in order of arrival, up to a token budget); ``FixedWindow`` that of LitServe, Ray Serve and MLServer
(wait for a full batch, but no longer than a fixed time); ``AIMD`` that of Clipper, which finds the
largest batch that keeps a latency objective. They are baselines: all look at arrival order alone,
and pad whatever comes together.
"""

from __future__ import annotations

from collections import OrderedDict

from headgate.objects import BatchingSpec
from headgate.workload import Request, ServiceTimeModel

__all__ = ["AIMD", "FixedWindow", "Greedy"]

_DECREASE = 0.9


class Greedy:
    """First come first served: as many as fit the budgets, without regard to padding."""

    def __init__(self, spec: BatchingSpec, *, isolate_tenants: bool = False) -> None:
        self.spec = spec
        self.tokens = 0
        self._most_requests = spec.max_requests
        self._isolate_tenants = isolate_tenants
        self._waiting: OrderedDict[int, Request] = OrderedDict()
        self._groups: dict[tuple[str, str], OrderedDict[int, Request]] = {}

    def add(self, request: Request) -> None:
        """Lets a request wait."""
        assert request.id not in self._waiting, f"request {request.id} already waits"
        self._waiting[request.id] = request
        self._groups.setdefault(self._group(request), OrderedDict())[request.id] = request
        self.tokens += request.tokens

    def remove(self, request_id: int) -> bool:
        """Drops a waiting request; False where it does not wait here."""
        request = self._waiting.pop(request_id, None)
        if request is None:
            return False
        group = self._group(request)
        del self._groups[group][request_id]
        if not self._groups[group]:
            del self._groups[group]
        self.tokens -= request.tokens
        return True

    def next_batch(self, now_s: float, service: ServiceTimeModel) -> tuple[Request, ...] | None:
        """The oldest request and those after it in its group, up to the first misfit."""
        taken = self._peek()
        for request in taken:
            self.remove(request.id)
        return taken or None

    def wake_at_s(self) -> float | None:
        """A free instance never waits."""
        return None

    def oldest(self) -> Request | None:
        """Who has waited longest."""
        return next(iter(self._waiting.values()), None)

    def full(self) -> bool:
        """Whether the next batch is as large as one may be, or its token budget cut it short."""
        taken = self._peek()
        return bool(taken) and (
            len(taken) == self._most_requests
            or len(taken) < len(self._groups[self._group(taken[0])])
        )

    def __len__(self) -> int:
        return len(self._waiting)

    def _group(self, request: Request) -> tuple[str, str]:
        return (request.group, request.tenant if self._isolate_tenants else "")

    def _peek(self) -> tuple[Request, ...]:
        lead = self.oldest()
        if lead is None:
            return ()
        taken: list[Request] = []
        longest = 0
        for request in self._groups[self._group(lead)].values():
            longest = max(longest, request.tokens)
            size = len(taken) + 1
            fits = size <= self._most_requests and size * longest <= self.spec.max_padded_tokens
            if taken and not fits:
                break
            taken.append(request)
        return tuple(taken)


class FixedWindow(Greedy):
    """Waits for a full batch, at most ``max_wait_s`` from the arrival of its oldest request."""

    def __init__(
        self, spec: BatchingSpec, *, max_wait_s: float, isolate_tenants: bool = False
    ) -> None:
        super().__init__(spec, isolate_tenants=isolate_tenants)
        self.max_wait_s = max_wait_s

    def next_batch(self, now_s: float, service: ServiceTimeModel) -> tuple[Request, ...] | None:
        """A full batch, or what there is once the window has passed."""
        due_s = self.wake_at_s()
        if due_s is None or (now_s < due_s and not self.full()):
            return None
        return super().next_batch(now_s, service)

    def wake_at_s(self) -> float | None:
        """When the oldest request's window ends."""
        oldest = self.oldest()
        return None if oldest is None else oldest.arrived_at_s + self.max_wait_s


class AIMD(Greedy):
    """Looks for the largest batch whose call keeps to ``objective_s``: additive increase,
    multiplicative decrease (Crankshaw et al., Clipper, NSDI 2017, section 4.3).

    A batch that is as large as it may be and keeps to the objective lets the next be larger by one
    request; one that does not makes the limit a tenth smaller, as in the paper. The time of a call
    is what the service-time model says, which has learned it from those before.
    """

    def __init__(
        self, spec: BatchingSpec, *, objective_s: float, isolate_tenants: bool = False
    ) -> None:
        super().__init__(spec, isolate_tenants=isolate_tenants)
        self.objective_s = objective_s
        self.limit = 1.0
        self._most_requests = 1

    def next_batch(self, now_s: float, service: ServiceTimeModel) -> tuple[Request, ...] | None:
        """First come first served, up to the limit, which it moves."""
        taken = super().next_batch(now_s, service)
        if taken is not None:
            if service.predict_s(len(taken), max(r.tokens for r in taken)) > self.objective_s:
                self.limit = max(1.0, _DECREASE * self.limit)
            elif len(taken) == self._most_requests:
                self.limit = min(float(self.spec.max_requests), self.limit + 1.0)
            self._most_requests = int(self.limit)
        return taken
