"""Real load on real servers: baseline and winner replay the workload in alternating segments.

Each runs in a process of its own, through HTTP, open loop, at a share of its own capacity. Only
one of the two is asked at a time, so they share nothing but the machine's mood.
"""

from __future__ import annotations

import ctypes
import json
import math
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from headgate.config import Item, load_workload
from headgate.errors import Fault, Undecided
from headgate.loadtest import (
    LoadResult,
    Segment,
    Target,
    embeddings_body,
    infer_body,
    run_load,
)
from headgate.objects import Direction, canonical, parse, short
from headgate.optimize.recorder import Call, Output, Recorded, Recorder, transformation
from headgate.release import Blocks
from headgate.runtime.servable import Servable
from headgate.theory.quantile import quantile

__all__ = ["Replay", "SegmentTimes", "ShellCost", "Side", "measure_load", "measure_shell"]

_PROBE_CONNECTIONS = 16
_PROBE_S = 2.5
_AA_S = 2.5
_WARM_S = 6.0
_MOST_FAILED_SHARE = 0.01
_SERVER_CODE = ("headgate.cli.serve", "headgate.server", "headgate.loadtest.generator")
"""What runs in the processes that are started here: part of the code that a run depends on."""
_SHELL_REQUESTS = 2000
_LONE_REQUESTS = 100
_START_S = 60.0
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_TEXT = {"name": "text", "datatype": "BYTES"}
"""The V2 input of a model that takes text."""
_QUANTILES = (*(i / 200 for i in range(1, 200)), 0.999)


@dataclass(frozen=True, slots=True)
class SegmentTimes:
    """One segment of load on one server."""

    requests: int
    failed: int
    duration_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    mean_s: float
    hit_share: float
    server_cpu_s: float
    """CPU seconds of the server's process, all threads."""

    def metric(self, name: str, *, cores: int, price_per_s: float) -> float:
        """A latency in seconds, or machine seconds or money for a thousand answered requests.

        A server that fails more than one request in a hundred has no latency: it is infinite.
        """
        if name.startswith("latency_"):
            if self.failed > _MOST_FAILED_SHARE * self.requests:
                return math.inf
            return float(getattr(self, name.removeprefix("latency_") + "_s"))
        answered = self.requests - self.failed
        per_1k = self.server_cpu_s / cores / answered * 1000 if answered else math.inf
        return per_1k * price_per_s if name.startswith("cost_per_") else per_1k


@dataclass(frozen=True, slots=True)
class ShellCost:
    """What HTTP, tokenizing and the cache cost a request, engines apart."""

    cpu_s_per_request: float
    latency_s: float
    """Of a lone request that is answered from the cache."""
    run: Recorded


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two servers over the whole replay."""

    capacity_per_s: float
    """Answers a second, closed loop, many connections."""
    rate_per_s: float
    """At which it was replayed."""
    first: int
    """Index of the first replayed request of the workload; those before warmed it up."""
    last: int
    segments: tuple[SegmentTimes, ...]
    quantiles: tuple[tuple[float, float], ...]
    """Latency of all replayed requests: (share, seconds)."""
    memory_bytes: int
    """Resident memory of the server at the end."""
    void: tuple[str, ...]
    """Why the generator's verdict on itself is VOID, over all segments; empty where valid."""

    def quantile_s(self, q: float) -> float:
        """The latency that a share ``q`` of the replayed requests kept."""
        return next(t for share, t in self.quantiles if share >= q)

    @property
    def requests(self) -> int:
        return sum(s.requests for s in self.segments)

    @property
    def cpu_s_per_request(self) -> float:
        return sum(s.server_cpu_s for s in self.segments) / max(self.requests, 1)

    @property
    def hit_share(self) -> float:
        return sum(s.hit_share * s.requests for s in self.segments) / max(self.requests, 1)


