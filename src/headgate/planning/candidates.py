"""The builds that may be tried: a student (or the model itself) under a quantization scheme.

A candidate is a pair of values, and its name follows from them, so that headgate.yaml, the search
and whoever makes builds speak of the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headgate.distillation import HEADS, STUDENTS
from headgate.quantization import (
    FP32,
    FP32_OPENVINO,
    INT8_MIXED,
    INT8_STATIC,
    SCHEMES,
    Scheme,
)

__all__ = [
    "BASELINE",
    "BUILDS",
    "CANDIDATES",
    "MENDED",
    "TRIED_BY_DEFAULT",
    "Candidate",
    "most_judged",
    "tried_by_default",
]

BASELINE = FP32.name
"""The model as it is: what the plainest candidates are plainer than. Nobody names it, and it takes
part all the same."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to make a build of the endpoint's model."""

    student: str | None
    """One of ``distillation.STUDENTS``, an encoder's, or of ``HEADS``, a classifier's or a
    predictor's; None is the model itself."""
    scheme: Scheme
    cascade: bool = False
    """Whether the model itself answers what the student is not sure of."""

    @property
    def name(self) -> str:
        """``int8_static``, ``student3``, ``student3_int8_static``, ``linear_cascade``.

        >>> Candidate("student3", FP32).name
        'student3'
        """
        if self.student is None:
            return self.scheme.name
        if self.cascade:
            return f"{self.student}_cascade"
        return self.student if self.scheme == FP32 else f"{self.student}_{self.scheme.name}"

    @property
    def without(self) -> Mapping[str, str]:
        """Optimization -> the candidate, or ``BASELINE``, that lacks only it.

        >>> from headgate.quantization import INT8_STATIC
        >>> dict(Candidate("student3", INT8_STATIC).without)
        {'quantization': 'student3', 'distillation': 'int8_static'}
        """
        lacking: dict[str, str] = {}
        if self.scheme.quantizes:
            plain = FP32_OPENVINO if self.scheme.engine == FP32_OPENVINO.engine else FP32
            lacking["quantization"] = self.student or plain.name
        if self.student is not None:
            lacking["distillation"] = self.scheme.name
        return lacking

    @property
    def of_head(self) -> bool:
        """Whether its student is a classifier's or a predictor's, alone or before its teacher."""
        return self.student in HEADS

    @property
    def learns_from(self) -> tuple[str, ...]:
        """Roles of the data that go into it."""
        trains = self.student is not None
        calibrates = self.scheme.needs_calibration or self.cascade
        return ("train",) * trains + ("calibrate",) * calibrates


MENDED = Candidate(None, INT8_MIXED)
"""What ``int8_static`` becomes where it breaks a promise of quality: nobody has to name it."""


def _all() -> Mapping[str, Candidate]:
    pairs = [
        Candidate(student, scheme)
        for student in (None, *STUDENTS)
        for scheme in SCHEMES
        if scheme == FP32 or student is None or not STUDENTS[student].static
    ]
    # A head's small students have nothing that fewer bits would make faster.
    pairs += [Candidate(head, FP32, cascade) for head in HEADS for cascade in (False, True)]
    return {c.name: c for c in (*pairs, MENDED) if c.name != BASELINE}


CANDIDATES: Mapping[str, Candidate] = _all()
"""Name -> candidate: all that headgate.yaml may name."""
BUILDS: Mapping[str, Candidate] = {BASELINE: Candidate(None, FP32), **CANDIDATES}
"""All that may win: the model as it is too, under policies of its own."""
TRIED_BY_DEFAULT = (
    "bf16",
    "int8_dynamic",
    "int8_static",
    "int8_static_qdq",
    "student3",
    "student3_int8_static",
)
"""What is tried where the file does not say, of all but classifiers. A predictor's students are
tried where they are named. Static int8 by both engines: which of them is the faster, the CPU
decides (docs/decisions/0046)."""


def most_judged(named: Sequence[str]) -> int:
    """How many candidates may be judged where these are named, ``int8_mixed`` among them.

    The model as it is does not count: its answers are those that the others are held against, so
    that no luck with them chooses it.

    >>> most_judged(["bf16", "int8_static"]), most_judged(["bf16"])
    (3, 1)
    """
    return len(named) + (INT8_STATIC.name in named and MENDED.name not in named)


def tried_by_default(task: str) -> tuple[str, ...]:
    """What is tried where the file does not say: of a classifier its own students.

    >>> tried_by_default("classify")[-2:]
    ('linear', 'linear_cascade')
    """
    if task != "classify":
        return TRIED_BY_DEFAULT
    others = [name for name in TRIED_BY_DEFAULT if CANDIDATES[name].student is None]
    return (*others, "linear", "linear_cascade")
