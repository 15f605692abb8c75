"""What a build's answers are worth beside others', by the product's own measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headgate.engines.invariance import EPSILON, batch_invariance, cosine_distance
from headgate.engines.outputs import batch_scaled
from headgate.objects import (
    Action,
    Axis,
    BatchInvariance,
    Bound,
    Build,
    Contract,
    Direction,
    Verdict,
)
from headgate.release import PairedItems, judge
from headgate.workload import Codec, Engine

__all__ = ["MARGIN", "Dependence", "Lost", "dependence", "lost"]

MARGIN = 0.01
"""What may be lost of a share of right answers: one point."""
_CONTRACT = Contract(
    "right",
    Axis.QUALITY,
    Bound.NOT_BELOW_CURRENT_BY,
    MARGIN,
    "the margin of these benchmarks",
    Action.ROLLBACK,
    "command:true",
    "previous",
)


@dataclass(frozen=True, slots=True)
class Lost:
    """How much worse answers are, of the same items."""

    value: float
    at_most: float
    """One-sided, at 95 % or at the level that was asked for."""
    n: int
    shown: bool
    """Whether the release gate passes it: it is shown that no more than ``MARGIN`` is lost."""

    @property
    def said(self) -> dict[str, float]:
        return {"value": round(self.value, 4), "at most": round(self.at_most, 4), "n": self.n}


def lost(
    ours: Sequence[float | None], theirs: Sequence[float | None], *, level: float = 0.95
) -> Lost:
    """Of items that are right (1) or wrong (0), or in between; by the gate's paired bound."""
    items = tuple(map(str, range(len(ours))))
    paired = PairedItems("right", Direction.HIGHER, items, tuple(ours), tuple(theirs))
    found = judge(_CONTRACT, paired, level=level)
    return Lost(0.0 - found.value, 0.0 - found.low, len(items), found.verdict is Verdict.PASS)


@dataclass(frozen=True, slots=True)
class Dependence:
    """Whether an answer depends on the batch that it is calculated in."""

    invariance: BatchInvariance
    largest_difference: float
    """Cosine distance that was seen, to the same item alone or beside other neighbours."""
    by_construction: bool
    """The graph says so, however little was seen of it."""

    @classmethod
    def of(cls, kept: Sequence[Any]) -> Dependence:
        """From its values as JSON gives them back."""
        invariance, *rest = kept
        return cls(BatchInvariance(invariance), *rest)

    @property
    def same_answers(self) -> bool:
        """Bitwise, or within epsilon."""
        return self.invariance in (BatchInvariance.EXACT, BatchInvariance.EPSILON)

    @property
    def said(self) -> dict[str, object]:
        by_construction = {"by construction": True} if self.by_construction else {}
        largest = float(f"{self.largest_difference:.2g}")
        return {"class": self.invariance.value, "largest difference": largest, **by_construction}


def dependence(build: Build, engine: Engine, codec: Codec, items: Sequence[object]) -> Dependence:
    """As ``optimize.measure`` finds it for an encoder. The files of ``build`` are paths."""
    report = batch_invariance(
        engine,
        codec,
        items,
        rng=np.random.default_rng(0),
        epsilon=EPSILON,
        sizes=(8, 32),
        difference=cosine_distance,
    )
    scaled = batch_scaled(build, Path)
    return Dependence(
        BatchInvariance.DEPENDENT if scaled else report.invariance,
        max(report.max_difference, report.max_neighbour_difference),
        scaled,
    )
