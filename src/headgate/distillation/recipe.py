"""How a student is trained, as a value: part of a run's configuration, digested with it.

The defaults are those of ``docs/decisions/0003-student-recipe.md``, which has their evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

from headgate.errors import ConfigError

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Embedding regression onto cached teacher outputs, from a bridged start. No unit is hidden."""

    layers_kept: int = 3
    """Layers of the student; which of the teacher's, ``students.layers_for`` says."""
    max_texts: int = 8000
    """Texts to learn from, at most: ``curriculum.subset`` takes them before the teacher answers."""
    steps: int = 430
    batch_texts: int = 32
    peak_learning_rate: float = 5e-4
    warmup_share: float = 0.1
    """Share of the steps in which the rate rises linearly; it then falls to 0 as a cosine."""
    weight_decay: float = 0.01
    gradient_norm_limit: float = 1.0
    bridge_texts: int = 900
    """Texts for the closed-form start; 0 leaves the teacher's layers as they are."""
    bridge_ridge: float = 0.03
    """Pull towards the teacher's own weights, as a share of the mean squared activation."""
    bf16: bool = True
    """Matrix products in bfloat16 (weights stay float32): for CPUs with avx512_bf16 or amx_bf16."""
    threads: int = 2
    checkpoint_every_steps: int = 100

    def __post_init__(self) -> None:
        positive = (
            "layers_kept",
            "max_texts",
            "steps",
            "batch_texts",
            "peak_learning_rate",
            "gradient_norm_limit",
            "bridge_ridge",
            "threads",
            "checkpoint_every_steps",
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name} must be above 0, got {getattr(self, name)}", where="distillation"
                )
        for name in ("weight_decay", "bridge_texts"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{name} must be at least 0, got {getattr(self, name)}", where="distillation"
                )
        if not 0 <= self.warmup_share < 1:
            raise ConfigError(
                f"warmup_share must be in [0, 1), got {self.warmup_share}", where="distillation"
            )