@dataclass(frozen=True, slots=True)
class Replay:
    """Both sides, and the baseline against itself before and after."""

    current: Side
    candidate: Side
    aa_before: tuple[SegmentTimes, SegmentTimes]
    aa_after: tuple[SegmentTimes, SegmentTimes]
    cores: int
    run: Recorded

    def samples(self, metric: str, *, price_per_s: float) -> Blocks | None:
        """The candidate's segments beside the current's, as the gate takes them."""
        if not metric.startswith(("latency_", "cost_per_", "device_s_per_")):
            return None

        def of(s: SegmentTimes) -> float:
            return s.metric(metric, cores=self.cores, price_per_s=price_per_s)

        return Blocks(
            metric=metric,
            unit="money" if metric.startswith("cost") else "s",
            direction=Direction.LOWER,
            candidate=tuple(of(s) for s in self.candidate.segments),
            current=tuple(of(s) for s in self.current.segments),
            aa_before=((of(self.aa_before[0]), of(self.aa_before[1])),),
            aa_after=((of(self.aa_after[0]), of(self.aa_after[1])),),
        )

    @property
    def void(self) -> tuple[str, ...]:
        """What the generator holds against its own run, if anything."""
        return (*self.current.void, *self.candidate.void)


@transformation("measure.shell", measures=True, also=_SERVER_CODE)
def shell(call: Call) -> Mapping[str, Output]:
    """What a request costs outside of engines: CPU time of cache hits on a real server.

    A hit is parsed, tokenized, looked up and answered like any request, and never runs.
    """
    item = load_workload(call.path("workload")).items[0]
    with _process(call, call.u["variant"]) as process:
        running = _ready(process)
        target, body = _target(running, call), _body(item, call)
        results = [
            run_load(
                [Segment(target, np.zeros(n), [body] * n)],
                timeout_s=60.0,
                max_connections=_PROBE_CONNECTIONS,
            )[0]
            for n in (64, _SHELL_REQUESTS)
        ]
        lone = run_load(
            [
                Segment(
                    target,
                    np.arange(_LONE_REQUESTS, dtype=np.float64) * 0.01,
                    [body] * _LONE_REQUESTS,
                )
            ]
        )[0]
    hits = results[-1]
    if hits.answered < hits.n or set(hits.sources) != {"cache"}:
        raise Undecided("not every repeated request was answered from the cache")
    body_out = {
        "cpu_s_per_request": hits.server_cpu_s / hits.n,
        "latency_s": lone.quantile_s(0.5),
        "requests": hits.n,
    }
    return {"shell": Output(canonical(body_out), "samples", "json ShellCost")}


@transformation("load.replay", measures=True, also=_SERVER_CODE)
def replay(call: Call) -> Mapping[str, Output]:
    """Alternating open-loop segments on the servers of two variants."""
    c = call.c
    log = load_workload(call.path("workload"))
    sides = [call.u["current"], call.u["candidate"]]
    with _process(call, sides[0]) as first, _process(call, sides[1]) as second:
        servers = [_ready(first), _ready(second)]  # both load and warm at the same time
        call.progress(0.02, "finding each server's capacity")
        probes = [_probe(s, log.items, call) for s in servers]
        rates = [c["load"] * capacity for capacity, _ in probes]
        plans = [
            _Schedule(s, log.at_s, log.items, start, rate, call)
            for s, (_, start), rate in zip(servers, probes, rates, strict=True)
        ]
        # A log that ends sooner is not begun anew: a cache would answer all of it.
        lasts = [min(c["seconds"], plan.remaining_s) / c["blocks"] for plan in plans]
        segments: list[tuple[int, Segment]] = [(0, plans[0].aside(_AA_S)) for _ in range(2)]
        for block in range(c["blocks"]):
            order = (0, 1) if block % 2 == 0 else (1, 0)
            segments += [(i, plans[i].next(lasts[i])) for i in order]
        segments += [(0, plans[0].aside(_AA_S)) for _ in range(2)]
        call.progress(0.1, f"replaying at {rates[0]:.0f} and {rates[1]:.0f} requests/s")
        results = run_load([s for _, s in segments], timeout_s=10.0)
        memory = [s.process.memory_info().rss for s in servers]
    body = {
        "aa_before": [_times(r) for r in results[:2]],
        "aa_after": [_times(r) for r in results[-2:]],
        "sides": [_side(i, segments, results, probes[i], plans[i], memory[i]) for i in range(2)],
    }
    return {"load": Output(canonical(body), "samples", "json {sides, aa_before, aa_after}")}


