"""Traces: one record a request, kept in a bounded ring and written off the request path.

Recording costs an append. Once a second what has gathered goes, in one batch and on a thread, to
a sink that is passed in. What does not fit is dropped, and every drop is counted.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from headgate.runtime.metrics import Metrics

__all__ = ["Sink", "Trace", "TraceLog"]

Sink = Callable[[Sequence[bytes]], None]
"""Writes a batch of traces, a JSON object each; called on a thread, one call at a time."""


class Trace(msgspec.Struct, frozen=True, gc=False):
    """What one request went through. Times are seconds; the phases add up to ``total_s``."""

    request_id: str
    at: datetime
    """Of arrival, in UTC."""
    tenant: str
    status: int
    source: str
    items: int
    tokens: int
    batch_size: int
    """Of the engine call that answered; 0 where none did."""
    read_s: float
    """Reading and decoding the body."""
    encode_s: float
    """Tokenizing, or checking tensors."""
    queue_s: float
    """From encoded to the start of the engine call, or to the answer where there was no call."""
    engine_s: float
    respond_s: float
    """From the end of the engine call to the answer's last byte handed over."""
    total_s: float
    device_s: float
    """This request's share of the engine call: what attributed cost is charged by."""


class TraceLog:
    """``ids`` are the versions that all records of a deployment share: release, build ...

    Without a sink traces stay in the ring alone.
    """

    def __init__(
        self,
        ids: Mapping[str, str],
        metrics: Metrics,
        sink: Sink | None = None,
        *,
        ring: int = 10_000,
        max_pending: int = 10_000,
        flush_interval_s: float = 1.0,
    ) -> None:
        self._encoder = msgspec.json.Encoder()
        self._head = self._encoder.encode(dict(ids))[:-1] + (b"," if ids else b"")
        self._metrics = metrics
        self._sink = sink
        self._ring: deque[Trace] = deque(maxlen=ring)
        self._unseen = 0
        self._pending: list[Trace] = []
        self._max_pending = max_pending
        self._flush_interval_s = flush_interval_s
        self._flushing: asyncio.Task[None] | None = None

    def record(self, trace: Trace) -> None:
        self._ring.append(trace)
        self._unseen += 1
        if self._sink is not None:
            if len(self._pending) < self._max_pending:
                self._pending.append(trace)
            else:
                self._metrics.traces_dropped += 1

    def recent(self) -> list[dict[str, object]]:
        """The latest records, oldest first."""
        return [msgspec.json.decode(self._line(trace)) for trace in self._ring]

    def unseen(self) -> list[Trace]:
        """Those since this was last asked, oldest first: as many of them as the ring holds."""
        first, self._unseen = len(self._ring) - self._unseen, 0
        return list(itertools.islice(self._ring, max(0, first), None))

    def start(self) -> None:
        """Begins to write; needs a running event loop."""
        if self._sink is not None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush_forever())

    async def close(self) -> None:
        """Writes what is left."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait([self._flushing])
            await self._flush()

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(self._flush_interval_s)
            # A write that has begun is finished: cancelling must not lose its batch.
            await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending and self._sink is not None:
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(None, self._write, self._sink, pending)
            except Exception:  # a full disk must not stop serving; the loss is counted
                self._metrics.traces_dropped += len(pending)

    def _write(self, sink: Sink, traces: Sequence[Trace]) -> None:
        sink([self._line(trace) for trace in traces])

    def _line(self, trace: Trace) -> bytes:
        """As JSON, with the ids. They are encoded once: writing a trace competes with serving for
        the interpreter, on whatever thread it is done."""
        return self._head + self._encoder.encode(trace)[1:]
