"""The hardware profile, and what is missing."""

from __future__ import annotations

import importlib.metadata
import platform

import pytest

from headgate.engines import probe
from headgate.engines.probe import (
    available_memory_bytes,
    missing_extras,
    parse_cpu_flags,
    parse_gpus,
    parse_memory_bytes,
    read_profile,
)
from headgate.objects import Difference, differences


def test_flags_are_those_that_change_kernels_and_all_processors_have() -> None:
    """A flag of one processor alone is no flag of the machine; unknown flags are left out."""
    text = "flags\t\t: fpu avx2 avx512_vnni sse4_2\n\nflags\t\t: avx2 fpu\nbugs : avx512f\n"
    assert parse_cpu_flags(text) == ("avx2",)


def test_arm_calls_them_features() -> None:
    """arm64 lists its flags under another name."""
    assert parse_cpu_flags("Features\t: fp asimd asimddp i8mm\n") == ("asimd", "asimddp", "i8mm")


def test_nothing_known_is_nothing() -> None:
    """Empty texts give no flags, no memory, no devices."""
    assert parse_cpu_flags("") == ()
    assert parse_memory_bytes("") == 0
    assert parse_gpus("\n") == ()


def test_the_profile_of_this_machine_is_whole_and_repeatable() -> None:
    """Two readings agree, and the facts are possible ones."""
    profile = read_profile()
    assert profile == read_profile()
    assert profile.effective_cores >= 1
    assert profile.memory_bytes > 2**26
    assert profile.devices[0] == "cpu"
    assert profile.libraries["onnxruntime"] == importlib.metadata.version("onnxruntime")
    assert profile.libraries["scipy"] == importlib.metadata.version("scipy")
    assert profile.system.startswith(platform.system())


@pytest.mark.parametrize(
    ("name", "value"), [("OMP_NUM_THREADS", "1"), ("ONEDNN_MAX_CPU_ISA", "AVX2")]
)
def test_what_bounds_threads_and_kernels_of_a_library_is_part_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """With another order of sums, or other instructions, come other answers."""
    monkeypatch.delenv(name, raising=False)
    free = read_profile().environment
    monkeypatch.setenv(name, value)
    (part,) = differences(free, read_profile().environment)
    assert part == Difference(f"variables.{name}", None, value)


def test_what_is_available_is_what_the_machine_has_or_what_a_limit_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever is less."""
    files = {
        "/proc/meminfo": "MemTotal: 8 kB\nMemAvailable: 4 kB\n",
        "/proc/self/cgroup": "0::/\n",
        "/proc/self/mountinfo": "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    }
    monkeypatch.setattr(probe, "_read", files.get)
    assert available_memory_bytes() == 4096
    files["/sys/fs/cgroup/memory.max"] = "3000\n"
    files["/sys/fs/cgroup/memory.current"] = "1000\n"
    assert available_memory_bytes() == 2000


def test_missing_extras_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra of which any package is absent is listed, with what is absent and what brings it."""

    def version(package: str) -> str:
        if package == "nncf":
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert [(m.extra, m.packages, m.command) for m in missing_extras()] == [
        ("openvino", ("nncf",), "pip install 'headgate[openvino]'")
    ]
    assert "nncf" not in read_profile().libraries


def test_a_gpu_tool_without_a_driver_is_no_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """nvidia-smi that fails, as it does without a driver, leaves the CPU alone."""
    monkeypatch.setattr(probe.shutil, "which", lambda name: "/bin/false")
    assert read_profile().devices == ("cpu",)
