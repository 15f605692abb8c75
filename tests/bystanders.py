"""Bystanders of the data plane for tests: what they see of it, they hold to its bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from headgate.batching import BatchPolicy
from headgate.dataplane import Action, Arrived, Cancelled, Event, NotReplaced, Reject
from headgate.objects import BatchingSpec
from headgate.scheduling import due_s
from headgate.workload import Request, ServiceTimeModel

__all__ = ["Turns", "WatchedBatcher"]


class WatchedBatcher:
    """A batch policy in the plane's hands. Behind k others is in one of the next k + 1 batches."""

    def __init__(self, policy: BatchPolicy) -> None:
        self.policy = policy
        self.taken: list[Request] = []
        """Whose turn it was, in order, since ``Turns`` last looked."""
        self._batches = 0
        self._latest: dict[int, int] = {}  # request id -> number of the last batch it may be in

    @property
    def spec(self) -> BatchingSpec:
        return self.policy.spec

    @property
    def tokens(self) -> int:
        return self.policy.tokens

    def add(self, request: Request) -> None:
        self._latest[request.id] = self._batches + len(self.policy) + 1
        self.taken.append(request)
        self.policy.add(request)

    def remove(self, request_id: int) -> bool:
        removed = self.policy.remove(request_id)
        assert removed == (self._latest.pop(request_id, None) is not None)
        return removed

    def next_batch(self, now_s: float, service: ServiceTimeModel) -> tuple[Request, ...] | None:
        formed = self.policy.next_batch(now_s, service)
        if formed is not None:
            self._batches += 1
            for request in formed:
                assert self._latest.pop(request.id) >= self._batches, "overtaken too often"
            assert all(latest > self._batches for latest in self._latest.values()), "starved"
        return formed

    def wake_at_s(self) -> float | None:
        return self.policy.wake_at_s()

    def __len__(self) -> int:
        return len(self.policy)


class Turns:
    """Who waits for a turn, and what every tenant has had. Holds where nothing is cached.

    Within a tenant the turn is of whoever is due first. Of two tenants, while both have somebody
    waiting, what they have had, over their weights, differs by at most the longest request of each
    over its weight (Goyal, Vin and Cheng 1996, theorem 1).
    """

    def __init__(
        self, batcher: WatchedBatcher, *, patience_s: float, weights: Mapping[str, float]
    ) -> None:
        self.taken = 0
        """Turns seen."""
        self.contended = 0
        """Of these, turns while another tenant waited too."""
        self._batcher = batcher
        self._patience_s = patience_s
        self._weights = weights
        self._waiting: dict[str, dict[int, Request]] = {}  # tenant -> its own, by request id
        self._had: Counter[str] = Counter()  # tenant -> tokens
        self._longest: Counter[str] = Counter()  # tenant -> tokens of its longest request
        self._since: dict[frozenset[str], float] = {}  # a pair that waits -> its lead at the start

    def after(self, event: Event, actions: Sequence[Action]) -> None:
        """The plane has handled ``event``: who came, who left, and whose turn it was."""
        if isinstance(event, Arrived):
            refused = {a.request.id for a in actions if isinstance(a, Reject)}
            for request in event.requests:
                if request.id not in refused:
                    self._come(request)
        elif isinstance(event, Cancelled):
            for own in list(self._waiting.values()):
                if event.request_id in own:
                    self._leave(own[event.request_id])
        elif isinstance(event, NotReplaced):  # where nobody is left to run them
            for request in (a.request for a in actions if isinstance(a, Reject)):
                if request.id in self._waiting.get(request.tenant, {}):
                    self._leave(request)
        for request in self._batcher.taken:
            self._take(request)
        self._batcher.taken.clear()

    def _come(self, request: Request) -> None:
        name = request.tenant
        self._longest[name] = max(self._longest[name], request.tokens)
        if name not in self._waiting:
            for other in self._waiting:
                self._since[frozenset((name, other))] = self._lead(name, other)
            self._waiting[name] = {}
        self._waiting[name][request.id] = request

    def _leave(self, request: Request) -> None:
        own = self._waiting[request.tenant]
        del own[request.id]
        if not own:
            del self._waiting[request.tenant]

    def _take(self, request: Request) -> None:
        self.taken += 1
        first = min(self._waiting[request.tenant].values(), key=self._urgency)
        assert request is first, f"{request} went before {first}"
        self._had[request.tenant] += request.tokens
        self.contended += len(self._waiting) > 1
        for one, other in combinations(self._waiting, 2):
            gained = self._lead(one, other) - self._since[frozenset((one, other))]
            bound = sum(self._longest[name] / self._weight(name) for name in (one, other))
            assert abs(gained) <= bound + 1e-6, f"{one} and {other}: {gained} tokens apart"
        self._leave(request)

    def _urgency(self, request: Request) -> tuple[float, int]:
        return due_s(request, patience_s=self._patience_s), request.id

    def _lead(self, one: str, other: str) -> float:
        """What the first of the two, by name, has had over its weight beyond the second."""
        one, other = sorted((one, other))
        return self._had[one] / self._weight(one) - self._had[other] / self._weight(other)

    def _weight(self, name: str) -> float:
        return self._weights.get(name, 1.0)
