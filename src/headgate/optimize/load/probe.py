"""What a server can do, closed loop: its capacity, and what its shell costs a request."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.config import Item, load_workload
from headgate.engines import codec_for
from headgate.errors import Undecided
from headgate.loadtest import Segment, run_load
from headgate.objects import canonical, parse
from headgate.optimize.load.servers import (
    SERVER_CODE,
    Server,
    body_of,
    ready,
    server_process,
    target_of,
)
from headgate.optimize.recorder import Call, Output, Recorded, Recorder, transformation
from headgate.optimize.served import identity
from headgate.runtime.servable import Servable

__all__ = ["Saturated", "ShellCost", "measure_shell", "saturate"]

_CONNECTIONS = 64
"""Closed loop: so many that a server which holds requests for company is never short of them."""
_FIRST_REQUESTS = 128
_PROBE_S = 2.0
_SHELL_REQUESTS = 2000
_REPEATED_ITEMS = 500
"""The last so many that ran are asked again: no cache is so small that it forgot them."""
_LONE_REQUESTS = 200
_LONE_PER_S = 100.0
_TOKENIZED_TEXTS = 2000


@dataclass(frozen=True, slots=True)
class ShellCost:
    """What HTTP, tokenizing and the cache cost a request, engines apart.

    A process that slept between two requests finds its code and data no longer in the processor's
    caches: a lone request takes several times the CPU time of one in a crowd.
    """

    crowd_cpu_s: float
    """Of a request that was seen before, as fast as they come."""
    crowd_per_s: float
    lone_cpu_s: float
    """Of one that was seen before, at ``lone_per_s``."""
    lone_per_s: float
    crowd_tokenize_s: float
    """What one that was never seen takes beyond that, as fast as they come: its tokens."""
    lone_tokenize_s: float
    latency_s: float
    """Of a lone request that is answered from the cache."""
    handover_s: float
    """From one engine call to the next on an instance for which requests wait: its thread reports
    to the event loop, the plane decides, the thread wakes up again."""
    run: Recorded

    def cpu_s(self, rate_per_s: float, *, new_share: float) -> float:
        """CPU seconds of a request at a rate, where ``new_share`` of them were never seen before.

        Between the two rates that were measured: a straight line over the logarithm of the rate,
        which two more rates lay on within a fifth (decision 6).
        """
        ends = (math.log(self.lone_per_s), math.log(self.crowd_per_s))
        lone_s = self.lone_cpu_s + new_share * self.lone_tokenize_s
        crowd_s = self.crowd_cpu_s + new_share * self.crowd_tokenize_s
        return float(np.interp(math.log(max(rate_per_s, 1e-9)), ends, (lone_s, crowd_s)))

    def request_latency_s(self, *, new_share: float) -> float:
        """The mean of what a lone request waits for beside queue and engine."""
        return self.latency_s + new_share * self.lone_tokenize_s


@dataclass(frozen=True, slots=True)
class Saturated:
    """A server under more load than it can take."""

    rate_per_s: float
    requests: int
    """Sent, from the first of the workload on."""
    idle_s_per_call: float
    """Time in which no engine ran, for each engine call; means little with several instances."""


def saturate(server: Server, items: Sequence[Item], call: Call) -> Saturated:
    """A closed loop of 64 connections for about 2 s.

    A first short loop finds how many requests that is; the second is the measurement.
    """
    n, used, rate, idle_s = _FIRST_REQUESTS, 0, 0.0, 0.0
    for _ in range(2):
        chosen = [items[(used + i) % len(items)] for i in range(n)]
        bodies = [body_of(item, call) for item in chosen]
        calls, busy_s = server.engine_calls()
        segment = Segment(target_of(server, call), np.zeros(n), bodies)
        (result,) = run_load([segment], timeout_s=60.0, max_connections=_CONNECTIONS)
        if not result.answered:
            raise Undecided(
                "the server answered none of the requests that look for its capacity",
                where=server.url,
                fix="run the load test by hand: headgate bench",
            )
        calls_now, busy_now_s = server.engine_calls()
        if calls_now > calls:
            idle_s = (result.duration_s - (busy_now_s - busy_s)) / (calls_now - calls)
        used, rate = used + n, result.rate_per_s
        n = max(_FIRST_REQUESTS, round(rate * _PROBE_S))
    return Saturated(rate, used, max(idle_s, 0.0))


@transformation("measure.shell", measures=True, also=SERVER_CODE)
def shell(call: Call) -> Mapping[str, Output]:
    """What a request costs outside of engines, on a real server with one instance and a cache.

    A hit is parsed, looked up and answered like any request, and never runs: its CPU time and its
    latency are the shell's. What a server need not do for a text that it has seen, tokenizing, is
    measured beside it. Requests that were never seen before, more than can be served, show how
    long the engine stands idle between two calls.
    """
    log = load_workload(call.path("workload"))
    distinct = list({identity(item): item for item in log.items}.values())
    with server_process(call, call.u["variant"]) as process:
        server = ready(process)
        target = target_of(server, call)
        saturated = saturate(server, distinct, call)
        ran = range(max(0, saturated.requests - _REPEATED_ITEMS), saturated.requests)
        seen = [body_of(distinct[i % len(distinct)], call) for i in ran]
        bodies = list(itertools.islice(itertools.cycle(seen), _SHELL_REQUESTS))
        (hits,) = run_load(
            [Segment(target, np.zeros(len(bodies)), bodies)],
            timeout_s=60.0,
            max_connections=_CONNECTIONS,
        )
        due_s = np.arange(_LONE_REQUESTS, dtype=np.float64) / _LONE_PER_S
        (lone,) = run_load([Segment(target, due_s, bodies[:_LONE_REQUESTS])])
    if hits.answered < hits.n or set(hits.sources) != {"cache"}:
        raise Undecided("not every repeated request was answered from the cache")
    crowd_tokenize_s, lone_tokenize_s = _tokenize_s(call, distinct)
    body_out = {
        "crowd_cpu_s": hits.server_cpu_s / hits.n,
        "crowd_per_s": max(hits.rate_per_s, 2 * _LONE_PER_S),
        "lone_cpu_s": lone.server_cpu_s / lone.n,
        "lone_per_s": _LONE_PER_S,
        "crowd_tokenize_s": crowd_tokenize_s,
        "lone_tokenize_s": lone_tokenize_s,
        "latency_s": lone.quantile_s(0.5),
        "handover_s": saturated.idle_s_per_call,
    }
    return {"shell": Output(canonical(body_out), "samples", "json ShellCost")}


def _tokenize_s(call: Call, items: Sequence[Item]) -> tuple[float, float]:
    """CPU seconds of a text's tokenizing, as fast as they come and at the lone rate.

    0 where a server tokenizes what it has seen like what it has not: then hits have it in them.
    """
    servable = Servable.load(call.store, call.u["variant"])
    if servable.build.tokenizer is None or servable.preprocess is not None:
        return 0.0, 0.0
    codec = codec_for(servable.build, call.store.path_of)

    def each(texts: Sequence[Item], pause_s: float) -> float:
        spent_s = 0.0
        for text in texts:
            if pause_s:
                time.sleep(pause_s)
            before_s = time.thread_time()
            codec.encode([text], truncate=True)
            spent_s += time.thread_time() - before_s
        return spent_s / len(texts)

    crowd_s = each(items[:_TOKENIZED_TEXTS], 0.0)
    return crowd_s, each(items[:_LONE_REQUESTS], 1 / _LONE_PER_S)


def measure_shell(
    recorder: Recorder,
    variant: Servable,
    version: str,
    *,
    workload: str,
    tensor: Mapping[str, str] | None,
) -> ShellCost:
    """``variant`` must have a cache, one instance, and take one request at a time."""
    done = recorder.run(
        shell,
        u={"variant": version, "workload": workload},
        c={"endpoint": variant.endpoint, "task": variant.task, "input": tensor},
        detail="what a request costs outside of engines",
    )
    body = parse(recorder.store.read(done.outputs["shell"]))
    return ShellCost(**body, run=done)