@dataclass(frozen=True, slots=True)
class _Server:
    url: str
    process: psutil.Process


@dataclass(frozen=True, slots=True)
class _Starting:
    process: subprocess.Popen[bytes]
    variant: str
    log: Path


@contextmanager
def _process(call: Call, variant: str) -> Iterator[_Starting]:
    """A server process of ``variant`` on a free port of 127.0.0.1; ended afterwards."""
    command = [
        *(sys.executable, "-m", "headgate", "serve", "--variant", variant),
        *("--store", str(call.store.root), "--root", str(call.root)),
        *("--host", "127.0.0.1", "--port", "0", "--warm-s", str(_WARM_S), "--json"),
    ]
    log = call.work_dir / f"serve-{short(variant)}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, preexec_fn=_end_with_parent
        )
    try:
        yield _Starting(process, variant, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _ready(starting: _Starting) -> _Server:
    """Waits for the server to accept requests. Raises ``Fault`` where it ends instead."""
    assert starting.process.stdout is not None
    said, _, _ = select.select([starting.process.stdout], [], [], _START_S)
    line = starting.process.stdout.readline() if said else b""
    if not line:
        name = short(starting.variant)
        raise Fault(
            f"the server of variant {name} did not start: {_last_line(starting.log)}",
            fix=f"type: headgate serve --variant {name}",
        )
    return _Server(str(json.loads(line)["url"]), psutil.Process(starting.process.pid))


def _end_with_parent() -> None:
    """Asks the kernel to end this process with its parent, so that kill -9 leaves no server."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _target(s: _Server, call: Call) -> Target:
    path = (
        "/v1/embeddings" if call.c["task"] == "embed" else f"/v2/models/{call.c['endpoint']}/infer"
    )
    return Target(s.url + path, pid=s.process.pid)


def _body(item: Item, call: Call) -> bytes:
    if call.c["task"] == "embed":
        assert isinstance(item, str)
        return embeddings_body(item, model=call.c["endpoint"])
    tensor = call.c["input"] or _TEXT
    value: object = item if isinstance(item, str) else item.tolist()
    return infer_body([value], name=tensor["name"], datatype=tensor["datatype"])


def _probe(s: _Server, items: Sequence[Item], call: Call) -> tuple[float, int]:
    """(answers a second, requests used): a closed loop of 16 connections for about 2.5 s.

    A first short loop finds how many requests that is; the second is the measurement.
    """
    n, used, rate = 64, 0, 0.0
    for _ in range(2):
        chosen = [items[(used + i) % len(items)] for i in range(n)]
        bodies = [_body(item, call) for item in chosen]
        segment = Segment(_target(s, call), np.zeros(n), bodies)
        (result,) = run_load([segment], timeout_s=60.0, max_connections=_PROBE_CONNECTIONS)
        if not result.answered:
            raise Undecided(
                "the server answered none of the requests that look for its capacity",
                where=s.url,
                fix="run the load test by hand: headgate bench",
            )
        used, rate = used + n, result.rate_per_s
        n = max(64, round(rate * _PROBE_S))
    return rate, used


class _Schedule:
    """Cuts a workload, sped up to a rate, into consecutive segments."""

    def __init__(
        self,
        s: _Server,
        at_s: NDArray[np.float64],
        items: Sequence[Item],
        start: int,
        rate_per_s: float,
        call: Call,
    ) -> None:
        span_s = float(at_s[-1] - at_s[0])
        assert span_s > 0, "inputs refuse a workload at one moment"
        self._stretch = ((len(at_s) - 1) / span_s) / rate_per_s
        self._at_s, self._items, self._call = at_s, items, call
        self._target = _target(s, call)
        self.first = self.last = min(start, len(items) // 2)
        self.rate_per_s = rate_per_s

    @property
    def remaining_s(self) -> float:
        """How long the rest of the workload takes at this rate."""
        return float(self._at_s[-1] - self._at_s[self.last]) * self._stretch

    def next(self, seconds: float) -> Segment:
        """The next ``seconds`` of the workload; it begins anew where it ends."""
        segment = self._cut(self.last, seconds)
        self.last += len(segment.bodies)
        return segment

    def aside(self, seconds: float) -> Segment:
        """The same requests every time, for noise; they do not count as replayed."""
        return self._cut(self.first, seconds)

    def _cut(self, start: int, seconds: float) -> Segment:
        times, bodies = [0.0], [self._item(start)]
        i = start + 1
        while True:
            gap = self._gap(i)
            if times[-1] + gap > seconds:
                return Segment(self._target, np.array(times), bodies)
            times.append(times[-1] + gap)
            bodies.append(self._item(i))
            i += 1

    def _gap(self, i: int) -> float:
        i = i % len(self._items)
        return float(self._at_s[i] - self._at_s[i - 1]) * self._stretch if i else 0.0

    def _item(self, i: int) -> bytes:
        return _body(self._items[i % len(self._items)], self._call)


def _times(r: LoadResult) -> SegmentTimes:
    hits = sum(s in ("cache", "twin") for s in r.sources)
    return SegmentTimes(
        requests=r.n,
        failed=r.failed,
        duration_s=r.duration_s,
        p50_s=r.quantile_s(0.5),
        p95_s=r.p95_s,
        p99_s=r.quantile_s(0.99),
        mean_s=float(np.mean(r.latencies_s)),
        hit_share=hits / r.n,
        server_cpu_s=r.server_cpu_s,
    )


def _side(
    index: int,
    segments: Sequence[tuple[int, Segment]],
    results: Sequence[LoadResult],
    probe: tuple[float, int],
    plan: _Schedule,
    memory_bytes: int,
) -> Mapping[str, Any]:
    own = [r for (i, _), r in list(zip(segments, results, strict=True))[2:-2] if i == index]
    whole = LoadResult.joined(own)
    return {
        "capacity_per_s": probe[0],
        "rate_per_s": plan.rate_per_s,
        "first": plan.first,
        "last": plan.last,
        "segments": [_times(r) for r in own],
        "quantiles": [(q, quantile(whole.latencies_s, q)) for q in _QUANTILES],
        "memory_bytes": memory_bytes,
        "void": whole.verdict().broken,
    }


def measure_shell(
    recorder: Recorder,
    variant: Servable,
    version: str,
    *,
    workload: str,
    tensor: Mapping[str, str] | None,
) -> ShellCost:
    """``variant`` must have a cache."""
    done = recorder.run(
        shell,
        u={"variant": version, "workload": workload},
        c={"endpoint": variant.endpoint, "task": variant.task, "input": tensor},
        detail="what a request costs outside of engines",
    )
    body = parse(recorder.store.read(done.outputs["shell"]))
    return ShellCost(body["cpu_s_per_request"], body["latency_s"], done)


def measure_load(
    recorder: Recorder,
    *,
    current: Servable,
    candidate: Servable,
    versions: tuple[str, str],
    workload: str,
    seconds: float,
    blocks: int,
    load: float,
    cores: int,
    tensor: Mapping[str, str] | None,
) -> Replay:
    """Replays ``workload`` on both; ``versions`` are the artifacts of (current, candidate)."""
    u = {"current": versions[0], "candidate": versions[1], "workload": workload}
    done = recorder.run(
        replay,
        u=u,
        c={
            "endpoint": current.endpoint,
            "task": current.task,
            "seconds": seconds,
            "blocks": blocks,
            "load": load,
            "input": tensor,
        },
        detail=f"{current.variant.name} and {candidate.variant.name}, {seconds:g} s each",
    )
    body = parse(recorder.store.read(done.outputs["load"]))
    first, second = (_side_from_json(s) for s in body["sides"])
    before, after = (tuple(map(_times_from_json, body[k])) for k in ("aa_before", "aa_after"))
    return Replay(first, second, before, after, cores, done)  # type: ignore[arg-type]  # two each


def _side_from_json(body: Mapping[str, Any]) -> Side:
    return Side(
        **{
            **body,
            "segments": tuple(map(_times_from_json, body["segments"])),
            "quantiles": tuple(map(tuple, body["quantiles"])),
            "void": tuple(body["void"]),
        }
    )


def _times_from_json(body: Mapping[str, Any]) -> SegmentTimes:
    return SegmentTimes(**body)
