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
from headgate.server.key_file import KeyFile
from headgate.server.switch import Switch

__all__ = ["NextRelease", "bind", "run", "serve"]

NextRelease = Callable[[], Deployment | None]
"""The release that is to answer from now on, loaded and warm; None where that has not changed. May
take its time and may raise: it is called on a thread, again and again, and the server goes on with
the release that it has."""

_SWITCH_INTERVAL_S = 0.0005
"""Engine threads wait this long for the interpreter after each call; the default is 5 ms."""
_CLOSE_S = 1
"""For answers to reach their callers, once all are given."""
_POLL_S = 2.0
"""Between two looks for the next release, and between two at the API keys."""
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
    grpc_port: int | None = None,
    on_grpc: Callable[[str], None] | None = None,
    api_keys: KeyFile | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, answers what was accepted, and returns.

    ``on_listening`` is called with the URL once requests are accepted; port 0 takes a free one.
    ``on_release`` is told of every release that took over from another. With ``grpc_port`` gRPC is
    spoken there, and ``on_grpc`` is called with its address before ``on_listening``. With
    ``api_keys`` only their callers are answered, and changes of the file are followed.
    Raises ``Busy`` where a port is taken, ``MissingExtra`` where gRPC is not installed, and
    ``Fault`` if requests were still unanswered when ``limits.drain_timeout_s`` was over.
    """
    import uvloop

    limits = limits or Limits()
    grpc_address = None if grpc_port is None else _grpc_address(host, grpc_port)
    with bind(host, port) as listener:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        gc.collect()
        gc.freeze()  # the model and the libraries are here to stay: no collection walks them
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(
                _until_signal(
                    deployment,
                    listener,
                    limits,
                    on_listening,
                    next_release,
                    on_release,
                    grpc_address,
                    on_grpc,
                    api_keys,
                )
            )


def bind(host: str, port: int, option: str = "--port") -> socket.socket:
    """A listening socket. ``option`` is what the user chooses the port by.

    Raises ``Busy`` where the port is taken, ``Fault`` where it cannot be.
    """
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
                fix=f"end it, or choose another: {option} {port + 1}",
            ) from None
        raise Fault(
            f"cannot listen here: {error}", where=where, fix=f"choose another --host or {option}"
        ) from None
    listener.setblocking(False)
    return listener


def _grpc_address(host: str, port: int) -> str:
    """What gRPC is to listen at. It opens its own socket and does not say why it cannot; so what
    ``bind`` raises is raised here."""
    with bind(host, port, "--grpc-port") as listener:
        ip = listener.getsockname()[0]
    return f"{f'[{ip}]' if ':' in ip else ip}:{port}"


async def run(
    deployment: Deployment,
    listener: socket.socket,
    stop: asyncio.Event,
    limits: Limits | None = None,
    on_listening: Callable[[str], None] | None = None,
    next_release: NextRelease | None = None,
    on_release: Callable[[Deployment], None] | None = None,
    poll_s: float = _POLL_S,
    grpc_address: str | None = None,
    on_grpc: Callable[[str], None] | None = None,
    api_keys: KeyFile | None = None,
) -> bool:
    """Serves on ``listener`` until ``stop`` is set; True if all that was accepted was answered.

    ``grpc_address``: where gRPC is spoken too; port 0 takes a free one, and ``on_grpc`` is told.
    ``poll_s``: between two looks for the next release, and between two at the ``api_keys``.
    """
    import uvicorn

    from headgate.server.connection import Connection

    class Server(uvicorn.Server):  # type: ignore[misc]  # untyped library
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # signals are ours: draining comes before closing

    limits = limits or Limits()
    identify = None if api_keys is None else api_keys.tenant_of
    switch = Switch(deployment, limits, identify)

    def given_up(reason: str) -> None:
        switch.deployment.metrics.connections_given_up[reason] += 1

    rpc = None
    if grpc_address is not None:
        from headgate.server.grpc import GrpcServer

        rpc = GrpcServer(grpc_address, lambda: switch.desk, limits, identify)
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
        timeout_graceful_shutdown=_CLOSE_S,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    following: list[asyncio.Task[None]] = []
    loading = ThreadPoolExecutor(1, thread_name_prefix="release")
    close_s: float = _CLOSE_S
    if next_release is not None:
        follow = _follow(switch, next_release, on_release, poll_s, loading)
        following.append(asyncio.create_task(follow))
    if api_keys is not None:
        following.append(asyncio.create_task(api_keys.follow(poll_s)))
    try:
        if rpc is not None:
            await rpc.start()
            if on_grpc is not None:
                on_grpc(rpc.address)
        if on_listening is not None:
            host, port = listener.getsockname()[:2]
            on_listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        until_s = loop.time() + limits.drain_timeout_s
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        drained = await switch.drain()
        # What was answered is not yet read.
        config.timeout_graceful_shutdown = close_s = max(_CLOSE_S, until_s - loop.time())
        return drained
    finally:
        server.should_exit = True
        await serving
        await switch.close()  # what is still unanswered is refused
        if rpc is not None:
            await rpc.stop(close_s)
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
            switch.deployment.metrics.takeovers["failed"] += 1
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
    grpc_address: str | None,
    on_grpc: Callable[[str], None] | None,
    api_keys: KeyFile | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    finished = await run(
        deployment,
        listener,
        stop,
        limits,
        on_listening,
        next_release,
        on_release,
        grpc_address=grpc_address,
        on_grpc=on_grpc,
        api_keys=api_keys,
    )
    if not finished:
        raise Fault(
            f"requests were still unanswered {limits.drain_timeout_s:g} s after the signal",
            reason="drain_timeout",
            fix="allow more time, or look for an engine that hangs",
        )
