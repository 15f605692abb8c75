"""Starts the generator's process on a plan and reads back one result a segment."""

from __future__ import annotations

import subprocess
import sys
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from headgate.errors import Fault, InputError
from headgate.loadtest.result import LoadResult
from headgate.loadtest.wire import Outcome, Plan, SegmentPlan

__all__ = ["Segment", "Target", "run_load"]

_MAX_REQUESTS = 2_000_000
_MAX_SCHEDULE_S = 24 * 3600.0
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go: ``http://host:port/path`` or https, and headers beside the usual ones."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    """The server's process, where it runs on this machine: its CPU time is measured too."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Requests for one target: ``bodies[i]`` is sent ``at_s[i]`` seconds after the start.

    ``at_s`` ascends from 0 or later. All zeros and a small ``max_connections`` make a closed loop
    of that many connections: good for a saturation rate, void as a latency measurement.
    """

    target: Target
    at_s: NDArray[np.float64]
    bodies: Sequence[bytes]


def run_load(
    segments: Sequence[Segment],
    *,
    timeout_s: float = 10.0,
    max_connections: int = 1024,
    gap_s: float = 0.2,
) -> list[LoadResult]:
    """Runs ``segments`` one after the other in one generator process; one result for each.

    To compare two servers give segments of about 5 s that alternate between them: a machine that
    slows down then slows both. The next begins ``gap_s`` after everything of the last was
    answered, so none runs into another's queue. A request fails ``timeout_s`` after its scheduled
    time. Raises ``InputError`` for a plan that cannot be run, ``Fault`` if the generator died.
    """
    if not segments:
        raise InputError("a load test needs at least one segment", where="segments")
    plan = Plan([_plan(s, i) for i, s in enumerate(segments)], timeout_s, max_connections, gap_s)
    if sum(len(s.bodies) for s in segments) > _MAX_REQUESTS:
        raise InputError(f"more than {_MAX_REQUESTS} requests in one run", fix="split the run")
    if timeout_s <= 0 or max_connections < 1:
        raise InputError(
            f"timeout_s is {timeout_s:g} and max_connections {max_connections}",
            fix="give a timeout above 0 and at least one connection",
        )
    bound_s = sum(float(s.at_s[-1]) + timeout_s + gap_s for s in segments)
    if bound_s > _MAX_SCHEDULE_S:
        raise InputError(f"the schedule could take {bound_s:.0f} s", fix="shorten it to a day")
    command = [sys.executable, "-m", "headgate.loadtest.generator"]
    try:
        done = subprocess.run(
            command,
            input=msgspec.msgpack.encode(plan),
            capture_output=True,
            timeout=_START_S + 1.1 * bound_s,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise Fault(f"the load generator died: {last[0]}", where=segments[0].target.url) from None
    except subprocess.TimeoutExpired:
        raise Fault(
            "the load generator did not end in time",
            fix="look for a machine that is out of memory or suspended",
        ) from None
    outcomes = msgspec.msgpack.decode(done.stdout, type=list[Outcome])
    return [LoadResult.of(s.at_s, o) for s, o in zip(segments, outcomes, strict=True)]


def _plan(segment: Segment, index: int) -> SegmentPlan:
    where = f"segments[{index}]"
    url = urllib.parse.urlsplit(segment.target.url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InputError(
            f"{segment.target.url!r} is not a URL that the load generator speaks",
            where=where,
            fix="use http://host:port/path, or https",
        )
    at_s = np.ascontiguousarray(segment.at_s, dtype=np.float64)
    if at_s.ndim != 1 or len(at_s) != len(segment.bodies) or not len(at_s):
        raise InputError(f"{at_s.shape} times for {len(segment.bodies)} bodies", where=where)
    if not np.isfinite(at_s).all() or at_s[0] < 0 or (np.diff(at_s) < 0).any():
        raise InputError("times must be finite, from 0, and ascend", where=where)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    tls = url.scheme == "https"
    port = url.port or (443 if tls else 80)
    headers = {
        "host": f"{url.hostname}:{port}",
        "content-type": "application/json",
        **{name.lower(): value for name, value in segment.target.headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if any(c in f"{name}{value}" for name, value in headers.items() for c in "\r\n"):
        raise InputError("a header contains a line break", where=f"{where}.target.headers")
    head = f"POST {path} HTTP/1.1\r\n{lines}content-length: "
    return SegmentPlan(
        host=url.hostname,
        port=port,
        head=head.encode("latin-1"),
        at_s=at_s.tobytes(),
        bodies=list(segment.bodies),
        tls=tls,
        server_pid=segment.target.pid,
    )
