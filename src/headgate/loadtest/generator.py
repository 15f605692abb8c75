"""The load generator's process: sends requests when they are due and stamps what comes back.

Started by ``run_load`` as ``python -m headgate.loadtest.generator``: a plan on stdin, outcomes on
stdout. It is a loop over epoll of its own and not asyncio, for two reasons: it shares few cores
with the server that it measures, so each request must cost little; and event loops round timers
to milliseconds, while waiting in ``select`` on the epoll descriptor wakes within microseconds.

Knows nothing of what the bodies mean. No response is kept, only its status, its source and times.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import math
import os
import resource
import select
import socket
import ssl
import sys
import time
from collections import deque

import httptools
import msgspec
import numpy as np

from headgate.loadtest.wire import (
    CONNECTION_ERROR,
    NOT_SENT,
    TIMED_OUT,
    Outcome,
    Plan,
    SegmentPlan,
)

__all__ = ["main", "prepare_process"]

_READ = select.EPOLLIN
_WRITE = select.EPOLLIN | select.EPOLLOUT
_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""The connection cannot go on now; a poller says when it can."""
_LEAD_S = 0.01
_SOURCE_HEADER = b"x-headgate-source"
_clock = time.perf_counter


class _Connection:
    """One kept-alive connection and the request that it carries, if any."""

    __slots__ = (
        "complete",
        "fd",
        "greeted",
        "keep_alive",
        "out",
        "parser",
        "received",
        "request",
        "reused",
        "sock",
        "source",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.parser = httptools.HttpResponseParser(self)
        self.request = -1
        self.out = b""
        self.greeted = not isinstance(sock, ssl.SSLSocket)
        """Whether requests may go over it: TLS shakes hands first."""
        self.reused = False
        self.received = False
        self.complete = False
        self.keep_alive = True
        self.source = b""

    # Called by the parser:

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 17 and name.lower() == _SOURCE_HEADER:
            self.source = value

    def on_message_complete(self) -> None:
        # Asked here, because the parser forgets the headers when it has called this.
        self.keep_alive = self.parser.should_keep_alive()
        self.complete = True


class _Segment:
    """Sends one segment's requests over connections to one target."""

    def __init__(self, plan: Plan, segment: SegmentPlan, poller: select.epoll) -> None:
        self._address = (segment.host, segment.port)
        self._tls = ssl.create_default_context() if segment.tls else None
        self._family = socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM)[0][0]
        self._timeout_s = plan.timeout_s
        self._max_connections = plan.max_connections
        self._server_pid = segment.server_pid
        self._poller = poller
        self._payloads = [
            b"%b%d\r\n\r\n%b" % (segment.head, len(body), body) for body in segment.bodies
        ]
        self._at: list[float] = np.frombuffer(segment.at_s).tolist()
        n = len(self._at)
        self._sent = [math.nan] * n
        self._latency = [math.inf] * n
        self._answered = [math.inf] * n
        self._status = [0] * n
        self._source = [-1] * n
        self._source_index: dict[bytes, int] = {}
        self._tried_again: set[int] = set()
        self._done = 0
        self._connections: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        self._waiting: deque[int] = deque()
        self._opened = 0
        self._waited = 0
        self._buffer = memoryview(bytearray(65_536))
        self._t0 = 0.0

    def run(self) -> Outcome:
        cpu_0, server_cpu_0 = time.process_time(), _cpu_s(self._server_pid)
        at, n, poll = self._at, len(self._at), self._poller.poll
        due = 0  # the next request to send
        oldest = 0  # the oldest that may still be unanswered
        self._t0 = _clock() + _LEAD_S
        while self._done < n:
            now = _clock() - self._t0
            while due < n and at[due] <= now:
                self._start(due)
                due += 1
                now = _clock() - self._t0
            while oldest < due and (self._status[oldest] or now >= at[oldest] + self._timeout_s):
                if not self._status[oldest]:
                    self._expire(oldest)
                oldest += 1
            until = at[due] if due < n else math.inf
            if oldest < due:
                until = min(until, at[oldest] + self._timeout_s)
            wait_s = until - (_clock() - self._t0)
            if wait_s > 0 and self._done < n:
                ready, _, _ = select.select((self._poller,), (), (), min(wait_s, 3600.0))
                if not ready:
                    continue
            for fd, events in poll(0):
                self._handle(self._connections[fd], events)
        duration_s = _clock() - self._t0
        cpu_s = time.process_time() - cpu_0
        server_cpu_s = _cpu_s(self._server_pid) - server_cpu_0
        for connection in list(self._connections.values()):
            self._close(connection)
        return Outcome(
            sent_s=np.array(self._sent).tobytes(),
            latencies_s=np.array(self._latency).tobytes(),
            answered_s=np.array(self._answered).tobytes(),
            statuses=np.array(self._status, dtype=np.int16).tobytes(),
            sources=np.array(self._source, dtype=np.int16).tobytes(),
            source_names=[name.decode("latin-1") for name in self._source_index],
            duration_s=duration_s,
            cpu_s=cpu_s,
            server_cpu_s=server_cpu_s,
            connections_opened=self._opened,
            waited_for_connection=self._waited,
            resent=len(self._tried_again),
        )

    def _start(self, i: int) -> None:
        if self._idle:
            self._send(self._idle.pop(), i)
        elif len(self._connections) < self._max_connections:
            self._connect(i)
        else:
            self._waited += 1
            self._waiting.append(i)

    def _connect(self, i: int) -> None:
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        failed = sock.connect_ex(self._address)
        if failed not in (0, errno.EINPROGRESS):
            sock.close()
            self._finish(i, CONNECTION_ERROR)
            return
        if self._tls is not None:
            sock = self._tls.wrap_socket(
                sock, server_hostname=self._address[0], do_handshake_on_connect=False
            )
        connection = _Connection(sock)
        connection.request = i
        connection.out = self._payloads[i]
        self._connections[connection.fd] = connection
        self._poller.register(connection.fd, _WRITE)
        self._opened += 1

    def _send(self, connection: _Connection, i: int) -> None:
        connection.request = i
        connection.received = connection.complete = False
        connection.source = b""
        connection.reused = True
        payload = self._payloads[i]
        self._sent[i] = _clock() - self._t0
        try:
            written = connection.sock.send(payload)
        except _LATER:
            written = 0
        except OSError:
            self._lost(connection)
            return
        if written < len(payload):
            connection.out = payload[written:]
            self._poller.modify(connection.fd, _WRITE)

    def _handle(self, connection: _Connection, events: int) -> None:
        if not connection.greeted:
            self._greet(connection)
            return
        if events & select.EPOLLOUT and connection.out and not self._flush(connection):
            return
        if events & ~select.EPOLLOUT:
            self._read(connection)

    def _greet(self, connection: _Connection) -> None:
        """TLS shakes hands, step by step; the request has left with its first byte."""
        assert isinstance(connection.sock, ssl.SSLSocket)
        i = connection.request
        if math.isnan(self._sent[i]):
            self._sent[i] = _clock() - self._t0
        try:
            connection.sock.do_handshake()
        except ssl.SSLWantReadError:
            self._poller.modify(connection.fd, _READ)
        except ssl.SSLWantWriteError:
            self._poller.modify(connection.fd, _WRITE)
        except OSError:
            self._lost(connection)
        else:
            connection.greeted = True
            self._poller.modify(connection.fd, _WRITE)

    def _flush(self, connection: _Connection) -> bool:
        i = connection.request
        if math.isnan(self._sent[i]):
            self._sent[i] = _clock() - self._t0
        try:
            written = connection.sock.send(connection.out)
        except _LATER:
            return True
        except OSError:
            self._lost(connection)
            return False
        connection.out = connection.out[written:]
        if not connection.out:
            self._poller.modify(connection.fd, _READ)
        return True

    def _read(self, connection: _Connection) -> None:
        try:
            # A TLS record is at most 16 KiB, so nothing is left behind where the poller cannot see.
            size = connection.sock.recv_into(self._buffer)
        except _LATER:
            return
        except OSError:
            size = 0
        if not size or connection.request < 0:  # closed, or bytes that nobody asked for
            self._lost(connection)
            return
        connection.received = True
        try:
            connection.parser.feed_data(self._buffer[:size])
        except httptools.HttpParserError:
            self._lost(connection)
            return
        if connection.complete:
            i = connection.request
            connection.request = -1
            if connection.source:
                self._source[i] = self._source_index.setdefault(
                    connection.source, len(self._source_index)
                )
            self._finish(i, connection.parser.get_status_code())
            if connection.keep_alive and not connection.out:
                self._free(connection)
            else:
                self._close(connection)
                self._next_waiting(None)

    def _finish(self, i: int, status: int) -> None:
        self._status[i] = status
        if status > 0:
            self._answered[i] = _clock() - self._t0 - self._at[i]
        if status == 200:
            self._latency[i] = self._answered[i]
        self._done += 1

    def _free(self, connection: _Connection) -> None:
        if self._waiting:
            self._next_waiting(connection)
        else:
            self._idle.append(connection)

    def _next_waiting(self, connection: _Connection | None) -> None:
        while self._waiting:
            i = self._waiting.popleft()
            if self._status[i]:  # it timed out while it waited
                continue
            if connection is None:
                self._connect(i)
            else:
                self._send(connection, i)
            return
        if connection is not None:
            self._idle.append(connection)

    def _lost(self, connection: _Connection) -> None:
        """The connection is gone. A request that met one already closed goes out again, once."""
        i = connection.request
        again = connection.reused and not connection.received and i not in self._tried_again
        self._close(connection)
        if i < 0:
            return
        if again:
            self._tried_again.add(i)
            self._connect(i)
        else:
            self._finish(i, CONNECTION_ERROR)
            self._next_waiting(None)

    def _expire(self, i: int) -> None:
        carrying = next((c for c in self._connections.values() if c.request == i), None)
        self._finish(i, NOT_SENT if math.isnan(self._sent[i]) else TIMED_OUT)
        if carrying is not None:
            self._close(carrying)
            self._next_waiting(None)

    def _close(self, connection: _Connection) -> None:
        if self._connections.pop(connection.fd, None) is None:
            return
        self._poller.unregister(connection.fd)
        connection.sock.close()
        if connection in self._idle:
            self._idle.remove(connection)


