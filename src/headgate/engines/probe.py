"""Reads the hardware profile of this machine, and what could be installed to get more out of it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from headgate.engines.cgroups import effective_cores, free_memory_bytes, read_limits
from headgate.objects import INFERENCE_FLAGS, HardwareProfile

__all__ = [
    "MissingPart",
    "available_memory_bytes",
    "missing_extras",
    "parse_cpu_flags",
    "parse_gpus",
    "parse_memory_bytes",
    "read_profile",
]

_LIBRARIES = (
    "nncf",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "scikit-learn",
    "scipy",
    "skl2onnx",
    "tokenizers",
    "torch",
    "transformers",
)
"""Those that can change an answer or its speed."""

_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "OMP_NUM_THREADS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
)
"""Variables that libraries take their number of threads from, where the code says none, or choose
their kernels by, whatever the CPU could do."""

_EXTRAS = (
    ("openvino", ("openvino", "nncf"), "bf16 and static int8, the fastest engines on a CPU"),
    ("train", ("torch", "transformers"), "export of transformers models, and smaller students"),
    ("grpc", ("grpcio", "protobuf"), "the Open Inference Protocol over gRPC"),
    ("sklearn", ("scikit-learn", "skl2onnx"), "scikit-learn models through ONNX"),
)


@dataclass(frozen=True, slots=True)
class MissingPart:
    """An extra that is not (wholly) installed, what it brings, and the command that gets it.

    ``packages`` are those of it that are not there.
    """

    extra: str
    packages: tuple[str, ...]
    brings: str
    command: str


def read_profile(*, gpus: bool = True) -> HardwareProfile:
    """The facts of this machine, as this process may use it. Takes milliseconds; reads only.

    ``gpus``: whether it is to look for them, which starts a process where there may be any.
    """
    limits = read_limits(_read)
    memory = parse_memory_bytes(_read("/proc/meminfo") or "")
    return HardwareProfile(
        architecture=platform.machine(),
        flags=parse_cpu_flags(_read("/proc/cpuinfo") or ""),
        effective_cores=effective_cores(len(os.sched_getaffinity(0)), limits),
        memory_bytes=min(memory, limits.memory_bytes or memory),
        devices=("cpu", *(_gpus() if gpus else ())),
        libraries={n: v for n in _LIBRARIES if (v := _version(n)) is not None},
        python=platform.python_version(),
        system=" ".join((platform.system(), *platform.libc_ver())).strip(),
        variables={name: os.environ[name] for name in _VARIABLES if name in os.environ},
    )


def available_memory_bytes() -> int:
    """What processes may still take without swapping, here and in the limits of this process."""
    available = parse_memory_bytes(_read("/proc/meminfo") or "", "MemAvailable")
    left = free_memory_bytes(_read)
    return available if left is None else min(available, left)


def missing_extras() -> list[MissingPart]:
    """The extras whose packages are not all installed, for ``headgate doctor``."""
    return [
        MissingPart(extra, absent, brings, f"pip install 'headgate[{extra}]'")
        for extra, packages, brings in _EXTRAS
        if (absent := tuple(p for p in packages if _version(p) is None))
    ]


def parse_cpu_flags(cpuinfo: str) -> tuple[str, ...]:
    """Those of ``INFERENCE_FLAGS`` that every processor of /proc/cpuinfo has, sorted.

    Every, because a thread may land on any of them.

    >>> parse_cpu_flags("flags\\t: fpu avx2 avx512f\\nflags\\t: fpu avx2\\n")
    ('avx2',)
    """
    sets = [
        set(line.partition(":")[2].split())
        for line in cpuinfo.splitlines()
        if line.partition(":")[0].strip() in ("flags", "Features")  # x86; arm64
    ]
    common = set.intersection(*sets) if sets else set()
    return tuple(sorted(common & set(INFERENCE_FLAGS)))


def parse_memory_bytes(meminfo: str, name: str = "MemTotal") -> int:
    """One line of /proc/meminfo; 0 where it is not said.

    >>> parse_memory_bytes("MemTotal:       2048 kB\\n")
    2097152
    """
    for line in meminfo.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == f"{name}:" and words[1].isdigit():
            return int(words[1]) * 1024
    return 0


def parse_gpus(listing: str) -> tuple[str, ...]:
    """``nvidia-smi --query-gpu=name,memory.total --format=csv,noheader``, a device a line.

    >>> parse_gpus("NVIDIA H100 80GB HBM3, 81559 MiB\\n")
    ('cuda:0 NVIDIA H100 80GB HBM3, 81559 MiB',)
    """
    lines = [line.strip() for line in listing.splitlines() if line.strip()]
    return tuple(f"cuda:{i} {line}" for i, line in enumerate(lines))


def _gpus() -> tuple[str, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()  # a tool without a driver: no device that we could use
    return parse_gpus(done.stdout)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
