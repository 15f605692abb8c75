"""The most memory that this process has had at once."""

from __future__ import annotations

from pathlib import Path

__all__ = ["parse_peak_bytes", "peak_bytes"]


def peak_bytes() -> int:
    """As the kernel counts it (``VmHWM``).

    Not ``ru_maxrss``: that is inherited from the process that started this one.
    """
    return parse_peak_bytes(Path("/proc/self/status").read_text(encoding="ascii"))


def parse_peak_bytes(status: str) -> int:
    """Of a /proc/PID/status, whose kB are 1024 bytes.

    >>> parse_peak_bytes("VmPeak:\\t   20 kB\\nVmHWM:\\t   10 kB\\n")
    10240
    """
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
