"""A world in which the truth about a candidate is known, and what would be measured of it there.

One contract an axis. Quality and safety are right or wrong, item by item; latency and cost are
blocks whose logarithms are normal, in the candidate, current and the A/A pairs alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headgate.objects import Action, Axis, Bound, Contract, Direction
from headgate.release import (
    Assumption,
    Blocks,
    PairedItems,
    Samples,
    contract_power,
    share_of,
)

__all__ = ["AXES", "BETTER", "CONTRACTS", "MARGINS", "REGRESSIONS", "SAME", "Plan", "Truth"]


@dataclass(frozen=True, slots=True)
class Truth:
    """What a candidate truly is beside current: differences of shares, ratios of times."""

    quality: float = 0.0
    safety: float = 0.0
    latency: float = 1.0
    cost: float = 1.0


def _contract(metric: str, bound: Bound, limit: float) -> Contract:
    return Contract(
        metric,
        Axis(metric),
        bound,
        limit,
        "so that the truth is known: ≤ ε",
        Action.ROLLBACK,
        "command:true",
        "previous generation",
    )


CONTRACTS = (
    _contract("quality", Bound.NOT_BELOW_CURRENT_BY, 0.01),
    _contract("safety", Bound.NOT_BELOW_CURRENT_BY, 0.003),
    _contract("latency", Bound.RATIO_AT_MOST, 1.1),
    _contract("cost", Bound.RATIO_AT_MOST, 1.05),
)
AXES = tuple(c.metric for c in CONTRACTS)
MARGINS = {"quality": -0.01, "safety": -0.003, "latency": 1.1, "cost": 1.05}
"""The truths that the contracts just refuse."""
REGRESSIONS = {"quality": -0.03, "safety": -0.01, "latency": 1.15, "cost": 1.1}
"""3 points, 1 point, 15 %, 10 %."""
SAME = Truth()
BETTER = Truth(quality=0.03, safety=0.03, latency=0.8, cost=0.8)
"""Passes all but surely: what is then wrong with one axis is seen in the decision alone."""

_DISCORDANT = {"quality": 0.02, "safety": 0.001}
"""Share of items that exactly one side gets right, where the candidate is as good as current."""
_LOG_SD = {"latency": 0.02, "cost": 0.01}
"""Of the ratio of two neighbouring blocks."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many items and blocks the gate's own power plan asks for."""

    items: int
    blocks: int

    @classmethod
    def of_the_gate(cls) -> Plan:
        """So that all four contracts pass together in 80 % where nothing has changed."""

        def required(metric: str, kind: str, spread: float) -> int:
            assumption = Assumption(kind, spread, "this world")  # type: ignore[arg-type]  # a literal below
            contract = CONTRACTS[AXES.index(metric)]
            n = contract_power(contract, 1, assumption, target=share_of(len(AXES))).required_n
            assert n is not None, f"{metric} can never be decided in this world"
            return n

        return cls(
            items=max(required(m, "discordance", d) for m, d in _DISCORDANT.items()),
            blocks=max(required(m, "log_sd", sd) for m, sd in _LOG_SD.items()),
        )

    @property
    def n(self) -> Mapping[str, int]:
        """Metric -> planned n, as a rule registers it."""
        return dict.fromkeys(_DISCORDANT, self.items) | dict.fromkeys(_LOG_SD, self.blocks)

    def draw(self, truth: Truth, rng: np.random.Generator) -> dict[str, Samples]:
        """One complete set of measurements."""
        flips = {m: self.flips(m, truth, self.items, rng) for m in _DISCORDANT}
        return {
            **{m: paired(m, self.items, gained, lost) for m, (gained, lost) in flips.items()},
            **{m: self.blocks_of(m, truth, rng) for m in _LOG_SD},
        }

    def flips(self, metric: str, truth: Truth, n: int, rng: np.random.Generator) -> tuple[int, int]:
        """Of ``n`` items, how many the candidate alone gets right, and how many current alone."""
        difference, discordant = getattr(truth, metric), _DISCORDANT[metric]
        lost = max((discordant - difference) / 2, -difference, 0.0)
        gained = lost + difference
        drawn = rng.multinomial(n, [gained, lost, 1 - gained - lost])
        return int(drawn[0]), int(drawn[1])

    def blocks_of(self, metric: str, truth: Truth, rng: np.random.Generator) -> Blocks:
        """Interleaved blocks and an A/A pair before and after."""
        one = _LOG_SD[metric] / math.sqrt(2)
        level = math.log(getattr(truth, metric))
        candidate = np.exp(level + rng.normal(0, one, self.blocks))
        current = np.exp(rng.normal(0, one, self.blocks))
        aa = np.exp(rng.normal(0, one, 4))
        return Blocks(
            metric,
            "s",
            Direction.LOWER,
            tuple(candidate.tolist()),
            tuple(current.tolist()),
            ((float(aa[0]), float(aa[1])),),
            ((float(aa[2]), float(aa[3])),),
        )


def paired(metric: str, n: int, gained: int, lost: int) -> PairedItems:
    """Right and wrong answers; the order of items says nothing."""
    both = n - gained - lost
    return PairedItems(
        metric,
        Direction.HIGHER,
        tuple(map(str, range(n))),
        (1.0,) * (both + gained) + (0.0,) * lost,
        (1.0,) * both + (0.0,) * gained + (1.0,) * lost,
    )