def prepare_process() -> None:
    """Asks for what keeps the schedule exact: files, priority, timers without slack.

    Survives ``exec``, so that another load generator can be started on the same terms.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Not being permitted is no fault: the verdict judges the lag. Real-time scheduling is safe
    # here, because each segment is bounded in count and time and the loop sleeps when idle.
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (OSError, AttributeError):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -10)
    with contextlib.suppress(OSError, AttributeError):  # prctl: Linux only
        libc = ctypes.CDLL(None)
        libc.prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK, 1 ns instead of 50 us
        libc.prctl(1, 15, 0, 0, 0)  # PR_SET_PDEATHSIG: no load without whoever asked for it


def _cpu_s(pid: int | None) -> float:
    """CPU seconds that a process has used so far; NaN without one, or where it is gone."""
    if pid is None:
        return math.nan
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - one read, no path to build
            after_name = file.read().rpartition(b")")[2].split()
    except OSError:
        return math.nan
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Reads a plan from stdin, runs it, writes the outcomes to stdout."""
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    prepare_process()
    outcomes: list[Outcome] = []
    for number, segment in enumerate(plan.segments):
        if number:
            time.sleep(plan.gap_s)
        with select.epoll() as poller:
            running = _Segment(plan, segment, poller)
            gc.collect()
            gc.freeze()
            gc.disable()
            outcomes.append(running.run())
    sys.stdout.buffer.write(msgspec.msgpack.encode(outcomes))


if __name__ == "__main__":
    main()
