"""A transport that sends the head of an answer and its body in one piece.

uvicorn writes them apart, and uvloop sends what is written at once: two system calls, two packets,
and a caller who is woken for a head alone.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Gathered"]


class Gathered:
    """Stands for ``transport``, and keeps what is written until ``flush``, ``close``, or the next
    turn of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self.is_closing = transport.is_closing
        self.abort = transport.abort

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(data)

    def flush(self) -> None:
        """Hands over what was written; nothing where the connection ends without it."""
        pieces = self._pieces
        if pieces:
            self._pieces = []
            if not self.is_closing():
                self._transport.write(b"".join(pieces))

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._pieces))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
