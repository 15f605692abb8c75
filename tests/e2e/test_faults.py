"""Faults and hostile callers on real sockets: survived, counted, nothing lost that was accepted."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.objects import BatchingSpec
from headgate.runtime import Deployment, Tensor
from headgate.server import Limits
from headgate.workload import Tensors
from tests.serving import (
    POISON,
    Served,
    WordEngine,
    deployment,
    eventually,
    expected,
    server_process,
)


def connected(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port or 80), timeout=60)


def send(connection: socket.socket, *texts: str, timeout_ms: int = 0) -> None:
    """One call, on a connection of its own or one after the other."""
    body = json.dumps({"model": "words", "input": texts}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    if timeout_ms:
        head += f"x-request-timeout-ms: {timeout_ms}\r\n"
    connection.sendall(f"{head}\r\n".encode() + body)


def received(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer, whole."""
    reply = http.client.HTTPResponse(connection)
    reply.begin()
    return reply.status, reply.read()


def vectors(connection: socket.socket) -> list[list[float]]:
    """The answers to one call that must have succeeded."""
    status, body = received(connection)
    assert status == 200, body
    return [item["embedding"] for item in json.loads(body)["data"]]


def ask(url: str, *texts: str) -> tuple[int, bytes]:
    with connected(url) as connection:
        send(connection, *texts)
        return received(connection)


def answers(url: str) -> bool:
    """A new caller gets an answer; not one who stands still for as long as a head is awaited."""
    with contextlib.suppress(ConnectionError, http.client.HTTPException):
        return ask(url, "a")[0] == 200
    return False


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """As many connections as this process may ever have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def some_or_many(name: str, some: int, many: int) -> pytest.MarkDecorator:
    marks = (pytest.mark.campaign, pytest.mark.timeout(1200))
    return pytest.mark.parametrize(name, [some, pytest.param(many, marks=marks)])


# Callers who leave

_FIRST = POISON + 1
"""Letters of the first caller's word: the others have longer ones, so that none is poison."""


@some_or_many("callers", 400, 10_000)
def test_who_hangs_up_in_the_queue_never_runs_and_all_others_get_their_own(callers: int) -> None:
    """30 % at random hang up while all wait behind one batch: the engine never sees one of them."""
    rng = np.random.default_rng(3)
    engine = WordEngine()
    batching = BatchingSpec(max_requests=32, max_padded_tokens=512)
    served = deployment(engine, batching=batching, max_queue_requests=callers)
    gone_at_all = 0
    with Served(served) as s:
        for first in range(0, callers, 1000):
            size = min(1000, callers - first)
            engine.batches.clear()
            engine.open.clear()
            with contextlib.ExitStack() as stack:
                plug = stack.enter_context(connected(s.url))
                send(plug, "plug")
                eventually(lambda: len(engine.batches) == 1, "the plug does not run")
                waiting = [stack.enter_context(connected(s.url)) for _ in range(size)]
                for number, connection in enumerate(waiting, start=_FIRST):
                    send(connection, "a" * number)
                eventually(lambda size=size: s.deployment.live.in_flight == size + 1, "not all in")
                gone = np.flatnonzero(rng.random(size) < 0.3)
                for number in gone:
                    waiting[number].close()
                left = size - len(gone)
                eventually(lambda left=left: s.deployment.live.in_flight == left + 1, "not all out")
                engine.open.set()
                assert vectors(plug) == [expected("plug")]
                kept = np.setdiff1d(np.arange(size), gone)
                for number in kept:
                    assert vectors(waiting[number]) == [[float(_FIRST + number), 1.0]]
            gone_at_all += len(gone)
            ran = np.concatenate([batch[:, 0] for batch in engine.batches[1:]])
            assert sorted(ran) == sorted(kept + _FIRST)
        assert s.deployment.live.in_flight == 0
        assert s.deployment.metrics.cancelled == gone_at_all


