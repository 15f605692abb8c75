"""Makes the candidate builds: students by ``students``, fewer bits by ``quantized``.

Knows nothing of how builds are judged.
"""

from __future__ import annotations

from collections.abc import Sequence

from headgate.config import Item
from headgate.objects import Build
from headgate.optimize.making.maker import Maker
from headgate.optimize.making.quantized import quantized
from headgate.optimize.making.students import trained_student
from headgate.planning import CANDIDATES

__all__ = ["Maker", "make_build"]


def make_build(name: str, maker: Maker, *, calibrate: Sequence[Item] | None = None) -> Build:
    """The candidate ``name``, calibrated on ``calibrate`` in place of the endpoint's first items.

    Raises ``MissingExtra``, ``EngineError`` or ``InputError``.
    """
    candidate = CANDIDATES[name]
    source = maker.source.build
    if candidate.student is not None:
        source = trained_student(maker, candidate.student)
    return quantized(maker, source, candidate.scheme, name=name, calibrate=calibrate)
