"""Who comes next: tenants share the device by tokens, and each tenant's most urgent goes first.

Among tenants it is start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): a tenant's virtual
time advances by tokens over weight with every request that is taken, and the tenant that is
furthest behind is next. One that was away comes back at the virtual time of now, so nobody saves
up. Within a tenant it is earliest due date first (Jackson 1955): a deadline is a due date, and so
is the patience of those who have none, so that nobody waits for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from heapq import heappop, heappush

from headgate.errors import ConfigError
from headgate.workload import Request

__all__ = ["FairQueue", "due_s"]

_FEW_AWAY = 256
"""Tenants who left and may still be ahead: beyond so many, those who are not are forgotten whenever
their number has doubled."""


def due_s(request: Request, *, patience_s: float) -> float:
    """By when a request should have begun, on the clock of its arrival.

    Its deadline, or ``patience_s`` after its arrival where that is sooner; each level of priority
    halves the patience.

    >>> due_s(Request(1, b"k", 8, arrived_at_s=5.0), patience_s=10.0)
    15.0
    >>> due_s(Request(1, b"k", 8, arrived_at_s=5.0, priority=2), patience_s=10.0)
    7.5
    >>> due_s(Request(1, b"k", 8, arrived_at_s=5.0, deadline_s=6.0), patience_s=10.0)
    6.0
    """
    due = request.arrived_at_s + patience_s * 2.0**-request.priority
    return due if request.deadline_s is None else min(due, request.deadline_s)


class _Tenant:
    __slots__ = ("heap", "share", "virtual", "waiting")

    def __init__(self, share: float, virtual: float) -> None:
        self.heap: list[tuple[float, int, Request]] = []  # (due, order of arrival, request)
        self.share = share
        self.virtual = virtual
        self.waiting = 0  # those in the heap that were not removed


class FairQueue:
    """Requests wait here until the batcher has room for them.

    ``weights``: tenant -> its share beside the others; 1 where it is not named. Of two tenants that
    both have somebody waiting, neither gets ahead of the other by more than the tokens of the
    longest request of each, over their weights. Of its own tenant's, a request is overtaken only by
    those that are due before it: without deadlines and priorities by nobody.

    Shares hold among those who were let in: admission comes first, and knows no tenants.

    O(log n) to add and to take, O(tenants) to find who is next. Raises ``ConfigError`` for a weight
    that is not above 0.
    """

    def __init__(self, *, patience_s: float, weights: Mapping[str, float] | None = None) -> None:
        for name, weight in (weights or {}).items():
            if not 0 < weight < math.inf:
                raise ConfigError(
                    f"the weight of tenant {name!r} is {weight:g}",
                    where="weights",
                    fix="write a number above 0",
                )
        self.tokens = 0
        self._patience_s = patience_s
        self._weights = dict(weights or {})
        self._tenants: dict[str, _Tenant] = {}  # those who have somebody waiting
        self._away: dict[str, float] = {}  # virtual time of those who were ahead when they left
        self._prune_at = _FEW_AWAY
        self._waiting: dict[int, tuple[int, Request]] = {}  # request id -> order of arrival, itself
        self._virtual = 0.0
        self._added = 0

    def add(self, request: Request) -> None:
        """Lets a request wait."""
        assert request.id not in self._waiting, f"request {request.id} already waits"
        name = request.tenant
        tenant = self._tenants.get(name)
        if tenant is None:
            behind = max(self._virtual, self._away.pop(name, 0.0))
            tenant = _Tenant(self._weights.get(name, 1.0), behind)
            self._tenants[name] = tenant
        self._added += 1
        heappush(tenant.heap, (due_s(request, patience_s=self._patience_s), self._added, request))
        self._waiting[request.id] = (self._added, request)
        tenant.waiting += 1
        self.tokens += request.tokens

    def remove(self, request_id: int) -> bool:
        """Drops a waiting request; False where it does not wait here."""
        entry = self._waiting.get(request_id)
        if entry is None:
            return False
        # It stays in the heap until its turn would come: many that are removed must cost little.
        self._leave(entry[1])
        return True

    def take(self) -> Request | None:
        """The next request, which waits no longer; None where nobody waits."""
        if not self._tenants:
            return None
        tenant = min(self._tenants.values(), key=lambda tenant: tenant.virtual)
        while True:
            _, order, request = heappop(tenant.heap)
            if self._waiting.get(request.id, (0,))[0] == order:
                break  # the others were removed
        self._virtual = tenant.virtual
        tenant.virtual += request.tokens / tenant.share
        self._leave(request)
        return request

    def __len__(self) -> int:
        return len(self._waiting)

    def _leave(self, request: Request) -> None:
        name = request.tenant
        tenant = self._tenants[name]
        del self._waiting[request.id]
        self.tokens -= request.tokens
        tenant.waiting -= 1
        if tenant.waiting:
            return
        del self._tenants[name]
        if not self._tenants:  # a busy period is over: nobody is ahead of anybody
            self._virtual = max(tenant.virtual, *self._away.values(), self._virtual)
            self._away.clear()
            self._prune_at = _FEW_AWAY
            return
        # Who is ahead stays ahead, or leaving and coming back would be a way to jump the queue.
        self._away[name] = tenant.virtual
        if len(self._away) > self._prune_at:
            self._away = {n: v for n, v in self._away.items() if v > self._virtual}
            self._prune_at = max(_FEW_AWAY, 2 * len(self._away))
