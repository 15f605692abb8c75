"""Effective cores and memory from the kernel's texts: every container layout we know of."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import pytest

from headgate.engines.cgroups import (
    Limits,
    effective_cores,
    free_memory_bytes,
    parse_cpu_list,
    read_limits,
)

V2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
NO_LIMIT_V1 = "9223372036854771712\n"


def v1(controllers: str, root: str = "/", at: str | None = None) -> str:
    """One line of /proc/self/mountinfo for a v1 hierarchy."""
    at = at or f"/sys/fs/cgroup/{controllers}"
    return f"32 31 0:29 {root} {at} rw - cgroup c rw,{controllers}\n"


@dataclass
class Layout:
    """What /proc/self/cgroup and the mounts say, the files they lead to, and what it means."""

    name: str
    cgroup: str
    mounts: str
    files: dict[str, str] = field(default_factory=dict)
    affinity: int = 16
    cores: int = 16
    memory: int | None = None


LAYOUTS = [
    Layout("no cgroups at all", "", ""),
    Layout("v2, host, no limits", "0::/user.slice\n", V2, {"user.slice/cpu.max": "max 100000\n"}),
    Layout(
        "v2 in a container that sees its own cgroup as the root",
        "0::/\n",
        V2,
        {"cpu.max": "250000 100000\n", "memory.max": "1073741824\n"},
        cores=2,
        memory=1 << 30,
    ),
    Layout(
        "v2, below one core: never zero",
        "0::/\n",
        V2,
        {"cpu.max": "50000 100000\n"},
        cores=1,
    ),
    Layout(
        "v2, with a period of its own",
        "0::/\n",
        V2,
        {"cpu.max": "800000 200000\n"},
        cores=4,
    ),
    Layout(
        "v2, nested: a tighter ancestor binds",
        "0::/kubepods/pod1/container\n",
        V2,
        {
            "kubepods/cpu.max": "1200000 100000",
            "kubepods/pod1/cpu.max": "300000 100000",
            "kubepods/pod1/container/cpu.max": "800000 100000",
            "kubepods/memory.max": "max",
            "kubepods/pod1/memory.max": "2000",
            "kubepods/pod1/container/memory.max": "3000",
        },
        cores=3,
        memory=2000,
    ),
    Layout(
        "v2, the path of the host inside a container that mounts only its own part",
        "0::/kubepods/pod1\n",
        "29 23 0:26 /kubepods/pod1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
        {"cpu.max": "200000 100000\n"},
        cores=2,
    ),
    Layout(
        "v2, a path above the mount: only the mount can be seen",
        "0::/../../system.slice\n",
        V2,
        {"cpu.max": "500000 100000\n"},
        cores=5,
    ),
    Layout(
        "v2, cpuset",
        "0::/a\n",
        V2,
        {"a/cpuset.cpus.effective": "0-2,8\n", "cpuset.cpus.effective": "0-15\n"},
        cores=4,
    ),
    Layout(
        "v2, the quota is tighter than the cpuset",
        "0::/\n",
        V2,
        {"cpuset.cpus.effective": "0-7\n", "cpu.max": "350000 100000\n"},
        cores=3,
    ),
    Layout("affinity alone", "0::/\n", V2, {"cpu.max": "max 100000\n"}, affinity=2, cores=2),
    Layout(
        "v1, docker",
        "4:memory:/\n2:cpuset:/\n1:cpu,cpuacct:/\n",
        v1("cpu,cpuacct") + v1("memory") + v1("cpuset"),
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
            "cpu,cpuacct/cpu.cfs_period_us": "50000\n",
            "memory/memory.limit_in_bytes": "536870912\n",
            "cpuset/cpuset.cpus": "0-3\n",
        },
        cores=3,
        memory=512 << 20,
    ),
    Layout(
        "v1, no limits: -1 and a number too large to be one",
        "4:memory:/\n1:cpu,cpuacct:/\n",
        v1("cpu,cpuacct") + v1("memory"),
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": NO_LIMIT_V1,
        },
    ),
    Layout(
        "v1, nested below the host's path",
        "1:cpu,cpuacct:/docker/abc/inner\n",
        v1("cpu,cpuacct", root="/docker/abc"),
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/inner/cpu.cfs_quota_us": "400000\n",
            "cpu,cpuacct/inner/cpu.cfs_period_us": "100000\n",
        },
        cores=2,
    ),
    Layout(
        "v1, controllers mounted apart and in another order",
        "7:cpuacct,cpu:/x\n",
        v1("cpu,cpuacct", at="/mnt/cg"),
        {"/mnt/cg/x/cpu.cfs_quota_us": "600000", "/mnt/cg/x/cpu.cfs_period_us": "100000"},
        cores=6,
    ),
    Layout(
        "v1 and v2 at once: both are read",
        "9:name=systemd:/\n4:memory:/app\n1:cpu:/\n0::/\n",
        v1("cpu")
        + v1("memory")
        + v1("name=systemd")
        + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        {
            "cpu/cpu.cfs_quota_us": "700000",
            "cpu/cpu.cfs_period_us": "100000",
            "memory/app/memory.limit_in_bytes": "4096",
            "unified/cpu.max": "max 100000",
        },
        cores=7,
        memory=4096,
    ),
    Layout(
        "nonsense is no limit",
        "0::/\nrubbish\n5:cpu\n",
        "rubbish\n" + V2,
        {"cpu.max": "lots", "cpuset.cpus.effective": "a-b", "memory.max": ""},
    ),
    Layout(
        "a period of zero is no limit",
        "0::/\n",
        V2,
        {"cpu.max": "100000 0\n"},
    ),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout_is_understood(layout: Layout) -> None:
    """The tightest of affinity, cpuset and quota, on any level of any hierarchy, binds."""
    files = {
        name if name.startswith("/") else f"/sys/fs/cgroup/{name}": text
        for name, text in layout.files.items()
    }
    files |= {"/proc/self/cgroup": layout.cgroup, "/proc/self/mountinfo": layout.mounts}
    limits = read_limits(files.get)
    assert effective_cores(layout.affinity, limits) == layout.cores
    assert limits.memory_bytes == layout.memory


def test_cpusets_of_all_levels_intersect() -> None:
    """A child cannot use a CPU that its parent lost."""
    files = {
        "/proc/self/cgroup": "0::/a\n",
        "/proc/self/mountinfo": V2,
        "/sys/fs/cgroup/a/cpuset.cpus.effective": "0-3",
        "/sys/fs/cgroup/cpuset.cpus.effective": "2-9",
    }
    assert read_limits(files.get).cpuset == frozenset({2, 3})


def test_a_quota_is_kept_exactly() -> None:
    """A quota of 299,999 in 100,000 is two cores and not three."""
    files = {
        "/proc/self/cgroup": "0::/\n",
        "/proc/self/mountinfo": V2,
        "/sys/fs/cgroup/cpu.max": "299999 100000",
    }
    limits = read_limits(files.get)
    assert limits.quota_cores == Fraction(299999, 100000)
    assert effective_cores(8, limits) == 2


@pytest.mark.parametrize(
    ("text", "cpus"), [("", []), ("3", [3]), ("0-1,4-5\n", [0, 1, 4, 5]), ("x", []), ("1-", [1])]
)
def test_cpu_lists(text: str, cpus: list[int]) -> None:
    """The kernel's list format, and nothing for what is not one."""
    assert sorted(parse_cpu_list(text)) == cpus


