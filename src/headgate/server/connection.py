"""A connection of a caller: given up where the caller neither asks nor listens, and heard when the
caller hangs up.

uvicorn bounds how long a connection may be idle between two requests. It waits for ever for a head
that never comes whole, and for a caller who never reads; either holds a file, and an unread answer
its bytes. That a caller has gone it tells those who go on reading, which takes a task a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headgate.server.gathered import Gathered
from headgate.server.http import CONNECTION

__all__ = ["Connection"]


class Connection(HttpToolsProtocol):  # type: ignore[misc]  # untyped library
    """Speaks HTTP/1.1. ``given_up`` is told why it was not worth keeping: ``head`` where no whole
    head came within ``idle_timeout_s``, ``unread`` where an answer was not taken in that time.

    It is the ``CONNECTION`` of its requests: ``hung_up`` is called when it is lost.
    """

    def __init__(
        self,
        *args: Any,
        idle_timeout_s: float,
        given_up: Callable[[str], None],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._idle_timeout_s = idle_timeout_s
        self._given_up = given_up
        self.hung_up: Callable[[], None] | None = None
        self._extensions = {CONNECTION: self}
        self._head_due: asyncio.TimerHandle | None = None
        self._answer_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(Gathered(transport, self.loop))
        self._head_due = self._give_up_later("head")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:  # it did not make a request whole
            if self._head_due is None:
                self._head_due = self._give_up_later("head")
        elif self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = self._extensions

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self.pipeline:  # a long body had reading paused, and a hang-up is read
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        self.transport.flush()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """More is unread than is worth buffering."""
        super().pause_writing()
        self._answer_due = self._give_up_later("unread")

    def resume_writing(self) -> None:
        """Nearly all of it was read."""
        super().resume_writing()
        if self._answer_due is not None:
            self._answer_due.cancel()
            self._answer_due = None

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked since the last answer. Closing alone would wait until that is read."""
        if self.transport.get_write_buffer_size():
            self._give_up("unread")
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wait_no_longer()
        if self.hung_up is not None:
            self.hung_up()

    def _give_up_later(self, reason: str) -> asyncio.TimerHandle:
        handle: asyncio.TimerHandle = self.loop.call_later(
            self._idle_timeout_s, self._give_up, reason
        )
        return handle

    def _give_up(self, reason: str) -> None:
        self._wait_no_longer()
        self._given_up(reason)
        self.transport.abort()

    def _wait_no_longer(self) -> None:
        self._unset_keepalive_if_required()
        for due in (self._head_due, self._answer_due):
            if due is not None:
                due.cancel()
