"""Two engines that answer as one: a student first, its teacher for what it is not sure of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.distillation import escalates
from headgate.errors import EngineError
from headgate.workload import Engine, Tensors

__all__ = ["CascadeEngine", "CascadePart"]


@dataclass(frozen=True, slots=True)
class CascadePart:
    """An engine, and which of a batch's tensors it takes."""

    engine: Engine
    inputs: frozenset[str]

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        return self.engine.run({name: tensors[name] for name in self.inputs})

    def close(self) -> None:
        self.engine.close()


class CascadeEngine:
    """Scores (batch, classes), float32: the student's where its margin is at least ``threshold``,
    the teacher's elsewhere; ``run`` is called by one thread at a time.

    The teacher runs on the escalated rows alone, padded as the whole batch is, so a batch of ``n``
    of which ``k`` escalate takes the student's time for ``n`` and the teacher's for ``k``. Who
    escalates depends on the item's own scores: of its neighbours an item learns what either part
    lets through, and nothing beside. So the scores have one type, whoever answers: a teacher of
    doubles would else lend it to those in its company.
    """

    def __init__(self, student: CascadePart, teacher: CascadePart, *, threshold: float) -> None:
        self._student, self._teacher, self._threshold = student, teacher, threshold
        self.escalated_items = 0
        """So many were the teacher's since it was loaded."""

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        """The merged scores. Raises ``EngineError``."""
        scores = self._student.run(tensors)
        if scores.ndim != 2 or scores.shape[1] < 2 or scores.dtype.kind != "f":
            raise EngineError(
                f"a cascade asks for scores of two classes or more, and its student answers "
                f"{scores.dtype} of shape {scores.shape}",
                where="student",
            )
        asked = escalates(scores, self._threshold)
        merged = scores.astype(np.float32)
        if not asked.any():
            return merged
        answers = self._teacher.run({name: rows[asked] for name, rows in tensors.items()})
        if answers.shape[1:] != scores.shape[1:]:
            raise EngineError(
                f"its teacher answers rows of {answers.shape[1:]}, its student of "
                f"{scores.shape[1:]}",
                where="teacher",
            )
        self.escalated_items += len(answers)
        merged[asked] = answers
        return merged

    def close(self) -> None:
        """Frees both."""
        self._student.close()
        self._teacher.close()