@some_or_many("calls", 300, 10_000)
def test_who_hangs_up_at_any_moment_disturbs_nobody(calls: int) -> None:
    """Sent, on the engine or answered already: the others get their own, and nothing hangs."""
    engines = WordEngine(), WordEngine()
    with Served(deployment(*engines, max_queue_requests=calls)) as s:

        def call(seed: int) -> int:
            rng = np.random.default_rng(seed)
            answered = 0
            for _ in range(calls // 10):
                text = "a" * int(rng.integers(1, 500))
                with connected(s.url) as connection:
                    send(connection, text, "b")
                    if rng.random() < 0.3:
                        continue
                    assert vectors(connection) == [expected(text), expected("b")]
                    answered += 1
            return answered

        with ThreadPoolExecutor(10) as pool:
            answered = sum(pool.map(call, range(10)))
        eventually(lambda: s.deployment.live.in_flight == 0, "somebody is still waited for")
        counted = s.deployment.metrics.requests
        eventually(lambda: counted.total() == calls, "a call is not counted")
        assert counted["/v1/embeddings", 200, "engine"] >= answered
        assert {status for _, status, _ in counted} <= {200, 499}


# Engines that fail


def test_one_poison_of_32_calls_fails_alone() -> None:
    """They wait together and run together: 31 get their answers, one its error."""
    engine = WordEngine()
    engine.open.clear()
    batching = BatchingSpec(max_requests=32, max_padded_tokens=512)
    with Served(deployment(engine, batching=batching)) as s, contextlib.ExitStack() as stack:
        plug = stack.enter_context(connected(s.url))
        send(plug, "plug")
        assert engine.entered.acquire(timeout=60)
        callers = [stack.enter_context(connected(s.url)) for _ in range(32)]
        for number, caller in enumerate(callers):
            send(caller, "poison" if number == 21 else "a" * (number + 1))
        eventually(lambda: s.deployment.live.in_flight == 33, "not all in")
        engine.open.set()
        for number, caller in enumerate(callers):
            if number == 21:
                assert received(caller)[0] == 500
            else:
                assert vectors(caller) == [[number + 1.0, 1.0]]
        assert max(len(batch) for batch in engine.batches) == 32
        assert s.deployment.metrics.engine_failures["engine"] == 6  # 32, 16, 8, 4, 2 and 1


def test_one_poison_of_a_call_of_32_is_named_and_the_31_succeed_without_it() -> None:
    """A call is answered whole or not at all; the error says which item to leave out."""
    batching = BatchingSpec(max_requests=32, max_padded_tokens=512)
    texts = ["poison" if number == 21 else "a" * (number + 1) for number in range(32)]
    with Served(deployment(batching=batching)) as s:
        status, body = ask(s.url, *texts)
        assert status == 500
        assert json.loads(body)["error"]["message"].startswith("item 21: the model failed on it")
        del texts[21]
        with connected(s.url) as connection:
            send(connection, *texts)
            assert vectors(connection) == [expected(text) for text in texts]


class Crashing(WordEngine):
    """Every third call ends as a thread or a process would that is told to."""

    def __init__(self, exception: type[BaseException]) -> None:
        super().__init__()
        self.crashes = 0
        self._exception = exception
        self._calls = 0

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        self._calls += 1
        if self._calls % 3 == 0:
            self.crashes += 1
            raise self._exception("crash")
        return super().run(tensors)


@pytest.mark.parametrize("exception", [RuntimeError, MemoryError, SystemExit, KeyboardInterrupt])
def test_an_engine_that_crashes_now_and_then_loses_nobody(exception: type[BaseException]) -> None:
    """Under calls and canaries alike its thread lives on, everybody is answered, and whose call
    crashed is told so and counted."""
    engine = Crashing(exception)
    with Served(deployment(engine, canary_interval_s=0.01)) as s:
        eventually(lambda: engine.crashes >= 3, "no canary crashed")
        told = Counter(ask(s.url, "a")[0] for _ in range(60))
        assert told.keys() <= {200, 500}
        assert told[500] == s.deployment.metrics.engine_failures["engine"]
        with ThreadPoolExecutor(8) as pool:
            told = Counter(pool.map(lambda _: ask(s.url, "a", "bc")[0], range(60)))
        assert told.keys() <= {200, 500}
        assert all(instance.alive for instance in s.deployment.live.instances)
        assert s.deployment.live.in_flight == 0


class Jumping:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


def test_a_clock_that_jumps_loses_nobody() -> None:
    """An hour ahead, as after a pause of the machine: who had a deadline is told that it passed and
    counted, all others are answered, and readiness comes back. Back again: nobody waits an hour."""
    clock, engine = Jumping(), WordEngine()
    batching = BatchingSpec(max_requests=8, max_padded_tokens=128, max_wait_s=0.05)
    served = deployment(engine, batching=batching, clock=clock, canary_interval_s=0.01)
    with Served(served) as s, contextlib.ExitStack() as stack:
        engine.open.clear()
        texts = ["plug", *("a" * n for n in range(1, 21))]
        callers = [stack.enter_context(connected(s.url)) for _ in texts]
        hurried = stack.enter_context(connected(s.url))
        send(callers[0], texts[0])
        assert engine.entered.acquire(timeout=60)
        for caller, text in zip(callers[1:], texts[1:], strict=True):
            send(caller, text)
        send(hurried, "hurried", timeout_ms=600_000)
        eventually(lambda: s.deployment.live.in_flight == len(texts) + 1, "not all in")
        clock.ahead_s += 3600
        engine.open.set()
        for caller, text in zip(callers, texts, strict=True):
            assert vectors(caller) == [expected(text)]
        assert received(hurried)[0] == 504
        assert +s.deployment.metrics.rejects == {"deadline": 1}
        eventually(lambda: httpx.get(f"{s.url}/health").status_code == 200, "not ready again")
        for jump_s in (-3600, 3600, -7200):
            clock.ahead_s += jump_s
            with ThreadPoolExecutor(8) as pool:
                told = list(pool.map(lambda text: ask(s.url, text)[0], texts))
            assert told == [200] * len(texts)


# Callers who do not listen, or do not speak


def wide(outputs: NDArray[np.float32]) -> object:
    return np.repeat(outputs[:, :1] / 7, 2000, axis=1)


def large() -> Deployment:
    """An answer has 2,000 numbers: a call of 600 items is answered with some 20 MB, more than
    sockets hold."""
    served = deployment(WordEngine(wide))
    served.output = Tensor("embedding", "float32", (2000,))
    return served


LARGE = ["a"] * 600


def test_who_never_reads_an_answer_is_given_up_and_counted() -> None:
    """Others are served meanwhile; the answer's bytes are held no longer than the limit says."""
    with Served(large(), Limits(idle_timeout_s=1.0)) as s, connected(s.url) as deaf:
        send(deaf, *LARGE)
        eventually(lambda: s.deployment.metrics.items["engine"] == len(LARGE), "not answered")
        assert ask(s.url, "a")[0] == 200
        given_up = s.deployment.metrics.connections_given_up
        eventually(lambda: given_up["unread"] == 1, "it is still waited for")
        with pytest.raises((ConnectionError, http.client.IncompleteRead)):
            received(deaf)
        text = httpx.get(f"{s.url}/metrics").text
        assert 'headgate_connections_given_up_total{reason="unread"} 1.0' in text


def test_who_asks_on_and_on_without_reading_is_given_up() -> None:
    """Requests in a row whose answers are not read: they are answered no faster than read."""
    with Served(large(), Limits(idle_timeout_s=1.0)) as s, connected(s.url) as deaf:
        deaf.settimeout(0.01)
        with contextlib.suppress(TimeoutError):
            for _ in range(1000):
                send(deaf, *["a"] * 30)
        given_up = s.deployment.metrics.connections_given_up
        eventually(lambda: given_up["unread"] == 1, "it is still waited for")
        eventually(lambda: answers(s.url), "nobody else is served")
        assert s.deployment.live.in_flight == 0


def test_an_answer_that_is_read_slowly_survives_sigterm() -> None:
    """It was accepted, so the end waits until its caller has all of it."""
    with Served(large()) as s, connected(s.url) as slow:
        send(slow, *LARGE)
        eventually(lambda: s.deployment.metrics.items["engine"] == len(LARGE), "not answered")
        s.stop()
        eventually(lambda: not listens(s.url), "it still listens")
        time.sleep(1.5)  # longer than a connection is waited for that owes nothing
        assert len(vectors(slow)) == len(LARGE)
        assert s.drained()


def listens(url: str) -> bool:
    try:
        connected(url).close()
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("sent", [b"", b"POST /v1/emb", b"POST /v1/embeddings HTTP/1.1\r\nhost: x"])
def test_who_never_sends_a_whole_head_is_given_up_and_counted(sent: bytes) -> None:
    """However the bytes dribble in."""
    limits = Limits(idle_timeout_s=0.5)
    with Served(limits=limits) as s, connected(s.url) as connection:
        connection.settimeout(0.01)
        connection.sendall(sent)
        for _ in range(6000):
            try:
                assert connection.recv(1) == b"", "it is no request"
                break
            except TimeoutError:
                if sent:
                    with contextlib.suppress(ConnectionError):
                        connection.sendall(b"x")
            except ConnectionError:
                break
        assert s.deployment.metrics.connections_given_up == {"head": 1}
        eventually(lambda: answers(s.url), "nobody else is served")


def test_the_second_head_of_a_connection_is_not_waited_for_for_ever_either() -> None:
    """It was answered once, and begins to ask again: it is closed."""
    with Served(limits=Limits(idle_timeout_s=0.2)) as s, contextlib.ExitStack() as stack:
        asked: list[socket.socket] = []

        def answered() -> bool:
            """Not where the machine stood still for as long as the first head is waited for."""
            asked.append(stack.enter_context(connected(s.url)))
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                send(asked[-1], "a")
                return vectors(asked[-1]) == [expected("a")]
            return False

        eventually(answered, "it is never answered")
        with contextlib.suppress(ConnectionError):
            asked[-1].sendall(b"POST /v1/emb")
            assert asked[-1].recv(1) == b""


@pytest.mark.parametrize("sent", [b"", b"{"])
def test_half_a_body_is_given_up_and_counted(sent: bytes) -> None:
    """None of it, or a part: 408, and nothing is held for it."""
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n"
    with Served(limits=Limits(body_timeout_s=0.1)) as s, connected(s.url) as connection:
        connection.sendall(head + sent)
        assert received(connection)[0] == 408
        assert s.deployment.metrics.requests["/v1/embeddings", 408, ""] == 1
        assert ask(s.url, "a")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"{"])
