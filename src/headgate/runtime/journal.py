"""Entries on their way into the ledger: in order, off the event loop, as often as it takes.

A disk that is full, or a database that another process holds, keeps an entry waiting and nothing
else; each failure is counted. Once nothing waits any more, what was written is signed. Use it on
one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping

from headgate.errors import Fault, Tampered
from headgate.ledger import Store
from headgate.runtime.metrics import Metrics

__all__ = ["Journal"]

_MOST = 1_000
"""Entries that wait. What comes beyond is lost, and counted: memory ends too."""
_log = logging.getLogger("headgate.runtime")

Body = Callable[[], Mapping[str, object]]
"""Called when its turn has come: by then the ids of earlier entries are known."""


class Journal:
    """``write`` what is to be recorded; ``close`` gives what still waits a little time."""

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        *,
        pause_s: float = 1.0,
        sign: Callable[[], object] | None = None,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._pause_s = pause_s
        self._sign = sign
        self._waiting: deque[tuple[str, Body, asyncio.Future[str | None]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    def write(self, kind: str, body: Body) -> asyncio.Future[str | None]:
        """The entry's id, once it is durable; None for one that could not be kept."""
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= _MOST:
            self._lost(kind, "too many entries wait for the ledger", done)
            return done
        self._waiting.append((kind, body, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        return done

    async def close(self, within_s: float = 5.0) -> None:
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=within_s)
            self._writing.cancel()
        while self._waiting:
            kind, _, done = self._waiting.popleft()
            self._lost(kind, "the server ended", done)

    async def _write_all(self) -> None:
        while self._waiting:
            kind, body, done = self._waiting[0]
            try:
                entry = await asyncio.to_thread(self._store.append, kind, body())
            except (Fault, Tampered, OSError) as error:  # by the next time it may be mended
                self._metrics.watch_failures["ledger"] += 1
                _log.error("the ledger does not take the %s, which waits: %s", kind, error)
                await asyncio.sleep(self._pause_s)
            except Exception as error:  # such as what has no canonical form: it never will
                self._waiting.popleft()
                self._lost(kind, str(error), done)
            else:
                self._waiting.popleft()
                done.set_result(entry.id)
            if not self._waiting and self._sign is not None:
                await self._signed(self._sign)

    async def _signed(self, sign: Callable[[], object]) -> None:
        """Where that fails, what is on record stands, and the next signature covers it."""
        try:
            await asyncio.to_thread(sign)
        except Exception as error:
            self._metrics.watch_failures["signing"] += 1
            _log.error("what is on record is not signed: %s", error)

    def _lost(self, kind: str, why: str, done: asyncio.Future[str | None]) -> None:
        self._metrics.watch_failures["lost"] += 1
        _log.error("the %s is not on record: %s", kind, why)
        if not done.done():
            done.set_result(None)
