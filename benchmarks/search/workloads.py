"""Six workloads, drawn by our own arrivals: what is asked how often, how long, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.testing import make_requests
from headgate.workload import Request
from headgate.workload.arrivals import (
    MarkovModulatedPoisson,
    draw_items,
    poisson_arrivals,
    solve_zipf_exponent,
)

__all__ = ["WORKLOADS", "Workload"]

_REQUESTS = 240
_ITEMS = 20_000


@dataclass(frozen=True, slots=True)
class Workload:
    """A stream of requests, the promise it is served under, and how its quality differs."""

    repeats: float
    """Share of requests that were asked before."""
    median_tokens: float
    sigma: float
    burst_factor: float
    """1 is Poisson."""
    p95_limit_s: float
    margin: float
    """Share of answers that may be lost."""
    student_gain: float = 0.0
    """By how much less a student loses here: this use needs less of the model."""
    int8_loss: float = 0.0
    """How much more a static int8 build loses here."""

    def requests(self) -> list[Request]:
        """The same each time; an item has one length."""
        rng = np.random.default_rng(11)
        items = np.arange(_REQUESTS)
        if self.repeats:
            exponent = solve_zipf_exponent(_ITEMS, _REQUESTS, self.repeats)
            items = draw_items(_REQUESTS, _ITEMS, exponent, rng)
        drawn = np.rint(self.median_tokens * np.exp(self.sigma * rng.standard_normal(_ITEMS)))
        lengths = np.clip(drawn, 4, 256).astype(np.int64)
        return make_requests(self._arrivals_s(rng), tokens=lengths[items], items=items)

    def _arrivals_s(self, rng: np.random.Generator) -> NDArray[np.float64]:
        if self.burst_factor == 1.0:
            return poisson_arrivals(_REQUESTS, 50.0, rng)
        process = MarkovModulatedPoisson.of_mean(
            50.0, burst_factor=self.burst_factor, calm_dwell_s=4.0, burst_dwell_s=1.0
        )
        return process.arrivals(_REQUESTS, rng)


WORKLOADS: Mapping[str, Workload] = {
    # Popular queries in bursts, as examples/python-help draws them.
    "python-help": Workload(0.45, 12, 0.4, 4.0, 0.1, 0.02),
    # The shape of Azure's traces of 2023: bursts, a long tail of lengths, hardly a repeat.
    "azure-like": Workload(0.0, 40, 1.0, 6.0, 0.5, 0.02, int8_loss=0.04),
    # The shape of Mooncake's: half of it repeats, and it is long.
    "mooncake-like": Workload(0.5, 90, 0.6, 2.0, 0.8, 0.06, student_gain=0.02),
    "cacheable": Workload(0.8, 12, 0.4, 1.0, 0.1, 0.06, student_gain=0.02),
    "long texts": Workload(0.1, 180, 0.3, 1.0, 1.0, 0.02),
    "tight p95": Workload(0.3, 12, 0.4, 1.0, 0.012, 0.02, int8_loss=0.04),
}
