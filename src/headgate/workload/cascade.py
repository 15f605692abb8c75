"""How long a batch of a cascade takes: its student on all of it, its teacher on what escalates.

For a batch of ``n`` items padded to ``l`` of which ``k`` escalate::

    t(n, l, k) = student(n, l) + teacher(k, l),   teacher(0, l) = 0

``k`` is known of a batch (``batch_s``), and is binomial before one is formed (``predict_s``): the
teacher's call costs its fixed part only where somebody escalates. A cascade is not measured on
made-up batches as other builds are: what nobody asks escalates at a rate that no caller sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.workload.request import Batch
from headgate.workload.service import CurvePoint, ServiceCurve

__all__ = ["CascadeTimes"]


@dataclass(frozen=True, slots=True)
class CascadeTimes:
    """A ``BatchTimeModel`` of two measured curves."""

    student: ServiceCurve
    teacher: ServiceCurve
    escalated_share: float
    """Of the items that are asked, 0 to 1."""
    escalated: frozenset[bytes] = frozenset()
    """The keys of the requests that escalate, each by its own scores."""

    def predict_s(self, size: int, longest: int) -> float:
        """The expected seconds of a batch, each item escalating by itself:

        ``student(n, l) + (1 - (1 - q)^n) * f + n * q * (teacher(1, l) - f)``, where ``q`` is the
        share that escalates and ``f`` the teacher's ``fixed_s``.

        >>> student, teacher = ServiceCurve(0.0, 1.0, 0.0, 0.0), ServiceCurve(8.0, 4.0, 0.0, 0.0)
        >>> CascadeTimes(student, teacher, 0.5).predict_s(2, 1)  # 2 + 3/4 * 8 + 2/2 * 4
        12.0
        """
        share, fixed_s = self.escalated_share, self.teacher.fixed_s
        anybody = 1.0 - (1.0 - share) ** size
        each_s = self.teacher.predict_s(1, longest) - fixed_s
        own_s = self.student.predict_s(size, longest)
        return own_s + anybody * fixed_s + size * share * each_s

    def batch_s(self, batch: Batch) -> float:
        """The seconds of this very batch."""
        asked = sum(r.key in self.escalated for r in batch.requests)
        own_s = self.student.predict_s(batch.size, batch.longest)
        return own_s + (self.teacher.predict_s(asked, batch.longest) if asked else 0.0)

    def points(self, shapes: Sequence[tuple[int, int]]) -> list[CurvePoint]:
        """The expected time at each (size, longest): what a plain curve is fitted to, since those
        who decide before a batch is formed know no more."""
        return [CurvePoint(n, length, self.predict_s(n, length)) for n, length in shapes]
