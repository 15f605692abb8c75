"""Requests whose bodies are still coming: given up where they take too long, or at the end.

Nearly every body comes with its head, so that watching it must cost next to nothing: one timer for
all of them, set for the oldest.
"""

from __future__ import annotations

import asyncio

from headgate.server.http import CLOSE, Exchange, HttpError

__all__ = ["Bodies"]


class Bodies:
    """Gives up on what has not come ``timeout_s`` after ``begin``. Use it on one event loop."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._coming: dict[int, tuple[Exchange, float]] = {}  # reservation -> itself, begun at
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, exchange: Exchange) -> None:
        """The body of ``exchange`` is waited for from now on, by its task."""
        loop = asyncio.get_running_loop()
        self._coming[exchange.reservation] = (exchange, loop.time())
        if self._timer is None:
            self._timer = loop.call_later(self._timeout_s, self._look)

    def end(self, exchange: Exchange) -> None:
        """It has come, or nobody waits for it any more."""
        del self._coming[exchange.reservation]

    def refuse(self, error: HttpError) -> None:
        """Gives up on all of them: they get ``error``."""
        for exchange, _ in self._coming.values():
            exchange.give_up(error)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for exchange, begun_s in self._coming.values():  # the oldest first
            left_s = begun_s + self._timeout_s - loop.time()
            if left_s > 0:
                self._timer = loop.call_later(left_s, self._look)
                return
            exchange.give_up(
                HttpError(
                    408, "the body did not arrive in time", code="body_timeout", headers=CLOSE
                )
            )
