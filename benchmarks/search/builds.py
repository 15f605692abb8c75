"""Thirteen builds of MiniLM-L6: how fast each is, and how much of its answers it loses.

The curves of fp32 on both engines and of static int8 were measured on the reference machine, two
cores, by a run of the quickstart (2026-11-28). The others are those, scaled by what the blocks of
the same run showed: bf16 0.55 and dynamic int8 0.48 of fp32 on ONNX Runtime, three layers of six
half. Losses are plausible, not measured: what the quickstart showed where it tried the build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from headgate.scheduling import InstancePlan
from headgate.workload import ServiceCurve

__all__ = ["BASELINE", "BUILDS", "MANY", "ONE", "Build"]

MANY, ONE = InstancePlan(1, 2), InstancePlan(2, 1)
BASELINE = "fp32"
_SHELL_S = 4e-4
"""Of the machine, for each request that runs: tokenizing and HTTP on the same cores."""


@dataclass(frozen=True, slots=True)
class Build:
    """What is true of one build."""

    curves: Mapping[InstancePlan, ServiceCurve]
    loss: float
    """Share of answers that are lost, net."""
    discordance: float
    """Share of answers that exactly one of build and baseline gets right."""
    making_s: float
    """Seconds of the machine; training is most of it."""
    ruled_out: str = ""


def _curve(
    fixed_s: float, item_s: float, token_s: float, square_s: float, pad: int
) -> ServiceCurve:
    return ServiceCurve(fixed_s, item_s + _SHELL_S, token_s, square_s, length_multiple=pad)


_FP32 = {
    MANY: _curve(2.359e-3, 4.237e-5, 2.236e-4, 1.953e-7, 1),
    ONE: _curve(3.051e-3, 2.979e-5, 1.167e-4, 3.151e-7, 1),
}
_FP32_OPENVINO = {
    MANY: _curve(2.923e-3, 1.003e-4, 2.027e-4, 1.056e-7, 4),
    ONE: _curve(2.625e-3, 8.83e-5, 1.05e-4, 1.33e-7, 4),
}
_INT8_STATIC = {
    MANY: _curve(2.723e-3, 6.288e-5, 5.967e-5, 1.777e-7, 4),
    ONE: _curve(2.905e-3, 5.901e-5, 2.934e-5, 1.123e-7, 4),
}


def _scaled(
    curves: Mapping[InstancePlan, ServiceCurve], factor: float, fixed: float = 1.0
) -> Mapping[InstancePlan, ServiceCurve]:
    """What is computed takes ``factor`` of the time, a call ``fixed``; the shell is the same."""
    return {
        plan: replace(
            c,
            fixed_s=c.fixed_s * fixed,
            item_s=(c.item_s - _SHELL_S) * factor + _SHELL_S,
            token_s=c.token_s * factor,
            square_s=c.square_s * factor,
        )
        for plan, c in curves.items()
    }


_SCHEMES: Mapping[str, Build] = {
    "fp32": Build(_FP32, 0.0, 0.0, 0.0),
    "fp32_openvino": Build(_FP32_OPENVINO, 0.0, 0.002, 2.0),
    "int8_weight": Build(_scaled(_FP32_OPENVINO, 0.93), 0.0005, 0.01, 3.0),
    "bf16": Build(_scaled(_FP32_OPENVINO, 0.55), 0.0, 0.008, 2.0),
    "int8_dynamic": Build(
        _scaled(_FP32, 0.48), 0.004, 0.05, 2.0, "one activation scale for the whole batch"
    ),
    "int8_static": Build(_INT8_STATIC, -0.0015, 0.035, 9.0),
}


def _student(of: Build) -> Build:
    """Half the layers, as the quickstart's loses: 2.5 points."""
    return replace(
        of,
        curves=_scaled(of.curves, 0.5, fixed=0.6),
        loss=of.loss + 0.025,
        discordance=min(of.discordance + 0.1, 1.0),
        making_s=of.making_s + 90.0,
    )


BUILDS: Mapping[str, Build] = {
    **{name: build for name, build in _SCHEMES.items() if name != BASELINE},
    **{
        "student3" if name == BASELINE else f"student3_{name}": _student(build)
        for name, build in _SCHEMES.items()
    },
    "fp32": _SCHEMES["fp32"],
    "static": Build(_scaled(_FP32, 0.02, fixed=0.1), 0.15, 0.3, 40.0),
}
"""Name -> build. The baseline's own is among them: batched and cached it may be the answer."""
