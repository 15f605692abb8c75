"""The hardware profile: what a machine can do, as facts. Reading them is ``engines.probe``'s work.

Its digest is part of ``e`` of every run. CPU *flags* decide which int8 kernels run, and with them
both speed and accuracy; CPU names do not (Intel's own table: the same int8 ResNet50 scores 74.8 %
on one ISA and 69.0 % on another).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["INFERENCE_FLAGS", "HardwareProfile"]

INFERENCE_FLAGS: tuple[str, ...] = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
"""The flags that change which inference kernel runs; others are not part of the profile."""


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """Facts of one machine."""

    architecture: str
    flags: tuple[str, ...]
    """Those of INFERENCE_FLAGS that the CPU has, sorted."""
    effective_cores: int
    """min(affinity, cpuset, floor of the CFS quota), at least 1: what threads can really use."""
    memory_bytes: int
    """The cgroup's limit where there is one, else the machine's."""
    devices: tuple[str, ...]
    libraries: Mapping[str, str]
    """Installed engine -> version."""
    python: str

    @property
    def environment(self) -> Mapping[str, object]:
        """What of this is part of ``e``: everything that can change an answer or its speed."""
        return {
            "architecture": self.architecture,
            "flags": list(self.flags),
            "effective_cores": self.effective_cores,
            "devices": list(self.devices),
            "libraries": dict(self.libraries),
            "python": self.python,
        }
