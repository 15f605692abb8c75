"""A connection whose caller does not read; those who do not speak are in ``tests/e2e``."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import uvicorn
from uvicorn.server import ServerState

from headgate.server.connection import Connection


class Transport(asyncio.Transport):
    """Holds ``unread`` bytes that its peer does not take."""

    def __init__(self, unread: int) -> None:
        super().__init__()
        self.unread = unread
        self.ended = ""

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


@pytest.mark.parametrize(("unread", "ended"), [(0, "closed"), (100, "aborted")])
def test_an_idle_connection_is_not_kept_for_what_nobody_reads(unread: int, ended: str) -> None:
    """Closing would wait until the last bytes are taken, and hold the file as long."""

    async def scenario() -> None:
        given_up: Counter[str] = Counter()
        transport = Transport(unread)
        connection = Connection(
            uvicorn.Config(None),
            ServerState(),
            {},
            idle_timeout_s=1e6,
            given_up=lambda reason: given_up.update([reason]),
        )
        connection.connection_made(transport)
        connection.timeout_keep_alive_handler()
        assert transport.ended == ended
        assert given_up == ({"unread": 1} if unread else {})
        connection.connection_lost(None)

    asyncio.run(scenario())
