"""How the search over an endpoint's candidates begins: what is believed of each, and in what unit.

The unit is what a batch takes, over what the baseline's build takes for it beside it. An arm is a
build with the best cache, or with none: batching and instances are searched where it is priced.
Measures nothing, so that ``benchmarks.search`` runs the same search on recorded tables.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from headgate.objects import CacheSpec
from headgate.optimize.forecasts import Forecast
from headgate.optimize.pricing import CACHES, NO_CACHE
from headgate.planning import BUILDS, CANDIDATES, Arm, Cost, Entrant, Joint
from headgate.quantization.repair import BUDGET, LEAST_KEPT

__all__ = [
    "PILOT_BLOCKS",
    "POLICY_MARGIN",
    "Caches",
    "arms_of",
    "cost_of",
    "entrant_of",
    "mended_of",
    "open_search",
]

PILOT_BLOCKS = 3
POLICY_MARGIN = 0.1
"""By so much the logarithm of two costs' ratio may differ between blocks, workload and load."""
_BLOCK_SD = 0.1
"""Standard deviation of the logarithm of two builds' times in one block, at least: few blocks may
look more even than they are. 0.05 to 0.2 were measured (docs/decisions/0044)."""
_UNKNOWN_SPEEDUP = (0.5, 8.0)
_MAKING_S = 10.0
"""Where no preview says."""
_KINDS: tuple[tuple[CacheSpec, ...], ...] = (NO_CACHE, CACHES)

Caches = tuple[CacheSpec, ...]
"""The policies of an arm: the best of these caches."""


def open_search(
    entrants: Mapping[str, Entrant], *, budget_s: float | None, spent_s: float
) -> Joint[Caches]:
    """The search; ``spent_s`` is what the previews took of the budget."""
    return Joint(
        entrants,
        arms_of(entrants),
        policy_margin=POLICY_MARGIN,
        budget_s=math.inf if budget_s is None else budget_s,
        spent_s=spent_s,
        plans_at_once=len(BUILDS) * len(_KINDS),
    )


def arms_of(builds: Iterable[str]) -> dict[Arm[Caches], float]:
    """Each with a cache and without. What a cache saves is not guessed; it is taken to be alike
    for all builds until they are priced."""
    named = [*builds]
    return {Arm(name, caches, caches): 0.0 for caches in _KINDS for name in named}


def entrant_of(forecast: Forecast, *, scoring_s: float, plans_s: float) -> Entrant:
    """A candidate as its preview forecasts it; ``scoring_s`` is what judging it takes where no
    preview says, ``plans_s`` what pricing it takes. A student is trained once for all precisions.

    The 90 % interval of its speed counts as one standard error either way, until the scorecard
    vouches for it.
    """
    figure = forecast.figures.get("speedup")
    span = _UNKNOWN_SPEEDUP if figure is None else (figure.range.low, figure.range.high)
    low, high = (math.log(s) for s in span)
    making_s = _MAKING_S if forecast.making_s is None else forecast.making_s
    candidate = CANDIDATES.get(forecast.name)
    student = None if candidate is None else candidate.student
    return Entrant(
        Cost(-(low + high) / 2, (high - low) / 2),
        pilot_s=0.0 if student else making_s,
        full_s=plans_s + (scoring_s if forecast.scoring_s is None else forecast.scoring_s),
        shared=student or "",
        shared_s=making_s if student else 0.0,
        ruled_out=forecast.skip,
    )


def mended_of(plain: Entrant, cost: Cost) -> Entrant:
    """``int8_mixed``: by how much it may take longer than the ``int8_static`` that it mends is
    known, and each trial of the repair makes and scores another one of these.

    ``cost`` is what was measured of ``plain``.
    """
    most = math.log(1 / LEAST_KEPT)
    return Entrant(
        Cost(cost.log + most / 2, math.hypot(cost.se, most / 2)),
        pilot_s=BUDGET * max(plain.pilot_s, _MAKING_S),
        full_s=plain.full_s,
    )


def cost_of(logs: Sequence[float]) -> Cost:
    """From blocks: in each, the logarithm of a build's time over that of the baseline's."""
    sd = max(statistics.stdev(logs), _BLOCK_SD)
    return Cost(statistics.fmean(logs), sd / math.sqrt(len(logs)))
