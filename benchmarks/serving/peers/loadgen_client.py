"""MLPerf LoadGen's Server scenario against an HTTP server; runs in LoadGen's own environment.

A job as JSON on stdin: ``host``, ``port``, ``path``, ``bodies``, ``rate_per_s``, ``duration_s``,
``limit_s`` (at p99), ``seed``, ``out`` (a folder). There it leaves LoadGen's logs and
``asked.json``: what was asked when, what failed, and the CPU time of this process.

LoadGen decides when a query is due, on its own thread, which only hands it over; one event loop
sends it on a kept-alive connection and reads the answer. Connections are taken in turn and opened
before the test, so that none is closed for having been idle. LoadGen does not know of queries that
fail: they are completed, or it would wait for ever, and counted; who reads this judges them.
"""

import asyncio
import gc
import json
import re
import sys
import threading
import time
from collections import deque
from pathlib import Path

import mlperf_loadgen

CONNECTIONS = 64
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One kept-alive connection and the query that it carries, if any."""

    def __init__(self, client):
        self.client = client
        self.query = None
        self.received = b""

    def connection_made(self, transport):
        self.transport = transport

    def send(self, query, payload):
        self.query = query
        self.received = b""
        self.transport.write(payload)

    def data_received(self, data):
        self.received += data
        head, ended, body = self.received.partition(b"\r\n\r\n")
        if not ended:
            return
        length = _LENGTH.search(head)
        if length is None:
            self.transport.abort()  # not a server that can be measured; the query fails
        elif len(body) >= int(length[1]):
            query, self.query = self.query, None
            self.client.complete(query, head.split(b" ", 2)[1] == b"200")
            self.client.idle.append(self)

    def connection_lost(self, error):
        if self.query is not None:
            self.client.complete(self.query, False)
        elif self in self.client.idle:
            self.client.idle.remove(self)


class Client:
    """Sends what LoadGen asks for. All but ``issue`` runs in the event loop."""

    def __init__(self, job, loop):
        self.loop = loop
        self.address = (job["host"], job["port"])
        head = (
            f"POST {job['path']} HTTP/1.1\r\nhost: {job['host']}:{job['port']}\r\n"
            "content-type: application/json\r\ncontent-length: "
        )
        bodies = [body.encode() for body in job["bodies"]]
        self.payloads = [b"%b%d\r\n\r\n%b" % (head.encode(), len(b), b) for b in bodies]
        self.idle = deque()
        self.opening = set()
        self.asked = []
        self.failed = 0

    def issue(self, samples):
        """LoadGen's thread: a query has one sample in the Server scenario."""
        now = time.perf_counter()
        for sample in samples:
            self.asked.append((now, sample.index))
            self.loop.call_soon_threadsafe(self.send, sample.id, self.payloads[sample.index])

    def send(self, query, payload):
        if self.idle:
            self.idle.popleft().send(query, payload)
            return
        task = self.loop.create_task(self.send_on_a_new_one(query, payload))
        self.opening.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self.opening.discard)

    async def send_on_a_new_one(self, query, payload):
        try:
            connection = await self.connect()
        except OSError:
            self.complete(query, False)
        else:
            connection.send(query, payload)

    async def connect(self):
        _, connection = await self.loop.create_connection(lambda: Connection(self), *self.address)
        return connection

    async def open(self, connections):
        self.idle.extend([await self.connect() for _ in range(connections)])

    def complete(self, query, good):
        self.failed += not good
        done = mlperf_loadgen.QuerySampleResponse(query, 0, 0)
        mlperf_loadgen.QuerySamplesComplete([done])


def settings(job):
    """The Server scenario at a rate, with seeds of this run."""
    made = mlperf_loadgen.TestSettings()
    made.scenario = mlperf_loadgen.TestScenario.Server
    made.mode = mlperf_loadgen.TestMode.PerformanceOnly
    made.server_target_qps = job["rate_per_s"]
    made.server_target_latency_ns = round(job["limit_s"] * 1e9)
    made.server_target_latency_percentile = 0.99
    made.min_duration_ms = round(job["duration_s"] * 1e3)
    made.qsl_rng_seed = made.sample_index_rng_seed = made.schedule_rng_seed = job["seed"]
    return made


def logs(out):
    """LoadGen's files in ``out``, written after the test."""
    made = mlperf_loadgen.LogSettings()
    made.log_output.outdir = out
    made.log_mode = mlperf_loadgen.LoggingMode.EndOfTestOnly
    made.enable_trace = False
    return made


def main():
    job = json.load(sys.stdin)
    loop = asyncio.new_event_loop()
    client = Client(job, loop)
    loop.run_until_complete(client.open(CONNECTIONS))
    looping = threading.Thread(target=loop.run_forever)
    looping.start()
    n = len(job["bodies"])
    sut = mlperf_loadgen.ConstructSUT(client.issue, lambda: None)
    qsl = mlperf_loadgen.ConstructQSL(n, n, lambda _: None, lambda _: None)
    gc.collect()
    gc.freeze()
    gc.disable()
    start_s, cpu_s = time.perf_counter(), time.process_time()
    mlperf_loadgen.StartTestWithLogSettings(sut, qsl, settings(job), logs(job["out"]))
    took_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
    loop.call_soon_threadsafe(loop.stop)
    looping.join()
    mlperf_loadgen.DestroyQSL(qsl)
    mlperf_loadgen.DestroySUT(sut)
    first_s = client.asked[0][0]
    asked = {
        "first_s": first_s,  # on the machine's monotonic clock
        "at_s": [at_s - first_s for at_s, _ in client.asked],
        "index": [index for _, index in client.asked],
        "failed": client.failed,
        "cores": cpu_s / took_s,
    }
    (Path(job["out"]) / "asked.json").write_text(json.dumps(asked))


if __name__ == "__main__":
    main()
