"""The batcher that serves: by tokens, length-aware, without overtaking for ever.

A batch is a window of the length-sorted queue around the oldest request. The oldest always leads,
so a request that waits behind k others is in one of the next k + 1 batches, whatever its length.
Its neighbours in length join while that pays: while the batch takes no more longer for it than its
share would be of a batch as large of its own length (for the first to join: than it takes alone).
So padding needs no bound of its own.

Where even a full batch of the oldest's length would be cheaper a head by less than 5 %, it runs
alone: company would only add latency.

A free instance gets its batch at once, unless ``max_wait_s`` allows the oldest to wait for company
and waiting pays: as many as are expected to arrive until then would make each request in the batch
cheaper by 5 %. Where hardly anybody arrives, or a larger batch is no cheaper, nobody waits.

Knows nothing of deadlines and priorities: order is ``scheduling``'s work, and who must not be held
the data plane's.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict, deque

from headgate.objects import BatchingSpec
from headgate.workload import Request, ServiceTimeModel

__all__ = ["MIN_SPEED_UP", "TokenBudgetBatcher", "company_pays"]

MIN_SPEED_UP = 1.05
"""Below this, company is not worth the latency that it adds."""

_Entry = tuple[int, int, Request]
"""(tokens, order of arrival, request): sorts by length, then by age, and never by request."""
_RECENT = 32
"""Arrivals that a group's arrival rate is taken from."""
_MOST_GROUPS = 64
"""Groups whose arrivals are remembered, the latest."""


