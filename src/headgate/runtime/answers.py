"""What a caller of the live plane gets: its answers, or why there are none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from headgate.errors import Fault
from headgate.workload import Encoded, Request

__all__ = ["REASONS", "Answers", "Carried", "Rejected"]


class Rejected(Fault):
    """Not admitted, or not answered in time; ``reason`` is the data plane's.

    ``queue_full``, ``predicted_wait``, ``deadline``, ``draining`` or ``no_engine``; of the server's
    reservations ``bytes_full``, ``tokens_full`` or ``too_large``.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(_WORDS.get(reason, reason), reason=reason)
        self.retry_after_s = retry_after_s


_WORDS = {
    "queue_full": "the queue is full",
    "predicted_wait": "the predicted wait is too long",
    "deadline": "the answer could not be given before the deadline",
    "draining": "the server is shutting down",
    "no_engine": "every engine hangs, and none could be loaded in its place",
    "bytes_full": "too many bytes of other requests are still to be read",
    "tokens_full": "too many tokens of other requests are still to be answered",
    "too_large": "the request alone is more than the server may hold at a time",
}

REASONS = tuple(_WORDS)


class Answers:
    """The answers to one call of ``submit``, in the order of its items.

    ``started_s`` and ``finished_s`` are the first start and the last end of the engine calls that
    the items took part in, on the plane's clock; None where a cache or a twin answered them all.
    """

    __slots__ = (
        "_left",
        "arrived_s",
        "batch_size",
        "finished_s",
        "future",
        "requests",
        "sources",
        "started_s",
        "values",
    )

    def __init__(self, size: int, arrived_s: float, future: asyncio.Future[Answers]) -> None:
        self.values: list[object] = [None] * size
        self.sources: list[str] = [""] * size
        self.requests: list[Carried] = []
        self.arrived_s = arrived_s
        self.started_s: float | None = None
        self.finished_s: float | None = None
        self.batch_size = 0
        """Of the last batch that one of the items ran in."""
        self.future = future
        self._left = size

    @property
    def source(self) -> str:
        """What the slowest item came from: ``engine``, else ``twin``, else ``cache``."""
        return next((s for s in ("engine", "twin") if s in self.sources), "cache")

    def ran(self, started_s: float, finished_s: float, batch_size: int) -> None:
        """Notes an engine call that one of the items was part of."""
        if self.started_s is None or started_s < self.started_s:
            self.started_s = started_s
        self.finished_s = finished_s
        self.batch_size = batch_size

    def give_up(self) -> int:
        """Nothing more is given, whatever comes; how many items were not."""
        left, self._left = self._left, 0
        return left

    def give(self, index: int, value: object, source: str) -> None:
        """Stores one answer; the last one wakes the caller."""
        self.values[index] = value
        self.sources[index] = source
        self._left -= 1
        if not self._left:
            self.future.set_result(self)


@dataclass(frozen=True, slots=True)
class Carried(Request):
    """A request with what only the shell knows: its payload, and whom to answer.

    The data plane hands requests back as it got them, so the payload lives exactly as long as the
    plane keeps the request, and there is no table to look it up in or to leak.
    """

    payload: Encoded = field(kw_only=True, compare=False, repr=False)
    call: Answers = field(kw_only=True, compare=False, repr=False)
    index: int = field(kw_only=True, compare=False)
