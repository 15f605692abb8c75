"""Runs the application under uvicorn until SIGTERM, and then lets it finish its work.

Meanwhile it asks for the next release every two seconds, and switches to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from headgate.errors import Busy, Fault, HeadgateError
from headgate.runtime import Deployment
from headgate.server.http import Limits
from headgate.server.switch import Switch

__all__ = ["NextRelease", "bind", "run", "serve"]

NextRelease = Callable[[], Deployment | None]
"""The release that is to answer from now on, loaded and warm; None where that has not changed. May
take its time and may raise: it is called on a thread, again and again, and the server goes on with
the release that it has."""

_SWITCH_INTERVAL_S = 0.0005
"""Engine threads wait this long for the interpreter after each call; the default is 5 ms."""
_POLL_S = 2.0
"""Between two looks for the next release."""
_log = logging.getLogger("headgate.server")


def serve(
    deployment: Deployment,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    on_listening: Callable[[str], None] | None = None,
    next_release: NextRelease | None = None,
    on_release: Callable[[Deployment], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, answers what was accepted, and returns.

    ``on_listening`` is called with the URL once requests are accepted; port 0 takes a free one.
    ``on_release`` is told of every release that took over from another.
    Raises ``Busy`` where the port is taken, and ``Fault`` if requests were still unanswered when
    ``limits.drain_timeout_s`` was over.
    """
    import uvloop

    limits = limits or Limits()
    with bind(host, port) as listener:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        gc.collect()
        gc.freeze()  # the model and the libraries are here to stay: no collection walks them
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(
                _until_signal(deployment, listener, limits, on_listening, next_release, on_release)
            )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ``Busy`` where the port is taken, ``Fault`` where it cannot be."""
    where = f"{host}:{port}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # Named, or asyncio leaves Nagle's algorithm on, and each answer waits 40 ms for an ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(2048)
        except (OSError, OverflowError):
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == 98:  # EADDRINUSE
            raise Busy(
                "another process listens on this port",
                where=where,
                fix=f"end it, or choose another: --port {port + 1}",
            ) from None
        raise Fault(
            f"cannot listen here: {error}", where=where, fix="choose another --host or --port"
        ) from None
    listener.setblocking(False)
    return listener


async def run(
    deployment: Deployment,
    listener: socket.socket,
    stop: asyncio.Event,
    limits: Limits | None = None,
    on_listening: Callable[[str], None] | None = None,
    next_release: NextRelease | None = None,
    on_release: Callable[[Deployment], None] | None = None,
    poll_s: float = _POLL_S,
) -> bool:
    """Serves on ``listener`` until ``stop`` is set; True if all that was accepted was answered."""
    import uvicorn

    from headgate.server.connection import Connection

    class Server(uvicorn.Server):  # type: ignore[misc]  # untyped library
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # signals are ours: draining comes before closing

    limits = limits or Limits()
    switch = Switch(deployment, limits)

    def given_up(reason: str) -> None:
        switch.deployment.metrics.connections_given_up[reason] += 1

    await deployment.start()
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(
        switch,
        http=functools.partial(Connection, idle_timeout_s=limits.idle_timeout_s, given_up=given_up),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.idle_timeout_s,
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    following = None
    loading = ThreadPoolExecutor(1, thread_name_prefix="release")
    if next_release is not None:
        following = asyncio.create_task(_follow(switch, next_release, on_release, poll_s, loading))
    try:
        if on_listening is not None:
            host, port = listener.getsockname()[:2]
            on_listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        until_s = loop.time() + limits.drain_timeout_s
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
        drained = await switch.drain()
        # What was answered is not yet read.
        config.timeout_graceful_shutdown = max(1.0, until_s - loop.time())
        return drained
    finally:
        server.should_exit = True
        await serving
        await switch.close()
        # What loads a release reads what the caller is about to close.
        await asyncio.to_thread(loading.shutdown, cancel_futures=True)


async def _follow(
    switch: Switch,
    next_release: NextRelease,
    on_release: Callable[[Deployment], None] | None,
    poll_s: float,
    loading: ThreadPoolExecutor,
) -> None:
    """Switches to every next release; what goes wrong is logged, and the old one goes on."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(poll_s)
        try:
            deployment = await loop.run_in_executor(loading, next_release)
            if deployment is None:
                continue
            await switch.to(deployment)
        except Exception as error:
            name = switch.deployment.release
            unexpected = not isinstance(error, HeadgateError)
            _log.error("%s goes on; its successor: %s", name, error, exc_info=unexpected)
            continue
        if on_release is not None:
            try:
                on_release(deployment)
            except Exception:  # such as a closed pipe: no reason to follow no more
                _log.exception("%s has taken over, and it could not be told", deployment.release)


async def _until_signal(
    deployment: Deployment,
    listener: socket.socket,
    limits: Limits,
    on_listening: Callable[[str], None] | None,
    next_release: NextRelease | None,
    on_release: Callable[[Deployment], None] | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if not await run(deployment, listener, stop, limits, on_listening, next_release, on_release):
        raise Fault(
            f"requests were still unanswered {limits.drain_timeout_s:g} s after the signal",
            reason="drain_timeout",
            fix="allow more time, or look for an engine that hangs",
        )
