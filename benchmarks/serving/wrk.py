"""Closed-loop load from a compiled client: ``wrk``, replaying a file of bodies."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["WrkResult", "parse", "wrk"]

_SCRIPT = Path(__file__).with_name("replay.lua")


@dataclass(frozen=True, slots=True)
class WrkResult:
    """What wrk counted. ``failed``: socket errors, timeouts and statuses of 400 and above."""

    requests: int
    duration_s: float
    failed: int
    p50_s: float
    p95_s: float
    p99_s: float

    @property
    def rate_per_s(self) -> float:
        """Good answers per second."""
        return (self.requests - self.failed) / self.duration_s


def parse(output: str) -> WrkResult:
    """The JSON line that the script writes last.

    >>> rest = '"p50_s": 1, "p95_s": 2, "p99_s": 3}'
    >>> line = '{"requests": 80, "duration_s": 2.0, "failed": 20, ' + rest
    >>> parse("Running 2s test\\n" + line + "\\n").rate_per_s
    30.0
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError(f"wrk counted nothing: {output.strip()[-300:]!r}")
    return WrkResult(**json.loads(lines[-1]))


def wrk(url: str, bodies: Path, *, connections: int, duration_s: float) -> WrkResult:
    """One thread of wrk on ``connections`` connections for whole seconds, bounded."""
    binary = shutil.which("wrk")
    if binary is None:
        raise FileNotFoundError("wrk is not installed; on Debian: apt-get install wrk")
    seconds = max(1, round(duration_s))
    command = [
        *(binary, "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s"),
        *("-s", str(_SCRIPT), url, "--", str(bodies)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 40, check=True)
    return parse(done.stdout)
