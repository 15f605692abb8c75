"""The batcher that serves: work-conserving, by tokens, length-aware, without overtaking for ever.

A batch is a window of the length-sorted queue around the oldest request. The oldest always leads,
so a request that waits behind k others is in one of the next k + 1 batches, whatever its length.
Its neighbours in length join while that pays: while the batch takes less longer than the
neighbour would take alone.

Knows nothing of deadlines and priorities: order is ``scheduling``'s work.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict

from headgate.objects import BatchingSpec
from headgate.workload import Request, ServiceTimeModel

__all__ = ["TokenBudgetBatcher"]

_Entry = tuple[int, int, Request]
"""(tokens, order of arrival, request): sorts by length, then by age, and never by request."""


class TokenBudgetBatcher:
    """Batches within ``spec``: requests, padded tokens, share of padding.

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

    def add(self, request: Request) -> None:
        """Lets a request wait."""
        assert request.id not in self._by_age, f"request {request.id} already waits"
        self._added += 1
        entry = (request.tokens, self._added, request)
        self._by_age[request.id] = entry
        insort(self._by_length.setdefault(self._group(request), []), entry)
        self.tokens += request.tokens

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
        """The oldest request and the neighbours that are cheaper with it than alone."""
        if not self._by_age:
            return None
        lead = next(iter(self._by_age.values()))
        group = self._group(lead[2])
        queue = self._by_length[group]
        at = bisect_left(queue, lead)
        first, end = self._window(queue, at, service)

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

    def wake_at_s(self) -> None:
        """A free instance never waits."""
        return

    def __len__(self) -> int:
        return len(self._by_age)

    def _group(self, request: Request) -> tuple[str, str]:
        return (request.group, request.tenant if self._isolate_tenants else "")

    def _window(self, queue: list[_Entry], at: int, service: ServiceTimeModel) -> tuple[int, int]:
        """Grows ``[first, end)`` around ``at``, at each step on the side that pads less."""
        first, end = at, at + 1
        size, longest, tokens = 1, queue[at][0], queue[at][0]
        if self.spec.max_requests == 1:
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
                padded = (size + 1) * new_longest
                if (
                    padded > self.spec.max_padded_tokens
                    or padded - tokens - length > self.spec.max_padding_share * padded
                ):
                    continue
                new_seconds = service.predict_s(size + 1, new_longest)
                if new_seconds - seconds > service.predict_s(1, length):
                    continue  # cheaper alone
                size, longest, tokens, seconds = size + 1, new_longest, tokens + length, new_seconds
                first, end = min(first, position), max(end, position + 1)
                break
            else:
                break
        return first, end
