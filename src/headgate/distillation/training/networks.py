"""The networks that are trained: with layers or without, behind one interface.

Of the effectful half of this package: it imports torch and reads the teacher's directory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headgate.distillation.encoder import layers_of, pooled
from headgate.distillation.training.lesson import Lesson
from headgate.distillation.training.start import cut, refit, refit_parts
from headgate.distillation.training.table import answer, start_table, table_parts

if TYPE_CHECKING:
    import torch

    Run = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, Sequence[torch.Tensor]]]
    """Token ids and mask -> embeddings, and the hidden states after each layer."""

__all__ = ["Student", "student_of"]


@dataclass(frozen=True, slots=True)
class Student:
    """A network in training."""

    run: Run
    parameters: Sequence[torch.nn.Parameter]
    """All that changes after the teacher's weights were read; those with gradients are trained."""
    parts: int
    """Of its start: each takes a fraction of a second."""
    start: Callable[[int, Callable[[int], None]], None]
    """Makes the start, of which so many parts are done; tells after each how many are."""
    sums: MutableMapping[str, torch.Tensor]
    """What the start has summed up so far and not used yet."""
    tensors: Callable[[], Mapping[str, torch.Tensor]]


def student_of(lesson: Lesson, layers: tuple[int, ...]) -> Student:
    return _static(lesson) if lesson.recipe.static else _layered(lesson, layers)


def _layered(lesson: Lesson, layers: tuple[int, ...]) -> Student:
    recipe = lesson.recipe
    module = cut(lesson.teacher_dir, layers, recipe).to(lesson.device)
    trained = [p for layer in layers_of(module) for p in layer.parameters()]
    module.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    states = recipe.losses.hidden_states > 0

    def run(tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        out = module(input_ids=tokens, attention_mask=mask, output_hidden_states=states)
        seen = list(out.hidden_states[1:]) if states else []
        return pooled(out.last_hidden_state.float(), mask), seen

    sums: dict[str, torch.Tensor] = {}

    def start(done: int, on_part: Callable[[int], None]) -> None:
        order = np.random.default_rng(lesson.seed).permutation(len(lesson.ids))
        sample = [lesson.ids[i] for i in order[: recipe.bridge_texts]]
        refit(
            lesson.teacher_dir, module, layers, sample, recipe,
            device=lesson.device, sums=sums, done=done, on_part=on_part,
        )  # fmt: skip

    def tensors() -> dict[str, torch.Tensor]:
        return {n: t for n, t in module.state_dict().items() if "pooler." not in n}

    parts = refit_parts(recipe, len(layers), len(lesson.ids))
    return Student(run, trained, parts, start, sums, tensors)


def _static(lesson: Lesson) -> Student:
    import torch

    config = json.loads((lesson.teacher_dir / "config.json").read_text(encoding="utf-8"))
    vocabulary = int(config["vocab_size"])
    size = min(lesson.recipe.table_dimensions, int(config["hidden_size"]))
    table = torch.nn.Parameter(torch.zeros(vocabulary, size, device=lesson.device))
    basis = torch.nn.Parameter(
        torch.zeros(size, int(config["hidden_size"]), device=lesson.device), requires_grad=False
    )

    def run(tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return answer(table, basis, tokens, mask), []

    parts, sums = table_parts(vocabulary), dict[str, torch.Tensor]()

    def start(done: int, on_part: Callable[[int], None]) -> None:
        made = start_table(
            lesson.teacher_dir, lesson.tokenizer, lesson.ids, lesson.recipe,
            device=lesson.device, sums=sums, done=done, on_part=on_part,
        )  # fmt: skip
        with torch.no_grad():
            for parameter, value in zip((table, basis), made, strict=True):
                parameter.copy_(value)
        sums.clear()
        on_part(parts)

    def tensors() -> dict[str, torch.Tensor]:
        return {"table": table.detach(), "basis": basis.detach()}

    return Student(run, [table, basis], parts, start, sums, tensors)
