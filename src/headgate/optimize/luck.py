"""How much luck is in a calibration: the same scheme, calibrated on resamples of the same data.

Off the main job's path, for whoever wonders whether a result would come again. Each repetition is
made, judged and recorded as a candidate is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headgate.objects import Bound, Contract
from headgate.optimize.making import Maker, make_build
from headgate.optimize.making.quantized import CALIBRATION_ITEMS
from headgate.optimize.measure import Behaviour, measure_quality

__all__ = ["RESAMPLES", "Spread", "calibration_luck", "warnings"]

_MARGINS = (Bound.NOT_BELOW_CURRENT_BY, Bound.NOT_ABOVE_CURRENT_BY)
RESAMPLES = 5
"""They tell an SD to within a factor of two either way: enough to hold against a third of a margin,
and five times the price of one."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One metric of one candidate, over calibrations on resamples of one set of items."""

    metric: str
    means: tuple[float, ...]
    """Over the evaluation items, one a resample; what errored counts as 0."""

    @property
    def sd(self) -> float:
        """Standard deviation over the resamples, in the metric's unit."""
        return statistics.stdev(self.means)


def calibration_luck(
    maker: Maker, behaviour: Behaviour, name: str, *, resamples: int = RESAMPLES
) -> Mapping[str, Spread]:
    """Metric -> spread of the candidate ``name``, by ``resamples`` (2 at least) calibrations.

    Each takes as many items as a calibration does, drawn with replacement (the bootstrap; Efron,
    1979) from all of the endpoint's calibration items, by the recorder's seed. Raises as
    ``make_build`` does.
    """
    if resamples < 2:
        raise ValueError(f"a spread needs two resamples at least, got {resamples}")
    items = maker.inputs.calibrate
    rng = np.random.default_rng(maker.recorder.seed)
    means: dict[str, list[float]] = {}
    for k in range(resamples):
        drawn = [
            items[i] for i in rng.integers(len(items), size=min(CALIBRATION_ITEMS, len(items)))
        ]
        build = replace(make_build(name, maker, calibrate=drawn), name=f"{name}, resample {k + 1}")
        samples, _ = measure_quality(
            maker.recorder,
            build,
            behaviour,
            dataset=maker.inputs.versions["evaluate"],
            split="evaluate",
        )
        for metric, scores in samples.scores.items():
            means.setdefault(metric, []).append(math.fsum(s or 0.0 for s in scores) / len(scores))
    return {metric: Spread(metric, tuple(found)) for metric, found in means.items()}


def warnings(spreads: Mapping[str, Spread], contracts: Iterable[Contract]) -> Sequence[str]:
    """What to beware of: a spread above a third of the margin that a contract allows.

    Then a calibration that passes may be followed by one of the same data that does not.
    """
    found = []
    for contract in contracts:
        spread = spreads.get(contract.metric)
        if contract.bound not in _MARGINS or spread is None:
            continue
        if spread.sd > contract.limit / 3:
            found.append(
                f"{contract.metric} varies by {spread.sd:.2g} (SD of {len(spread.means)} "
                f"calibrations), more than a third of the margin of {contract.limit:g}: "
                "calibrate on more items"
            )
    return found
