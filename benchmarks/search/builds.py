"""Builds of three models: how fast each is, and how much of its answers it loses.

``quickstart`` is its model on the reference machine, two cores, as two runs of it measured on
2026-11-28: curves of fp32 on both engines and of static int8; blocks, losses and prices of five
candidates. What they did not measure is scaled from that, with losses that are plausible.
``minilm``, which the search was developed by, has curves of the first run and plausible losses.
``base`` is made up: a model eight times as large on four cores that have tiles for bf16 and int8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from headgate.planning import BASELINE, MENDED
from headgate.scheduling import InstancePlan, instance_plans
from headgate.workload import ServiceCurve

__all__ = ["ITEMS", "Build", "Curves", "Family", "family"]

ITEMS = 1300
"""Of the quickstart's evaluation split."""
_MANY, _ONE = instance_plans(2)
_SHELL_S = 4e-4
"""Of two cores, for each request that runs: tokenizing and HTTP on them too."""
_DEPENDS = "one activation scale for the whole batch"

Curves = Mapping[InstancePlan, ServiceCurve]


@dataclass(frozen=True, slots=True)
class Build:
    """What is true of one build."""

    curves: Curves
    loss: float
    """Share of answers that are lost, net."""
    discordance: float
    """Share of answers that exactly one of build and baseline gets right."""
    making_s: float
    """Seconds of the machine, training left out."""
    ruled_out: str = ""
    """Why it is not looked at, where that is known for nothing."""
    blocks: tuple[float, float] | None = None
    """Of the logarithm of what a batch takes over what the baseline's takes beside it, where that
    was measured: its mean, and its standard deviation between blocks."""
    training_s: float = 0.0
    """Of the student that it is made of; who has trained it for one precision has it for all."""


@dataclass(frozen=True, slots=True)
class Family:
    """What may be made of one model on one machine."""

    baseline: Curves
    candidates: Mapping[str, Build]
    """By name; the last, ``int8_mixed``, is made only where ``int8_static`` breaks a promise of
    quality."""

    @property
    def builds(self) -> Mapping[str, Build]:
        """The candidates, and the model's own build: it is there, and loses nothing."""
        return {**self.candidates, BASELINE: Build(self.baseline, 0.0, 0.0, 0.0)}


def _curve(
    fixed_s: float, item_s: float, token_s: float, square_s: float, pad: int
) -> ServiceCurve:
    return ServiceCurve(fixed_s, item_s + _SHELL_S, token_s, square_s, length_multiple=pad)


def _scaled(curves: Curves, factor: float, fixed: float = 1.0) -> Curves:
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


def _family(
    fp32: Curves, schemes: Mapping[str, Build], student: Build, *, static_loss: float
) -> Family:
    """All builds of a model: its schemes, each with and without a student, and static embeddings.

    ``student``: its curves are those of fp32; its loss and its training come on top of a scheme's.
    """
    plan = next(iter(fp32))
    faster = student.curves[plan].token_s / fp32[plan].token_s
    students = {
        f"student3_{name}": replace(
            of,
            curves=_scaled(of.curves, faster, fixed=0.6),
            loss=of.loss + student.loss,
            discordance=min(of.discordance + student.discordance, 1.0),
            training_s=student.training_s,
            blocks=None,
        )
        for name, of in schemes.items()
    }
    plain = replace(student, curves=_scaled(fp32, faster, fixed=0.6))
    static = Build(_scaled(fp32, 0.02, fixed=0.1), static_loss, 0.3, 0.0, training_s=40.0)
    mended = _mended(schemes["int8_static"])
    named = {**schemes, "student3": plain, **students, "static": static, MENDED.name: mended}
    return Family(fp32, named)


def _mended(int8: Build) -> Build:
    """``int8_mixed``: an eighth of the work left in fp32, a fifth of the loss; ten trials of making
    and scoring. Made up in every family, for nobody's ``int8_static`` had to be mended."""
    return replace(
        int8,
        curves=_scaled(int8.curves, 1.15),
        loss=int8.loss / 5,
        discordance=int8.discordance * 0.7,
        making_s=10 * (int8.making_s + 5.0),
        blocks=None,
    )


