"""What a training is given: texts as tokens, the teacher's answers, and what is refused of them.

Of the effectful half of this package: it imports torch and reads the teacher's directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.encoder import autocast, read_tokenizer, token_ids
from headgate.distillation.recipe import Recipe
from headgate.errors import ConfigError, InputError
from headgate.objects import digest, digest_bytes

if TYPE_CHECKING:
    import torch

__all__ = ["Lesson", "Taught", "check_taught"]

_LEAST_VARIANCE = 1e-6
"""Of teacher outputs of length 1, over the texts and summed over components."""


@dataclass(frozen=True, slots=True)
class Taught:
    """Texts and what the teacher answers to them; ``outputs`` is (n, d) with rows of length 1.

    A training without a teacher's outputs has None of them.
    """

    texts: Sequence[str]
    outputs: NDArray[np.floating] | None

    @property
    def identity(self) -> Mapping[str, object]:
        """Digests of both."""
        rows = self.outputs
        if rows is not None:
            rows = np.ascontiguousarray(rows, dtype=np.float32)
        return {
            "texts": digest(list(self.texts)),
            "outputs": None if rows is None else digest_bytes(rows.tobytes()),
        }


@dataclass(frozen=True, slots=True)
class Lesson:
    """Everything that a training is given, in the form that it works with."""

    teacher_dir: Path
    tokenizer: Any
    ids: Sequence[NDArray[np.int64]]
    answers: torch.Tensor | None
    held_back: Sequence[NDArray[np.int64]]
    held_back_answers: torch.Tensor | None
    recipe: Recipe
    seed: int
    device: str

    @classmethod
    def of(
        cls,
        teacher_dir: Path,
        taught: Taught,
        validation: Taught | None,
        recipe: Recipe,
        seed: int,
        device: str,
    ) -> Lesson:
        import torch

        if torch.device(device).type == "cuda":
            if not torch.cuda.is_available():
                raise ConfigError(f"there is no device {device} here", where="device", fix="cpu")
            # Read when cuBLAS starts; without it its products are not deterministic.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

        def on_device(outputs: NDArray[np.floating] | None) -> torch.Tensor | None:
            if outputs is None:
                return None
            rows = np.ascontiguousarray(outputs, dtype=np.float32)
            return torch.from_numpy(rows).to(device)

        tokenizer = read_tokenizer(teacher_dir)
        held_back = validation or Taught((), None)
        return cls(
            teacher_dir,
            tokenizer,
            token_ids(tokenizer, taught.texts),
            on_device(taught.outputs),
            token_ids(tokenizer, held_back.texts),
            on_device(held_back.outputs),
            recipe,
            seed,
            device,
        )

    def autocast(self) -> torch.autocast:
        """Products as the recipe takes them."""
        return autocast(self.device, bf16=self.recipe.bf16)


def check_taught(taught: Taught, recipe: Recipe) -> None:
    """Raises ``InputError`` for what nothing can be learnt from."""
    texts, outputs = taught.texts, taught.outputs
    if not texts or not any(text.strip() for text in texts):
        raise InputError(
            f"{len(texts)} texts, none with a word in it" if texts else "no texts to learn from",
            where="distillation",
            reason="no_texts",
            fix="give data.train some thousand texts like those that will be asked",
        )
    if outputs is None:
        if recipe.losses.of_outputs:
            raise InputError(
                "the recipe learns from a teacher's outputs, and there are none",
                where="distillation",
                fix="compute one output for each training text, or train its control",
            )
        return
    if len(texts) != len(outputs):
        raise InputError(
            f"{len(texts)} texts and {len(outputs)} teacher outputs",
            where="distillation",
            fix="compute one output for each training text",
        )
    broken = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
    if len(broken):
        raise InputError(
            f"the teacher's output for text {broken[0] + 1} of {len(texts)} is NaN or infinite",
            where="distillation",
            reason="not_finite",
            fix="find what the teacher fails on in that text, or leave it out",
        )
    if not np.var(outputs, axis=0).sum() > _LEAST_VARIANCE:
        raise InputError(
            f"the teacher answers all {len(texts)} texts alike: there is nothing to learn",
            where="distillation",
            reason="no_variance",
            fix="give texts that differ, or a teacher that tells them apart",
        )
