"""Server processes to be loaded: started, waited for, asked, and ended whatever happens."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from headgate.config import Item
from headgate.errors import Fault
from headgate.loadtest import Target, embeddings_body, infer_body, rerank_body
from headgate.objects import short
from headgate.optimize.child import end_with_parent
from headgate.optimize.recorder import Call
from headgate.workload import Pair

__all__ = ["SERVER_CODE", "Server", "Starting", "body_of", "ready", "server_process", "target_of"]

SERVER_CODE = ("headgate.runtime.loading", "headgate.server", "headgate.loadtest.generator")
"""What runs in the processes that are started here: part of the code that a run depends on. Of
``headgate serve`` that is what loads and what serves, and not what the command hands over (limits;
here no traces and no watch), or whatever it prints would be part of it."""
_WARM_S = 6.0
_START_S = 60.0
_PATHS = {"embed": "/v1/embeddings", "rerank": "/rerank"}
"""Where requests of a task go; others go by the Open Inference Protocol."""
_TEXT = {"name": "text", "datatype": "BYTES"}
"""The V2 input of a model that takes text."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that accepts requests."""

    url: str
    process: psutil.Process

    def engine_calls(self) -> tuple[int, float]:
        """Engine calls since it started, and their seconds in all, by its own count."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as reply:
            text = reply.read().decode()
        values = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if family.name == "headgate_engine_seconds"
        }
        return (
            int(values["headgate_engine_seconds_count"]),
            values["headgate_engine_seconds_sum"],
        )


@dataclass(frozen=True, slots=True)
class Starting:
    """A server process that may not accept requests yet."""

    process: subprocess.Popen[bytes]
    variant: str
    log: Path


@contextmanager
def server_process(call: Call, variant: str) -> Iterator[Starting]:
    """A server process of ``variant`` on a free port of 127.0.0.1; ended afterwards."""
    command = [
        *(sys.executable, "-m", "headgate", "serve", "--variant", variant),
        *("--store", str(call.store.root), "--root", str(call.root)),
        *("--host", "127.0.0.1", "--port", "0", "--warm-s", str(_WARM_S), "--json"),
    ]
    log = call.work_dir / f"serve-{short(variant)}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, preexec_fn=end_with_parent
        )
    try:
        yield Starting(process, variant, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def ready(starting: Starting) -> Server:
    """Waits for the server to accept requests. Raises ``Fault`` where it ends instead."""
    assert starting.process.stdout is not None
    said, _, _ = select.select([starting.process.stdout], [], [], _START_S)
    line = starting.process.stdout.readline() if said else b""
    try:
        url = str(json.loads(line)["url"])
    except ValueError:  # nothing, or the first line of an error
        name = short(starting.variant)
        raise Fault(
            f"the server of variant {name} did not start: {_last_line(starting.log)}",
            fix=f"type: headgate serve --variant {name}",
        ) from None
    return Server(url, psutil.Process(starting.process.pid))


def target_of(server: Server, call: Call) -> Target:
    """Where the endpoint's requests go."""
    path = _PATHS.get(call.c["task"], f"/v2/models/{call.c['endpoint']}/infer")
    return Target(server.url + path, pid=server.process.pid)


def body_of(item: Item, call: Call) -> bytes:
    """The request that asks for ``item``."""
    if call.c["task"] == "embed":
        assert isinstance(item, str)
        return embeddings_body(item, model=call.c["endpoint"])
    if isinstance(item, Pair):
        return rerank_body(item.query, [item.text])
    tensor = call.c["input"] or _TEXT
    value: object = item if isinstance(item, str) else item.tolist()
    return infer_body([value], name=tensor["name"], datatype=tensor["datatype"])


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
