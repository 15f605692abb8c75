"""What is written in one turn of the event loop is sent in one piece, and nothing is lost."""

from __future__ import annotations

import asyncio

from headgate.server.gathered import Gathered


class Wire(asyncio.Transport):
    """Keeps the pieces that reach it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.pieces.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return 10


def after_a_turn(wire: Wire, *, then: str = "") -> list[bytes]:
    """Writes a head and a body, calls the method ``then``, and lets the loop turn once."""

    async def scenario() -> None:
        transport = Gathered(wire, asyncio.get_running_loop())
        transport.write(b"head ")
        transport.write(b"body")
        assert (wire.pieces, transport.get_write_buffer_size()) == ([], 19)
        if then:
            getattr(transport, then)()
        await asyncio.sleep(0)

    asyncio.run(scenario())
    return wire.pieces


def test_a_head_and_its_body_are_one_piece() -> None:
    """At the next turn at the latest, once."""
    assert after_a_turn(Wire()) == [b"head body"]
    assert after_a_turn(Wire(), then="flush") == [b"head body"]


def test_closing_sends_what_was_written() -> None:
    """An error is written and the connection closed at once: the caller reads it."""
    wire = Wire()
    assert after_a_turn(wire, then="close") == [b"head body"]
    assert wire.closed


def test_what_an_aborted_connection_had_to_say_is_dropped() -> None:
    """Nobody is there: writing would be an error."""
    assert after_a_turn(Wire(), then="abort") == []


def test_everything_else_is_the_transports_own() -> None:
    """uvicorn asks it for the socket, and pauses reading."""

    async def scenario() -> object:
        return Gathered(Wire(), asyncio.get_running_loop()).get_extra_info("peername")

    assert asyncio.run(scenario()) == ("127.0.0.1", 1)