def test_no_limits_leave_the_affinity() -> None:
    """Without a cgroup the affinity is all there is."""
    assert effective_cores(5, Limits()) == 5


def test_what_is_left_of_the_memory_is_that_of_the_level_with_the_least() -> None:
    """Of the pod 500 are left, though the container in it may take 2000 more; files' cache that
    nobody used of late is as good as free."""
    files = {
        "/proc/self/cgroup": "0::/pod/container\n",
        "/proc/self/mountinfo": V2,
        "/sys/fs/cgroup/pod/memory.max": "2000\n",
        "/sys/fs/cgroup/pod/memory.current": "1800\n",
        "/sys/fs/cgroup/pod/memory.stat": "anon 1500\ninactive_file 300\n",
        "/sys/fs/cgroup/pod/container/memory.max": "3000\n",
        "/sys/fs/cgroup/pod/container/memory.current": "1000\n",
    }
    assert free_memory_bytes(files.get) == 500


def test_what_is_left_of_the_memory_in_v1() -> None:
    """Below zero it is nothing."""
    files = {
        "/proc/self/cgroup": "4:memory:/\n",
        "/proc/self/mountinfo": v1("memory"),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n",
        "/sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 1000\n",
    }
    assert free_memory_bytes(files.get) == 1096
    files["/sys/fs/cgroup/memory/memory.usage_in_bytes"] = "9000\n"
    assert free_memory_bytes(files.get) == 0


def test_where_no_memory_limit_is_nothing_is_known_of_what_is_left() -> None:
    files = {
        "/proc/self/cgroup": "4:memory:/\n",
        "/proc/self/mountinfo": v1("memory"),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1,
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n",
    }
    assert free_memory_bytes(files.get) is None
