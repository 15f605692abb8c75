"""Every server that is measured: its settings, command and protocol; started and ended here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.serving.bench import Bench
from benchmarks.serving.install import python_of
from benchmarks.serving.prepare import CHECK_TEXT

__all__ = ["PEERS", "Protocol", "Running", "Server", "noop_servers", "ours", "peer", "running"]

_PEERS = Path(__file__).with_name("peers")
_START_S = 120.0
_WATCHED = frozenset({"triton"})
"""Ends itself where its Python half is silent for some seconds; idle it uses next to nothing."""
_LEAST_COSINE = 0.98
"""Between fp32 and int8 answers; another model is far below."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one text is asked for."""

    path: str
    body: Callable[[str], object]
    vector: Callable[[Any], list[float]] | None = None
    """From the decoded answer; None for a model that does nothing."""


@dataclass(frozen=True)
class Server:
    """One server at one setting; ``command`` may contain ``{port}``."""

    name: str
    setting: str
    protocol: Protocol
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def bodies(self, texts: list[str]) -> list[bytes]:
        return [json.dumps(self.protocol.body(t)).encode() for t in texts]


def _openai(reply: Any) -> list[float]:
    return list(reply["data"][0]["embedding"])


# Peer -> settings: threads of an engine, engines, largest batch, wait for company.
_GRID = [(2, 1, 32, 0.005), (1, 2, 8, 0.001), (1, 2, 1, 0.0)]
PEERS: dict[str, list[tuple[int, int, int, float]]] = {
    "litserve": [*_GRID, (1, 2, 16, 0.002)],
    "ray": _GRID,
    # BentoML learns how long to wait and takes a bound for the whole request, in seconds.
    "bentoml": [(2, 1, 32, 1.0), (1, 2, 8, 1.0), (1, 2, 1, 1.0)],
    "infinity": [(2, 1, 32, 0.0), (2, 1, 16, 0.0), (2, 1, 8, 0.0)],
    "triton": [(2, 1, 32, 0.0), (1, 2, 8, 0.0), (1, 2, 16, 0.001)],
}
_PROTOCOLS = {
    "litserve": Protocol("/predict", lambda t: {"text": t}, lambda r: r["embedding"]),
    "ray": Protocol("/", lambda t: {"text": t}, lambda r: r["embedding"]),
    "bentoml": Protocol("/embed", lambda t: {"texts": [t]}, lambda r: r[0]),
    "infinity": Protocol("/embeddings", lambda t: {"model": "model", "input": t}, _openai),
    "triton": Protocol(
        "/v2/models/embed/infer",
        lambda t: {"inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [t]}]},
        lambda r: r["outputs"][0]["data"],
    ),
}


def ours(bench: Bench, endpoint: str) -> Server:
    """Our own, traces, metrics and admission on, no cache."""
    if endpoint == "noop":
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
        protocol = Protocol(f"/v2/models/{endpoint}/infer", lambda _: {"inputs": [tensor]})
    else:
        protocol = Protocol("/v1/embeddings", lambda t: {"model": endpoint, "input": t}, _openai)
    command = (
        *(sys.executable, "-m", "headgate", "serve", "--store", str(bench.store)),
        *("--endpoint", endpoint, "--port", "{port}", "--json"),
    )
    return Server("headgate", endpoint, protocol, command)


def _setting(threads: int, workers: int, batch: int, wait_s: float) -> dict[str, str]:
    return {
        "BENCH_THREADS": str(threads),
        "BENCH_WORKERS": str(workers),
        "BENCH_BATCH": str(batch),
        "BENCH_WAIT_S": str(wait_s),
    }


def peer(bench: Bench, name: str, setting: tuple[int, int, int, float]) -> Server:
    """A peer, on the same model file and tokenizer."""
    threads, workers, batch, wait_s = setting
    python = python_of(name)
    command = (str(python), str(_PEERS / f"{name}_server.py"))
    if name == "bentoml":
        command = (
            *(str(python), "-m", "bentoml", "serve", "bentoml_server:Embed"),
            *("--working-dir", str(_PEERS), "--host", "127.0.0.1", "--port", "{port}"),
        )
    environment = {
        **_setting(threads, workers, batch, wait_s),
        "BENCH_MODEL": bench.model["model"],
        "BENCH_TOKENIZER": bench.model["tokenizer"],
        "BENCH_MAX_TOKENS": str(bench.model["max_tokens"]),
        "PYTHONPATH": str(_PEERS),
        # None of them may call home.
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
    }
    label = f"{workers} x {threads} threads, batch {batch}, wait {wait_s:g} s"
    return Server(name, label, _PROTOCOLS[name], command, environment)


def noop_servers(bench: Bench) -> list[Server]:
    """Models that do nothing: ours, LitServe's settings, bare uvicorn."""
    protocol = Protocol("/predict", lambda _: {"input": 1.0})
    lit = (str(python_of("litserve")), str(_PEERS / "litserve_noop.py"))
    settings = [(1, 1, 1, 0.0), (1, 2, 1, 0.0), (1, 1, 32, 0.001)]
    return [
        ours(bench, "noop"),
        *(
            Server("litserve", f"{w} workers, batch {b}", protocol, lit, _setting(t, w, b, s))
            for t, w, b, s in settings
            if python_of("litserve").exists()
        ),
        Server("uvicorn", "", protocol, (sys.executable, str(_PEERS / "uvicorn_noop.py"))),
    ]


class Running:
    """A server that answers; its processes can be stopped and continued."""

    def __init__(self, server: Server, port: int, process: psutil.Process) -> None:
        self.server = server
        self.process = process
        self.base = f"http://127.0.0.1:{port}"
        self.url = self.base + server.protocol.path

    def tree(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def suspend(self) -> None:
        """While another server is measured this one uses no CPU."""
        if self.server.name in _WATCHED:
            return
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    @property
    def rss_bytes(self) -> int:
        return int(self.process.memory_info().rss)

    def metric(self, name: str) -> float:
        """The sum of one of our metrics over its labels; 0 where it is not there."""
        with urllib.request.urlopen(f"{self.base}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        rows = [x for x in lines if x.split("{")[0].split(" ")[0] == name]
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


def _hear_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def running(bench: Bench, server: Server) -> Iterator[Running]:
    """Starts ``server`` on a free port, waits until it answers, and ends all its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.replace("{port}", str(port)) for part in server.command]
    environment = {**os.environ, **server.environment, "BENCH_PORT": str(port)}
    # A signal that comes while the process is being made would leave nobody to end it.
    waiting = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with (bench.out / f"{server.name}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            preexec_fn=_hear_signals,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=bench.out,
        )
    started = Running(server, port, psutil.Process(process.pid))
    try:
        signal.signal(signal.SIGTERM, waiting)
        answer = _wait(started, process)
        vector = server.protocol.vector
        if vector is not None:
            _check(server, np.array(vector(answer)), np.array(bench.model["check"]))
        yield started
    finally:
        _end(started, process)


def _check(server: Server, got: Any, wanted: Any) -> None:
    """Raises where the server does not run the model that all are compared on."""
    same = got.shape == wanted.shape
    norms = np.linalg.norm(got) * np.linalg.norm(wanted)
    if not same or not float(got @ wanted) >= _LEAST_COSINE * float(norms):
        raise RuntimeError(f"{server.name} ({server.setting}) answers as another model")


def _wait(server: Running, process: subprocess.Popen[bytes]) -> Any:
    request = urllib.request.Request(
        server.url,
        data=server.server.bodies([CHECK_TEXT])[0],
        headers={"content-type": "application/json"},
    )
    deadline = time.monotonic() + _START_S
    said = ""
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return json.load(reply)
        except OSError as error:
            said = str(error)
            time.sleep(0.2)
    raise RuntimeError(f"{server.server.name} ({server.server.setting}) did not start: {said}")


def _end(server: Running, process: subprocess.Popen[bytes]) -> None:
    tree = server.tree()
    server.resume()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for each in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(10)