def company_pays(spec: BatchingSpec, tokens: int, service: ServiceTimeModel) -> bool:
    """Whether a full batch of ``tokens`` each is cheaper a head than one alone, by
    ``MIN_SPEED_UP``.

    >>> from headgate.workload import ServiceCurve
    >>> spec = BatchingSpec(max_requests=8, max_padded_tokens=512)
    >>> company_pays(spec, 16, ServiceCurve(1e-3, 0.0, 1e-4, 0.0))  # eight: 13.8 ms, not 20.8
    True
    >>> company_pays(spec, 128, ServiceCurve(1e-3, 0.0, 1e-4, 0.0))  # four: 52.2 ms, not 55.2
    True
    >>> company_pays(spec, 16, ServiceCurve(1e-5, 0.0, 1e-4, 0.0))
    False
    """
    size = min(spec.max_requests, spec.max_padded_tokens // tokens)
    if size < 2:
        return False
    return MIN_SPEED_UP * service.predict_s(size, tokens) <= size * service.predict_s(1, tokens)


class TokenBudgetBatcher:
    """Batches within ``spec``: requests and padded tokens.

    ``isolate_tenants``: requests of different tenants never meet, for builds whose answers depend
    on their neighbours.

    O(log n) to add, and O(log n + size) for a batch, apart from one memory move.
    """

    def __init__(self, spec: BatchingSpec, *, isolate_tenants: bool = False) -> None:
        self.spec = spec
        self.tokens = 0
        self._isolate_tenants = isolate_tenants
        self._by_age: OrderedDict[int, _Entry] = OrderedDict()  # request id -> entry, oldest first
        self._by_length: dict[tuple[str, str], list[_Entry]] = {}  # group -> entries, sorted
        self._added = 0
        self._recent_s: OrderedDict[str, deque[float]] = OrderedDict()  # group -> arrivals
        self._held_until_s: float | None = None

    def add(self, request: Request) -> None:
        """Lets a request wait."""
        assert request.id not in self._by_age, f"request {request.id} already waits"
        self._added += 1
        entry = (request.tokens, self._added, request)
        self._by_age[request.id] = entry
        insort(self._by_length.setdefault(self._group(request), []), entry)
        self.tokens += request.tokens
        if self.spec.max_wait_s > 0:
            self._note(request)

    def remove(self, request_id: int) -> bool:
        """Drops a waiting request; False where it does not wait here."""
        entry = self._by_age.pop(request_id, None)
        if entry is None:
            return False
        group = self._group(entry[2])
        queue = self._by_length[group]
        del queue[bisect_left(queue, entry)]
        if not queue:
            del self._by_length[group]
        self.tokens -= entry[0]
        return True

    def next_batch(self, now_s: float, service: ServiceTimeModel) -> tuple[Request, ...] | None:
        """The oldest request and the neighbours that are cheaper with it than alone; None where
        nobody waits, or where they wait for more."""
        self._held_until_s = None
        if not self._by_age:
            return None
        lead = next(iter(self._by_age.values()))
        group = self._group(lead[2])
        queue = self._by_length[group]
        at = bisect_left(queue, lead)
        first, end = self._window(queue, at, service)
        due_s = lead[2].arrived_at_s + self.spec.max_wait_s
        if now_s < due_s and self._waiting_pays(queue[first:end], now_s, due_s, service):
            self._held_until_s = due_s
            return None

        # Within one length the older goes first: the cut through the shortest length keeps its
        # youngest waiting, not its oldest.
        same = bisect_left(queue, (queue[first][0],))
        same_end = bisect_left(queue, (queue[first][0] + 1,), lo=first)
        if same < first and same_end <= at:
            taken = queue[same : same + same_end - first] + queue[same_end:end]
            del queue[same_end:end]
            del queue[same : same + same_end - first]
        else:
            taken = queue[first:end]
            del queue[first:end]
        if not queue:
            del self._by_length[group]
        for _, _, request in taken:
            del self._by_age[request.id]
            self.tokens -= request.tokens
        return tuple(entry[2] for entry in taken)

    def wake_at_s(self) -> float | None:
        """When the oldest has waited long enough; None where nobody is held back."""
        return self._held_until_s

    def __len__(self) -> int:
        return len(self._by_age)

    def _group(self, request: Request) -> tuple[str, str]:
        return (request.group, request.tenant if self._isolate_tenants else "")

    def _note(self, request: Request) -> None:
        """Remembers when requests of a group arrive; the items of one call arrive once, and they
        come here in turns with those of other calls."""
        recent = self._recent_s.setdefault(request.group, deque(maxlen=_RECENT))
        if not recent or request.arrived_at_s > recent[-1]:
            recent.append(request.arrived_at_s)
        self._recent_s.move_to_end(request.group)
        if len(self._recent_s) > _MOST_GROUPS:
            self._recent_s.popitem(last=False)

    def _waiting_pays(
        self, window: list[_Entry], now_s: float, due_s: float, service: ServiceTimeModel
    ) -> bool:
        """Whether those who are expected until ``due_s`` would make the batch cheaper a head.

        Taken to be as long as the longest, so that the gain is that of company alone. Nobody is
        held where tenants are kept apart, since most who come are strangers then, nor while as
        many wait as one batch may hold.
        """
        size, longest = len(window), window[-1][0]
        room = min(self.spec.max_requests, self.spec.max_padded_tokens // longest) - size
        recent = self._recent_s.get(window[0][2].group)
        enough = len(self) >= self.spec.max_requests
        if enough or room < 1 or recent is None or len(recent) < 2 or self._isolate_tenants:
            return False
        if now_s < recent[-1]:  # the clock went back: nobody knows how many come
            return False
        rate_per_s = (len(recent) - 1) / (now_s - recent[0])
        company = min(room, int(rate_per_s * (due_s - now_s)))
        together_s = service.predict_s(size + company, longest) / (size + company)
        return MIN_SPEED_UP * together_s < service.predict_s(size, longest) / size

    def _window(self, queue: list[_Entry], at: int, service: ServiceTimeModel) -> tuple[int, int]:
        """Grows ``[first, end)`` around ``at``, at each step on the side that pads less."""
        first, end = at, at + 1
        size, longest = 1, queue[at][0]
        if not company_pays(self.spec, longest, service):
            return first, end
        seconds = service.predict_s(1, longest)
        while size < self.spec.max_requests:
            # Padding that the neighbour on either side adds: its own, or everybody else's.
            below = longest - queue[first - 1][0] if first > 0 else math.inf
            above = size * (queue[end][0] - longest) if end < len(queue) else math.inf
            for position in (end, first - 1) if above <= below else (first - 1, end):
                if not 0 <= position < len(queue):
                    continue
                length = queue[position][0]
                new_longest = max(longest, length)
                if (size + 1) * new_longest > self.spec.max_padded_tokens:
                    continue
                new_seconds = service.predict_s(size + 1, new_longest)
                if new_seconds - seconds > service.predict_s(size, length) / size:
                    continue  # cheaper among its like
                size, longest, seconds = size + 1, new_longest, new_seconds
                first, end = min(first, position), max(end, position + 1)
                break
            else:
                break
        return first, end
