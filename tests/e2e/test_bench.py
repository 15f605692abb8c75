"""The load generator in its own process, against servers that behave and servers that do not."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from headgate.loadtest import LoadResult, Segment, Target, embeddings_body, run_load
from tests.foreign import Foreign, certificate
from tests.serving import Served

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Headgate-Source: cache\r\n\r\nok"
Answering = Callable[[int, socket.socket], bool]


@contextmanager
def stub(answer: Answering) -> Iterator[str]:
    """A server with a thread a connection. ``answer(n, connection)`` deals with the n-th request
    and says whether the connection stays open."""
    numbers = iter(range(1_000_000))
    open_now: list[socket.socket] = []

    def talk(connection: socket.socket) -> None:
        with connection:
            try:
                while b"\r\n\r\n" in connection.recv(65_536):
                    if not answer(next(numbers), connection):
                        return
            except OSError:
                return

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_now.append(connection)
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        accepting = threading.Thread(target=accept, args=(listener,), daemon=True)
        accepting.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/embeddings"
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(10)
        for connection in open_now:
            connection.close()


def fine(number: int, connection: socket.socket) -> bool:
    connection.sendall(OK)
    return True


def steady(url: str, rate: float, seconds: float) -> Segment:
    times = np.arange(0.0, seconds, 1 / rate)
    return Segment(Target(url), times, [b"{}"] * len(times))


def test_everything_that_was_scheduled_is_accounted_for() -> None:
    """Sent, answered, with its source; over few connections that are kept alive: a hundred requests
    need no more than the eight that there may be, though a machine that stood still had all of them
    due at once."""
    with stub(fine) as url:
        (result,) = run_load([steady(url, 100.0, 1.0)], max_connections=8)
    assert (result.n, result.answered, result.failed) == (100, 100, 0)
    assert set(result.sources) == {"cache"}
    assert (result.sent_s >= result.scheduled_s).all()
    assert (result.latencies_s >= result.sent_s - result.scheduled_s).all()
    assert result.connections_opened <= 8
    assert result.generator_cpu_s > 0


def test_a_server_that_freezes_cannot_hide_it() -> None:
    """A stall of 1 s in 3 s: a third of the requests wait for it, and p95 and p99 say so.

    A closed loop would have one slow request of a hundred and a fine p95: this is what measuring
    from the scheduled time is for.
    """
    lock, thawed = threading.Lock(), threading.Event()

    def freezing(number: int, connection: socket.socket) -> bool:
        with lock:
            if number >= 50 and not thawed.is_set():
                time.sleep(1.0)  # the fault under test
                thawed.set()
        connection.sendall(OK)
        return True

    with stub(freezing) as url:
        (result,) = run_load([steady(url, 50.0, 3.0)])
    assert result.answered == 150
    assert result.p95_s > 0.7  # in theory 0.85: 5 % of 3 s are the first 0.15 s of the stall
    assert result.quantile_s(0.99) > 0.9


def test_every_way_to_fail_is_counted_as_such() -> None:
    """An error status, a connection cut off, one that talks nonsense, and a silent server, which
    alone is waited for no longer than a second."""

    def failing(number: int, connection: socket.socket) -> bool:
        if number == 0:
            connection.sendall(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
        elif number == 1:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            return False
        elif number == 2:
            connection.sendall(b"SSH-2.0-hello\r\n")
        elif number < 5:
            connection.sendall(OK)
        return True

    with stub(failing) as url:
        one = steady(url, 1.0, 1.0)
        results = run_load([one] * 5, gap_s=0.01)  # one after the other
        results += run_load([one], timeout_s=1.0)
    result = LoadResult.joined(results)
    assert result.statuses.tolist() == [503, -2, -2, 200, 200, -1]
    assert [math.isinf(x) for x in result.latencies_s] == [*[True] * 3, *[False] * 2, True]
    assert (result.answered, result.failed) == (2, 4)


def test_a_kept_alive_connection_that_was_closed_is_replaced() -> None:
    """The server may close an idle connection at any time: the request goes out again, once."""

    def once(number: int, connection: socket.socket) -> bool:
        connection.sendall(OK)  # keep-alive is promised
        return False  # and not kept

    with stub(once) as url:
        (result,) = run_load([steady(url, 20.0, 0.5)])
    assert result.answered == 10
    assert result.connections_opened >= 10


def test_nobody_listens() -> None:
    """A refused connection is a failed request, not a crash."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (result,) = run_load([steady(f"http://127.0.0.1:{port}/", 100.0, 0.1)])
    assert set(result.statuses.tolist()) == {-2}


def test_load_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections shake hands once and are kept; a stranger's certificate is no connection."""
    identity = certificate(tmp_path / "identity.pem")
    with Foreign(identity=identity) as foreign:
        long = embeddings_body(["x" * 100_000], model="tiny", encoding_format="float")
        times = np.arange(0.0, 0.5, 0.01)
        segment = Segment(Target(f"{foreign.url}/v1/embeddings"), times, [long] * 50)
        (refused,) = run_load([segment])
        monkeypatch.setenv("SSL_CERT_FILE", str(identity))
        (result,) = run_load([segment], max_connections=8)
    assert set(refused.statuses.tolist()) == {-2}
    assert result.answered == 50
    assert (result.sent_s >= result.scheduled_s).all()
    assert result.connections_opened <= 8
    assert len(foreign.asked) == 50


def test_the_cap_on_connections_is_recorded_as_lag() -> None:
    """Two connections, both held: what had to wait left late, and the run is void."""
    gate = threading.Event()

    def slow(number: int, connection: socket.socket) -> bool:
        if number == 11:
            gate.set()
        if number < 2:
            gate.wait(0.3)
        connection.sendall(OK)
        return True

    with stub(slow) as url:
        (result,) = run_load([steady(url, 100.0, 0.2)], max_connections=2)
    assert result.answered == 20
    assert result.connections_opened == 2
    assert result.waited_for_connection > 0
    verdict = result.verdict()
    assert verdict.void
    assert "waited for a free connection" in str(verdict)


def test_what_never_left_is_never_silent() -> None:
    """One connection that is never free: what waited for it until its timeout was not sent."""
    with stub(lambda number, connection: True) as url:
        at_once = Segment(Target(url), np.zeros(5), [b"{}"] * 5)
        (result,) = run_load([at_once], max_connections=1, timeout_s=1.0)
    assert result.statuses.tolist() == [-1, -3, -3, -3, -3]
    assert "4 were never sent" in str(result.verdict())


def test_segments_alternate_between_targets() -> None:
    """One generator, one result a segment, and no segment begins before the last has ended."""
    log: list[str] = []

    def named(name: str) -> Answering:
        def answer(number: int, connection: socket.socket) -> bool:
            log.append(name)
            connection.sendall(OK)
            return True

        return answer

    with stub(named("a")) as a, stub(named("b")) as b:
        results = run_load([steady(u, 100.0, 0.1) for u in (a, b, a, b)], gap_s=0.01)
    assert [r.answered for r in results] == [10] * 4
    assert log == ["a"] * 10 + ["b"] * 10 + ["a"] * 10 + ["b"] * 10


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_headgate_itself_under_load(encoding: str) -> None:
    """The server and the generator understand each other."""
    with Served() as s:
        times = np.arange(0.0, 1.0, 0.01)
        bodies = [
            embeddings_body(f"text {'a' * (i % 9 + 1)}", model="words", encoding_format=encoding)
            for i in range(100)
        ]
        (result,) = run_load([Segment(Target(f"{s.url}/v1/embeddings"), times, bodies)])
    assert result.answered == 100
    assert set(result.sources) == {"engine"}
