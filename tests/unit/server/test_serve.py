"""Listening: a port that is taken is said to be."""

from __future__ import annotations

import asyncio
import socket

import pytest

from headgate.errors import Busy, Fault
from headgate.server import Limits
from headgate.server.desk import Desk
from headgate.server.grpc import GrpcServer
from headgate.server.serve import bind
from tests.serving import deployment


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


def test_an_address_that_grpc_cannot_have_is_a_fault(capfd: pytest.CaptureFixture[str]) -> None:
    """Another server at a port is not joined in silence, as gRPC does by default."""

    async def two_servers() -> None:
        first = GrpcServer("127.0.0.1:0", lambda: Desk(deployment(), Limits()), Limits())
        with pytest.raises(Fault, match=f"{first.address}.*cannot listen here"):
            GrpcServer(first.address, lambda: Desk(deployment(), Limits()), Limits())

    asyncio.run(two_servers())
    assert "already in use" in capfd.readouterr().err  # gRPC's own words


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 80), ("127.0.0.1", 70_000)])
def test_an_impossible_address_is_a_fault(host: str, port: int) -> None:
    """Not a traceback: what, where, and what to do."""
    with pytest.raises(Fault, match="cannot listen here"):
        bind(host, port)
