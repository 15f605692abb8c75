"""What a container may use: CPU quota, cpuset and memory, from the texts of the kernel.

A thread pool sized to the host, inside a container with a quota, is throttled into the worst tail
latency there is. So the limits are read as the kernel applies them: for cgroup v1, v2 and both at
once, through the mounts (a container often sees its own cgroup as the root, a host never does),
and on every level up to the root, since the tightest ancestor binds.

Knows no files: ``read`` maps a path to its text, or to None where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath

__all__ = ["Limits", "effective_cores", "free_memory_bytes", "parse_cpu_list", "read_limits"]

Read = Callable[[str], str | None]

_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 writes "no limit" as the largest multiple of the page size below 2^63."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit."""

    quota_cores: Fraction | None = None
    """CPU time per wall time that the CFS quota allows."""
    cpuset: frozenset[int] | None = None
    memory_bytes: int | None = None


def effective_cores(affinity: int, limits: Limits) -> int:
    """min(affinity, cpuset, floor of the quota), at least 1: what threads can really use.

    The floor, because the thread above the quota is the one that gets everybody throttled.

    >>> effective_cores(16, Limits(quota_cores=Fraction(7, 2), cpuset=frozenset(range(8))))
    3
    """
    cores = affinity
    if limits.cpuset:
        cores = min(cores, len(limits.cpuset))
    if limits.quota_cores is not None:
        cores = min(cores, int(limits.quota_cores))
    return max(cores, 1)


def read_limits(read: Read) -> Limits:
    """The limits of this process, from /proc/self/cgroup and the files that it leads to."""
    quotas: list[Fraction] = []
    cpusets: list[frozenset[int]] = []
    memories: list[int] = []
    for controllers, folder in _folders(read):
        if controllers is None or "cpu" in controllers:
            quota = _quota_v2(read, folder) if controllers is None else _quota_v1(read, folder)
            if quota is not None:
                quotas.append(quota)
        if controllers is None or "cpuset" in controllers:
            for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
                cpus = parse_cpu_list(read(f"{folder}/{name}") or "")
                if cpus:
                    cpusets.append(cpus)
                    break
        if (limit := _memory_limit(read, controllers, folder)) is not None:
            memories.append(limit)
    return Limits(
        min(quotas, default=None),
        frozenset.intersection(*cpusets) if cpusets else None,
        min(memories, default=None),
    )


def free_memory_bytes(read: Read) -> int | None:
    """What is left until the first memory limit is reached; None where there is none.

    Files' cache that nobody used of late is no use of memory: the kernel takes it back.
    """
    left: list[int] = []
    for controllers, folder in _folders(read):
        limit = _memory_limit(read, controllers, folder)
        if limit is None:
            continue
        usage, cache = (
            ("memory.current", "inactive_file")
            if controllers is None
            else ("memory.usage_in_bytes", "total_inactive_file")
        )
        stat = dict(
            line.split(maxsplit=1)
            for line in (read(f"{folder}/memory.stat") or "").splitlines()
            if len(line.split()) == 2
        )
        used = (_integer(read(f"{folder}/{usage}")) or 0) - (_integer(stat.get(cache)) or 0)
        left.append(max(0, limit - max(0, used)))
    return min(left, default=None)


def _memory_limit(read: Read, controllers: frozenset[str] | None, folder: str) -> int | None:
    if controllers is not None and "memory" not in controllers:
        return None
    name = "memory.max" if controllers is None else "memory.limit_in_bytes"
    limit = _integer(read(f"{folder}/{name}"))
    return limit if limit is not None and 0 < limit < _UNLIMITED_BYTES else None


def parse_cpu_list(text: str) -> frozenset[int]:
    """The kernel's list format; what is malformed is no limit.

    >>> sorted(parse_cpu_list("0-2,8"))
    [0, 1, 2, 8]
    """
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        try:
            cpus.update(range(int(first), int(last or first) + 1))
        except ValueError:
            return frozenset()
    return frozenset(cpus)


def _folders(read: Read) -> Iterator[tuple[frozenset[str] | None, str]]:
    """(v1 controllers, or None for v2; folder) of this process's cgroups and their ancestors."""
    mounts = list(_mounts(read("/proc/self/mountinfo") or ""))
    for line in (read("/proc/self/cgroup") or "").splitlines():
        hierarchy, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        controllers = None if hierarchy == "0" and not names else frozenset(names.split(","))
        for kind, root, mount_point in mounts:
            if kind == controllers or (kind and controllers and kind & controllers):
                for level in _levels(path, root):
                    yield controllers, (mount_point + level).rstrip("/")
                break


def _levels(path: str, root: str) -> Iterator[str]:
    """``path`` below the mounted ``root``, then each ancestor, the mount itself last.

    Where the path lies outside of what is mounted, the container sees only its own cgroup, as
    the mount.
    """
    inside = PurePosixPath(path)
    if inside.is_relative_to(root) and ".." not in inside.parts:
        below = inside.relative_to(root)
        for level in (below, *below.parents):
            if level.parts:
                yield f"/{level}"
    yield ""


def _mounts(text: str) -> Iterator[tuple[frozenset[str] | None, str, str]]:
    """(v1 controllers, or None for v2; mounted root; mount point), as proc(5) describes."""
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if not separator or len(fields) < 5 or not kinds:
            continue
        if kinds[0] == "cgroup2":
            yield None, fields[3], fields[4]
        elif kinds[0] == "cgroup":
            yield frozenset(kinds[-1].split(",")), fields[3], fields[4]


def _quota_v2(read: Read, folder: str) -> Fraction | None:
    words = (read(f"{folder}/cpu.max") or "").split()
    return _ratio(words[0], words[1]) if len(words) == 2 else None


def _quota_v1(read: Read, folder: str) -> Fraction | None:
    return _ratio(read(f"{folder}/cpu.cfs_quota_us"), read(f"{folder}/cpu.cfs_period_us"))


def _ratio(quota: str | None, period: str | None) -> Fraction | None:
    quota_us, period_us = _integer(quota), _integer(period)
    if quota_us is None or period_us is None or quota_us <= 0 or period_us <= 0:
        return None  # "max", or -1 in v1
    return Fraction(quota_us, period_us)


def _integer(text: str | None) -> int | None:
    try:
        return int((text or "").strip())
    except ValueError:
        return None
