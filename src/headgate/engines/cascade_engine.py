"""Two engines that answer as one: a student first, its teacher for what it is not sure of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.distillation import answers, escalates
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
    """Scores (batch, classes), float32, or values (batch, values): the student's where it is as
    sure as ``threshold``, the teacher's elsewhere; ``run`` is called by one thread at a time.

    The teacher runs on the escalated rows alone, padded as the whole batch is, so a batch of ``n``
    of which ``k`` escalate takes the student's time for ``n`` and the teacher's for ``k``. Who
    escalates depends on the student's own output for the item: of its neighbours an item learns
    what either part lets through, and nothing beside. So answers have one type, whoever gives them:
    a teacher of doubles would else lend it to those in its company. A student of values is made
    with its teacher's type.
    """

    def __init__(
        self, student: CascadePart, teacher: CascadePart, *, threshold: float, task: str
    ) -> None:
        self._student, self._teacher = student, teacher
        self._threshold, self._task = threshold, task
        self.escalated_items = 0
        """So many were the teacher's since it was loaded."""

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        """The merged answers. Raises ``EngineError``."""
        outputs = self._student.run(tensors)
        if outputs.dtype.kind != "f":
            raise EngineError(f"its student answers {outputs.dtype}, no floats", where="student")
        try:
            asked = escalates(outputs, self._threshold, self._task)
        except ValueError as error:
            raise EngineError(f"not what a cascade asks for: {error}", where="student") from error
        merged = answers(outputs, self._task)
        if not asked.any():
            return merged
        theirs = self._teacher.run({name: rows[asked] for name, rows in tensors.items()})
        if theirs.shape[1:] != merged.shape[1:]:
            raise EngineError(
                f"its teacher answers rows of {theirs.shape[1:]}, its student of "
                f"{merged.shape[1:]}",
                where="teacher",
            )
        self.escalated_items += len(theirs)
        merged[asked] = theirs
        return merged

    def close(self) -> None:
        """Frees both."""
        self._student.close()
        self._teacher.close()