def test_half_a_body_holds_up_no_shutdown(sent: bytes) -> None:
    """It was not accepted: 503 at once, and what was accepted is all answered."""
    engine = WordEngine()
    engine.open.clear()
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n"
    limits = Limits(body_timeout_s=1e6, drain_timeout_s=1e6)
    with (
        Served(deployment(engine), limits) as s,
        connected(s.url) as half,
        connected(s.url) as whole,
    ):
        half.sendall(head + sent)
        send(whole, "a bc")
        assert engine.entered.acquire(timeout=60)
        s.stop()
        assert received(half)[0] == 503
        engine.open.set()
        assert vectors(whole) == [expected("a bc")]
        assert s.drained()


# Many connections

IDLE = """
import resource, sys
from headgate.server import serve
from tests.serving import WordEngine, deployment

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
most = int(sys.argv[1]) or hard
resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, most), most))
served = deployment(WordEngine(), max_queue_requests=100_000)
serve(served, port=0, on_listening=lambda url: print(url, flush=True))
"""


@some_or_many("connections", 1000, 10_000)
def test_thousands_of_open_connections_are_served_when_they_ask(connections: int) -> None:
    """All idle, one more is answered; all ask at once, and each gets its own answer."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < connections + 200:
        pytest.skip(f"this machine allows {hard} open files a process")
    with server_process(IDLE, "0") as running, contextlib.ExitStack() as stack:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        idle = [stack.enter_context(connected(url)) for _ in range(connections)]
        assert ask(url, "one more")[0] == 200
        for number, connection in enumerate(idle):
            send(connection, "a" * (number % 500 + 1))
        for number, connection in enumerate(idle):
            assert vectors(connection) == [[number % 500 + 1.0, 1.0]]
        assert (
            f'source="engine",status="200"}} {connections + 1}.0'
            in httpx.get(f"{url}/metrics", timeout=60).text
        )


def test_more_connections_than_files_cost_nobody_else_the_service() -> None:
    """Those that are open go on being answered, and new ones are when the others are closed."""
    with server_process(IDLE, "150") as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        with connected(url) as early, contextlib.ExitStack() as stack:
            send(early, "a")
            assert vectors(early) == [expected("a")]
            for _ in range(300):
                stack.enter_context(connected(url))
            send(early, "a bc")
            assert vectors(early) == [expected("a bc")]

        def served() -> bool:
            try:
                return ask(url, "a")[0] == 200
            except (ConnectionError, http.client.HTTPException):
                return False

        eventually(served, "it does not recover")
