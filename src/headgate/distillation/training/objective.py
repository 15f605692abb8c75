"""What a student is trained on: the losses of ``losses`` in torch, and their weighted sum.

Of the effectful half of this package: it imports torch. Every function that has a namesake in
``losses`` equals it, with gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.curriculum import two_parts
from headgate.distillation.encoder import load_encoder, padded
from headgate.distillation.recipe import Weights
from headgate.distillation.students import layers_for, targets
from headgate.distillation.training.lesson import Lesson
from headgate.distillation.training.networks import Student

if TYPE_CHECKING:
    import torch

_TEXTS_AT_ONCE = 64

__all__ = [
    "Objective",
    "contrast",
    "embedding_regression",
    "hidden_states",
    "of_outputs",
    "relational",
    "soft_target",
]


class Objective:
    """The recipe's loss on a batch of the training, and on the texts that are held back."""

    def __init__(self, lesson: Lesson, student: Student) -> None:
        self._lesson, self._student = lesson, student
        self._weights = lesson.recipe.losses
        self._frame = len(lesson.tokenizer.encode("").ids)
        self._teacher: torch.nn.Module | None = None
        if self._weights.hidden_states:
            self._teacher = load_encoder(lesson.teacher_dir).to(lesson.device).requires_grad_(False)

    def batch(self, chosen: NDArray[np.intp], step: int) -> torch.Tensor:
        """With gradients. ``step`` decides where texts are cut."""
        import torch

        lesson, weights = self._lesson, self._weights
        ids = [lesson.ids[i] for i in chosen]
        total = torch.zeros((), device=lesson.device)
        if weights.of_outputs or self._teacher is not None:
            tokens, mask = padded(ids, lesson.device)
            with lesson.autocast():
                answers, states = self._student.run(tokens, mask)
            if lesson.answers is not None:
                total = total + of_outputs(answers, lesson.answers[chosen], weights)
            if self._teacher is not None:
                total = total + weights.hidden_states * self._beside(states, tokens, mask)
        if weights.contrast:
            rng = np.random.default_rng((lesson.seed, step))
            total = total + weights.contrast * self._contrast(ids, rng)
        return total

    def held_back(self, judged: int, total: float) -> Iterator[tuple[int, float]]:
        """Goes on from so many texts, whose losses are ``total``; after each group, how many are
        judged and what their losses come to.

        On what the teacher answers, the regression; without its answers, the contrast.
        """
        lesson = self._lesson
        order = sorted(range(len(lesson.held_back)), key=lambda i: len(lesson.held_back[i]))
        for start in range(judged, len(order), _TEXTS_AT_ONCE):
            some = order[start : start + _TEXTS_AT_ONCE]
            total += self._judge(some, np.random.default_rng((lesson.seed, start))) * len(some)
            yield start + len(some), total

    def _judge(self, some: Sequence[int], rng: np.random.Generator) -> float:
        """The mean loss on ``some`` of the held-back texts."""
        import torch

        lesson = self._lesson
        ids = [lesson.held_back[i] for i in some]
        with torch.no_grad():
            if lesson.held_back_answers is None:
                loss = self._contrast(ids, rng)
            else:
                with lesson.autocast():
                    answers, _ = self._student.run(*padded(ids, lesson.device))
                loss = embedding_regression(answers, lesson.held_back_answers[some])
        value: float = loss.item()
        return value

    def _contrast(self, ids: Sequence[NDArray[np.int64]], rng: np.random.Generator) -> torch.Tensor:
        parts = [two_parts(text, rng, frame=self._frame) for text in ids]
        with self._lesson.autocast():
            ones, _ = self._student.run(*padded([one for one, _ in parts], self._lesson.device))
            others, _ = self._student.run(*padded([o for _, o in parts], self._lesson.device))
        return contrast(ones, others, self._weights.temperature)

    def _beside(
        self, states: Sequence[torch.Tensor], tokens: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """The mean over the student's layers, each against the teacher's that it stands for."""
        import torch

        assert self._teacher is not None
        with torch.no_grad(), self._lesson.autocast():
            seen = self._teacher(
                input_ids=tokens, attention_mask=mask, output_hidden_states=True
            ).hidden_states[1:]
        layers = layers_for(self._lesson.recipe.layers_kept, len(seen))
        real = mask.bool()
        losses = [
            hidden_states(state[real].float(), seen[target][real].float())
            for state, target in zip(states, targets(layers, len(seen)), strict=True)
        ]
        return torch.stack(losses).mean()


def of_outputs(student: torch.Tensor, teacher: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The weighted losses that compare a batch's answers, (n, d) each with rows of length 1."""
    import torch

    total = torch.zeros((), device=student.device)
    if weights.regression:
        total = total + weights.regression * embedding_regression(student, teacher)
    if weights.relational:
        total = total + weights.relational * relational(student, teacher)
    if weights.soft_target:
        total = total + weights.soft_target * soft_target(
            _to_others(student), _to_others(teacher), weights.temperature
        )
    return total


def _to_others(rows: torch.Tensor) -> torch.Tensor:
    """Similarities of each row to the others, (n, n - 1): that to itself is 1 whoever answers."""
    import torch

    n = len(rows)
    others = ~torch.eye(n, dtype=torch.bool, device=rows.device)
    return (rows @ rows.T)[others].view(n, n - 1)


def embedding_regression(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return ((student - teacher) ** 2).sum(dim=1).mean()


def relational(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return ((student @ student.T - teacher @ teacher.T) ** 2).mean()


def soft_target(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float
) -> torch.Tensor:
    import torch

    log_s = torch.log_softmax(student_logits / temperature, dim=1)
    log_t = torch.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * (log_t.exp() * (log_t - log_s)).sum(dim=1).mean()


def hidden_states(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return ((student - teacher) ** 2).sum() / (teacher**2).sum()


def contrast(ones: torch.Tensor, others: torch.Tensor, temperature: float) -> torch.Tensor:
    import torch

    logits = ones @ others.T / temperature
    own = torch.arange(len(ones), device=ones.device)
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
