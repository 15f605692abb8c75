"""The hardware profile: what a machine can do, as facts. Reading them is ``engines.probe``'s work.

Its digest is part of ``e`` of every run. CPU *flags* decide which int8 kernels run, and with them
both speed and accuracy; CPU names do not (Intel's own table: the same int8 ResNet50 scores 74.8 %
on one ISA and 69.0 % on another).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["INFERENCE_FLAGS", "Difference", "HardwareProfile", "differences"]

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
    "amx_fp16",
    "asimd",
    "asimddp",
    "asimdhp",
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
    system: str = ""
    """Operating system and C library, whose mathematics are part of every answer."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of the environment that libraries choose their threads and kernels by, where they are
    set."""

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
            "system": self.system,
            "variables": dict(self.variables),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """One part of an environment that is not as it was."""

    part: str
    """``python``; of what is many, which one: ``flags.avx512_bf16``, ``libraries.numpy``."""
    recorded: str | None
    """None where it was not there."""
    here: str | None


def differences(
    recorded: Mapping[str, object], here: Mapping[str, object]
) -> tuple[Difference, ...]:
    """The parts in which two environments differ, by name.

    >>> differences({"python": "3.11.2", "flags": ["avx2"]}, {"python": "3.12.1", "flags": []})
    (Difference(part='flags.avx2', recorded='there', here=None), \
Difference(part='python', recorded='3.11.2', here='3.12.1'))
    """
    before, now = _parts(recorded), _parts(here)
    return tuple(
        Difference(part, before.get(part), now.get(part))
        for part in sorted(before.keys() | now.keys())
        if before.get(part) != now.get(part)
    )


def _parts(environment: Mapping[str, object]) -> dict[str, str]:
    parts: dict[str, str] = {}
    for name, value in environment.items():
        if isinstance(value, Mapping):
            parts |= {f"{name}.{key}": str(of) for key, of in value.items()}
        elif isinstance(value, list):
            parts |= {f"{name}.{item}": "there" for item in value}
        else:
            parts[name] = str(value)
    return parts
