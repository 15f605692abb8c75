"""``headgate doctor``: what this machine can do, what is missing, and how to get it."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from headgate.cli.options import AsJson

if TYPE_CHECKING:
    from headgate.objects import HardwareProfile

__all__ = ["doctor", "precisions"]

_KERNELS = {
    "fp32": (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimd", "NEON")),
    "bf16": (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16"), ("bf16", "BF16")),
    "int8": (
        ("amx_int8", "AMX"),
        ("avx512_vnni", "AVX-512 VNNI"),
        ("avx_vnni", "AVX-VNNI"),
        ("i8mm", "I8MM"),
        ("asimddp", "dot product"),
    ),
}
"""Precision -> the flags that give it instructions of its own, fastest first."""


def doctor(as_json: AsJson = False) -> None:
    """Show the hardware profile, the engines, and what is missing."""
    from headgate.engines.probe import missing_extras, read_profile
    from headgate.objects import digest

    profile = read_profile()
    missing = missing_extras()
    version = digest(profile.environment)
    if as_json:
        from headgate.cli.output import print_json

        print_json({"profile": profile, "environment": version, "missing": missing})
        return

    from headgate.cli.output import facts, stdout, title
    from headgate.objects import short

    console = stdout()
    console.print(title("This machine", f"environment {short(version)}"))
    console.print(facts(_machine(profile)))
    console.print()
    console.print(title("Precisions that it has instructions for"))
    console.print(facts(precisions(profile.flags).items()))
    console.print()
    console.print(title("Libraries that change an answer or its speed"))
    console.print(facts(profile.libraries.items()))
    console.print()
    if not missing:
        console.print("Nothing is missing.")
        return
    console.print(title("What is missing"))
    for part in missing:
        absent = ", ".join(part.packages)
        console.print(facts([(absent, f"{part.brings}\n{part.command}")]))


def _machine(profile: HardwareProfile) -> list[tuple[str, str]]:
    from headgate import amounts

    cores = os.cpu_count() or profile.effective_cores
    effective = str(profile.effective_cores)
    if cores > profile.effective_cores:
        effective += f" of {cores} (affinity, cpuset and quota)"
    return [
        ("architecture", profile.architecture),
        ("CPU flags", " ".join(profile.flags) or "none that change a kernel"),
        ("effective cores", effective),
        ("memory", amounts.size(profile.memory_bytes)),
        ("devices", "\n".join(profile.devices)),
        ("python", profile.python),
        ("system", profile.system),
        *profile.variables.items(),
    ]


def precisions(flags: Collection[str]) -> dict[str, str]:
    """Precision -> the instructions that compute it here.

    >>> precisions({"avx2", "avx_vnni"})
    {'fp32': 'AVX2', 'bf16': 'none of its own', 'int8': 'AVX-VNNI'}
    """
    return {
        precision: next((name for flag, name in kernels if flag in flags), "none of its own")
        for precision, kernels in _KERNELS.items()
    }
