"""LoadGen's client: when a query is complete, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections import deque
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"
FULL = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"
JOB = {"host": "127.0.0.1", "path": "/ask", "bodies": ["hello", "again"]}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a LoadGen that puts completed queries into a queue."""
    completed: asyncio.Queue[int] = asyncio.Queue()
    fake = SimpleNamespace(
        QuerySampleResponse=lambda query, data, size: query,
        QuerySamplesComplete=lambda queries: completed.put_nowait(*queries),
        completed=completed,
    )
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", fake)
    script = importlib.import_module("benchmarks.serving.peers.loadgen_client")
    monkeypatch.setattr(script, "mlperf_loadgen", fake)
    return script


class Wire:
    """A transport and a client at once: what was written and what was completed."""

    def __init__(self, module: ModuleType) -> None:
        self.idle: deque[Any] = deque()
        self.completed: list[tuple[int, bool]] = []
        self.written: list[bytes] = []
        self.aborted = False
        self.connection = module.Connection(self)
        self.connection.connection_made(self)

    def complete(self, query: int, good: bool) -> None:
        self.completed.append((query, good))

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


def test_a_query_is_complete_with_the_last_byte_of_its_answer(module: ModuleType) -> None:
    """Not with the first, and not with its headers."""
    wire = Wire(module)
    wire.connection.send(7, b"ask")
    for byte in range(len(GOOD) - 1):
        wire.connection.data_received(GOOD[byte : byte + 1])
    assert (wire.completed, list(wire.idle)) == ([], [])
    wire.connection.data_received(GOOD[-1:])
    assert (wire.completed, list(wire.idle)) == ([(7, True)], [wire.connection])


def test_a_refusal_completes_its_query_as_failed_and_keeps_the_connection(
    module: ModuleType,
) -> None:
    """The next answer is read from its own beginning."""
    wire = Wire(module)
    for query, answer in ((1, FULL), (2, GOOD)):
        wire.connection.send(query, b"ask")
        wire.connection.data_received(answer)
    assert wire.completed == [(1, False), (2, True)]


def test_a_connection_that_is_lost_completes_its_query_as_failed(module: ModuleType) -> None:
    """Or LoadGen would wait for it for ever."""
    wire = Wire(module)
    wire.connection.send(3, b"ask")
    wire.connection.data_received(GOOD[:-1])
    wire.connection.connection_lost(None)
    assert (wire.completed, list(wire.idle)) == ([(3, False)], [])


def test_a_connection_that_was_closed_while_idle_is_not_used_again(module: ModuleType) -> None:
    """And completes nothing twice."""
    wire = Wire(module)
    wire.connection.send(4, b"ask")
    wire.connection.data_received(GOOD)
    wire.connection.connection_lost(None)
    assert (wire.completed, list(wire.idle)) == ([(4, True)], [])


def test_an_answer_without_a_length_ends_its_connection(module: ModuleType) -> None:
    """Nobody could say when it is complete."""
    wire = Wire(module)
    wire.connection.send(5, b"ask")
    wire.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\ndone")
    assert wire.aborted


def test_queries_that_find_no_connection_open_their_own(module: ModuleType) -> None:
    """What was asked for is kept, in order, for our own generator."""

    async def scenario() -> None:
        asked: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head.split(b"\r\n")[0] + b" " + await reader.readexactly(5))
            writer.write(GOOD)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = module.Client({**JOB, "port": port}, asyncio.get_running_loop())
            for query, index in ((8, 1), (9, 0)):
                client.issue([SimpleNamespace(id=query, index=index)])
            async with asyncio.timeout(30):
                completed = {await module.mlperf_loadgen.completed.get() for _ in range(2)}
            for connection in client.idle:
                connection.transport.abort()
            await asyncio.sleep(0)  # aborted transports close in the loop's next turn
        assert completed == {8, 9}
        assert sorted(asked) == [b"POST /ask HTTP/1.1 again", b"POST /ask HTTP/1.1 hello"]
        assert [index for _, index in client.asked] == [1, 0]
        assert client.failed == 0

    asyncio.run(scenario())


def test_a_server_that_is_not_there_fails_the_query(module: ModuleType) -> None:
    """And LoadGen goes on."""

    async def scenario() -> None:
        client = module.Client({**JOB, "port": 1}, asyncio.get_running_loop())
        client.send(6, b"ask")
        async with asyncio.timeout(30):
            assert await module.mlperf_loadgen.completed.get() == 6
        assert client.failed == 1

    asyncio.run(scenario())
