"""Makes the candidate builds: students by ``students`` (an encoder's) and ``heads`` (a classifier's
or a predictor's), fewer bits by ``quantized``, and a student before its teacher by ``cascades``.

Knows nothing of how builds are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headgate.config import Item
from headgate.objects import Build
from headgate.optimize.making.cascades import cascaded
from headgate.optimize.making.heads import doubting, trained_head
from headgate.optimize.making.maker import CANNOT_BE_MADE, Maker
from headgate.optimize.making.quantized import quantized
from headgate.optimize.making.students import trained_student
from headgate.planning import CANDIDATES

__all__ = ["CANNOT_BE_MADE", "Maker", "make_build"]


def make_build(name: str, maker: Maker, *, calibrate: Sequence[Item] | None = None) -> Build:
    """The candidate ``name``, calibrated on ``calibrate`` in place of the endpoint's first items.

    Raises ``MissingExtra``, ``EngineError`` or ``InputError``.
    """
    candidate = CANDIDATES[name]
    source = maker.source.build
    if candidate.student is not None and candidate.of_head:
        if candidate.cascade:
            return cascaded(maker, doubting(maker, candidate.student), name=name)
        return replace(trained_head(maker, candidate.student), name=name)
    if candidate.student is not None:
        source = trained_student(maker, candidate.student)
    return quantized(maker, source, candidate.scheme, name=name, calibrate=calibrate)