_FP32 = {
    _MANY: _curve(2.359e-3, 4.237e-5, 2.236e-4, 1.953e-7, 1),
    _ONE: _curve(3.051e-3, 2.979e-5, 1.167e-4, 3.151e-7, 1),
}
_FP32_OPENVINO = {
    _MANY: _curve(2.923e-3, 1.003e-4, 2.027e-4, 1.056e-7, 4),
    _ONE: _curve(2.625e-3, 8.83e-5, 1.05e-4, 1.33e-7, 4),
}
_INT8_STATIC = {
    _MANY: _curve(2.723e-3, 6.288e-5, 5.967e-5, 1.777e-7, 4),
    _ONE: _curve(2.905e-3, 5.901e-5, 2.934e-5, 1.123e-7, 4),
}
_MINILM = _family(
    _FP32,
    {
        "fp32_openvino": Build(_FP32_OPENVINO, 0.0, 0.002, 2.0),
        "int8_weights": Build(_scaled(_FP32_OPENVINO, 0.93), 0.0005, 0.01, 3.0),
        "bf16": Build(_scaled(_FP32_OPENVINO, 0.55), 0.0, 0.008, 2.0),
        "int8_dynamic": Build(_scaled(_FP32, 0.48), 0.004, 0.05, 2.0, _DEPENDS),
        "int8_static": Build(_INT8_STATIC, -0.0015, 0.035, 9.0),
    },
    Build(_scaled(_FP32, 0.5), 0.025, 0.1, 0.0, training_s=90.0),
    static_loss=0.15,
)


_LATER_FP32 = {
    _MANY: _curve(2.44e-3, 9.311e-5, 2.135e-4, 3.071e-7, 1),
    _ONE: _curve(2.164e-3, 3.781e-5, 1.162e-4, 7.84e-8, 1),
}
_LATER_OPENVINO = {
    _MANY: _curve(2.684e-3, 1.272e-4, 1.953e-4, 1.759e-7, 4),
    _ONE: _curve(2.145e-3, 1.255e-4, 9.689e-5, 1.236e-7, 4),
}
_LATER_INT8 = {
    _MANY: _curve(2.164e-3, 9.203e-5, 5.622e-5, 1.559e-7, 4),
    _ONE: _curve(2.1e-3, 6.213e-5, 2.785e-5, 8.82e-8, 4),
}


def _measured(
    curves: Curves,
    blocks: tuple[float, float],
    *,
    won: int,
    lost: int,
    making_s: float,
    training_s: float = 0.0,
) -> Build:
    """``won`` and ``lost``: answers of the evaluation split that only it, or only fp32, has
    right."""
    loss, discordance = (lost - won) / ITEMS, (lost + won) / ITEMS
    return Build(curves, loss, discordance, making_s, blocks=blocks, training_s=training_s)


def _quickstart() -> Family:
    student = _measured(
        _scaled(_LATER_FP32, 0.51),
        (-0.68, 0.091), won=44, lost=78, making_s=0.0, training_s=85.0,
    )  # fmt: skip
    schemes = {
        "fp32_openvino": Build(_LATER_OPENVINO, 0.0, 0.002, 2.0),
        "int8_weights": Build(_scaled(_LATER_OPENVINO, 1.05), 0.001, 0.012, 3.0),
        "bf16": _measured(
            _scaled(_LATER_OPENVINO, 0.58), (-0.65, 0.054), won=1, lost=0, making_s=2.0
        ),
        "int8_dynamic": replace(
            _measured(_scaled(_LATER_FP32, 0.48), (-0.73, 0.133), won=13, lost=20, making_s=2.0),
            ruled_out=_DEPENDS,
        ),
        "int8_static": _measured(_LATER_INT8, (-1.143, 0.018), won=11, lost=12, making_s=7.5),
    }
    of = _family(_LATER_FP32, schemes, student, static_loss=0.12)
    both = _measured(
        of.candidates["student3_int8_static"].curves,
        (-1.767, 0.037), won=42, lost=78, making_s=5.0, training_s=85.0,
    )  # fmt: skip
    return replace(of, candidates={**of.candidates, "student3_int8_static": both})


def _on_four_cores(factor: float, pad: int) -> Curves:
    """``factor`` of eight times MiniLM's work; of each doubling of threads, 1.8 arrives."""
    return {
        plan: _curve(3e-3, 2e-4, factor * 1.8e-3 / 1.8**doubled, factor * 1.2e-6, pad)
        for doubled, plan in enumerate(instance_plans(4))
    }


_BASE = _family(
    _on_four_cores(1.0, 1),
    {
        "fp32_openvino": Build(_on_four_cores(0.9, 4), 0.0, 0.001, 8.0),
        "int8_weights": Build(_on_four_cores(0.95, 4), 0.001, 0.01, 10.0),
        "bf16": Build(_on_four_cores(0.3, 4), 0.001, 0.01, 8.0),
        "int8_dynamic": Build(_on_four_cores(0.45, 1), 0.003, 0.04, 6.0, _DEPENDS),
        "int8_static": Build(_on_four_cores(0.2, 4), 0.012, 0.07, 60.0),
    },
    Build(_on_four_cores(0.5, 1), 0.016, 0.09, 0.0, training_s=900.0),
    static_loss=0.18,
)


@cache
def family(name: str) -> Family:
    """``minilm``, ``quickstart`` or ``base``."""
    return {"minilm": _MINILM, "quickstart": _quickstart(), "base": _BASE}[name]
