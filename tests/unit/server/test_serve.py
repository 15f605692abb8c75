"""Listening: a port that is taken is said to be."""

from __future__ import annotations

import socket

import pytest

from headgate.errors import Busy, Fault
from headgate.server.serve import bind


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Every loop switches Nagle's algorithm off for what is known to be TCP; asyncio's asks the
    socket, and would take 40 ms for each answer on a connection that is kept."""
    with bind("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_port_in_use_is_busy() -> None:
    """Exit code 1, the address, and what to do."""
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Busy, match=f"127.0.0.1:{port}.*another process"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 80), ("127.0.0.1", 70_000)])
def test_an_impossible_address_is_a_fault(host: str, port: int) -> None:
    """Not a traceback: what, where, and what to do."""
    with pytest.raises(Fault, match="cannot listen here"):
        bind(host, port)
