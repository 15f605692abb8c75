"""Who comes next: tenants share the device by tokens, and each tenant's most urgent goes first.

Among tenants it is start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): a tenant's virtual
time advances by tokens over weight with every request that is taken, and the tenant that is
furthest behind is next. One that was away comes back at the virtual time of now, so nobody saves
up. Within a tenant it is earliest due date first (Jackson 1955): a deadline is a due date, and so
is the patience of those who have none, so that nobody waits for ever.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
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


_Entry = tuple[float, int, Request]  # (due, order of arrival, request)


class _Tenant:
    __slots__ = ("heap", "patient", "share", "tokens", "virtual", "waiting")

    def __init__(self, share: float, virtual: float) -> None:
        self.heap: list[_Entry] = []
        self.share = share
        self.virtual = virtual
        self.waiting = self.tokens = 0  # of those in the heap that were not removed
        self.patient: list[float] = []  # due dates of those of them without a deadline, sorted


class FairQueue:
    """Requests wait here until the batcher has room for them.

    ``weights``: tenant -> its share beside the others; 1 where it is not named. Of two tenants that
    both have somebody waiting, neither gets ahead of the other by more than the tokens of the
    longest request of each, over their weights. Of its own tenant's, a request is overtaken only by
    those that are due before it: without deadlines and priorities by nobody.

    Shares hold among those who were let in: admission comes first.

    O(log n) to add and to take, apart from one memory move, and O(tenants) to find who is next or
    what is ahead. Raises ``ConfigError`` for a weight
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
        self._waiting: dict[int, _Entry] = {}  # by request id
        self._virtual = 0.0
        self._added = 0

    def add(self, request: Request) -> None:
        """Lets a request wait."""
        assert request.id not in self._waiting, f"request {request.id} already waits"
        name = request.tenant
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = self._newcomer(name)
            self._away.pop(name, None)
        self._added += 1
        entry = (due_s(request, patience_s=self._patience_s), self._added, request)
        heappush(tenant.heap, entry)
        if request.deadline_s is None:
            insort(tenant.patient, entry[0])
        self._waiting[request.id] = entry
        tenant.waiting += 1
        tenant.tokens += request.tokens
        self.tokens += request.tokens

    def remove(self, request_id: int) -> bool:
        """Drops a waiting request; False where it does not wait here."""
        entry = self._waiting.get(request_id)
        if entry is None:
            return False
        # It stays in the heap until its turn would come: many that are removed must cost little.
        self._leave(entry)
        return True

    def company_of(self, tenant: str) -> tuple[int, int]:
        """How many of ``tenant`` wait, and how many tenants wait, this one counted."""
        own = self._tenants.get(tenant)
        return (own.waiting, len(self._tenants)) if own else (0, len(self._tenants) + 1)

    def ahead_of(self, call: Sequence[Request]) -> tuple[int, int]:
        """What would be taken before the last of ``call``, one tenant's, were it added now and
        nothing after it: requests, and their tokens; itself apart.

        Of its own tenant: who is due before it, and everybody with a deadline, due before it or
        not: a promise was made to them, and they keep it only if nobody takes their time. Of
        another tenant: what starts, in virtual time, no later than the last of the call, which is
        its share of that time and at most one request more. What is not whole counts at the mean
        length of its tenant.
        """
        if not self._tenants:
            return 0, 0
        name = call[0].tenant
        own = self._tenants.get(name) or self._newcomer(name)
        due = due_s(call[0], patience_s=self._patience_s)
        overtaken = len(own.patient) - bisect_right(own.patient, due)
        requests = float(own.waiting - overtaken)
        tokens = requests / own.waiting * own.tokens if overtaken else float(own.tokens)
        if len(self._tenants) > 1 or not own.waiting:
            its_own = tokens + sum(request.tokens for request in call[:-1])
            starts = own.virtual + its_own / own.share
            for tenant in self._tenants.values():
                if tenant is own or tenant.virtual > starts:
                    continue
                mean = tenant.tokens / tenant.waiting
                before = min(tenant.tokens, (starts - tenant.virtual) * tenant.share + mean)
                requests += before / mean
                tokens += before
        return math.ceil(requests), math.ceil(tokens)

    def take(self) -> Request | None:
        """The next request, which waits no longer; None where nobody waits."""
        if not self._tenants:
            return None
        tenant = min(self._tenants.values(), key=lambda tenant: tenant.virtual)
        while True:
            entry = heappop(tenant.heap)
            request = entry[2]
            if self._waiting.get(request.id) is entry:
                break  # the others were removed
        self._virtual = tenant.virtual
        tenant.virtual += request.tokens / tenant.share
        self._leave(entry)
        return request

    def __len__(self) -> int:
        return len(self._waiting)

    def _newcomer(self, name: str) -> _Tenant:
        """As a tenant that has nobody waiting would come back."""
        virtual = max(self._virtual, self._away.get(name, 0.0))
        return _Tenant(self._weights.get(name, 1.0), virtual)

    def _leave(self, entry: _Entry) -> None:
        due, _, request = entry
        name = request.tenant
        tenant = self._tenants[name]
        del self._waiting[request.id]
        if request.deadline_s is None:
            del tenant.patient[bisect_left(tenant.patient, due)]
        self.tokens -= request.tokens
        tenant.tokens -= request.tokens
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
