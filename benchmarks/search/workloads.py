"""What is asked how often, how long, and when: workloads to develop by, and workloads to report.

The first six were looked at while the search was made. Those in ``REPORTED`` were written down
before any search had seen them; three of them take arrivals or keys from public traces, which only
recording them needs (``record.py``).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

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

__all__ = ["DEVELOPED_BY", "REPORTED", "WORKLOADS", "Workload"]

_ITEMS = 20_000


@dataclass(frozen=True, slots=True)
class Workload:
    """A stream of requests, the promise it is served under, and how its quality differs."""

    repeats: float
    """Share of requests that were asked before."""
    median_tokens: float
    sigma: float
    """Of the logarithm of lengths."""
    burst_factor: float
    """1 is Poisson."""
    p95_limit_s: float
    margin: float
    """Share of answers that may be lost."""
    student_gain: float = 0.0
    """By how much less a student loses here: this use needs less of the model."""
    int8_loss: float = 0.0
    """How much more a static int8 build loses here."""
    family: str = "minilm"
    n: int = 240
    dwells_s: tuple[float, float] = (4.0, 1.0)
    """Of calm and of burst."""
    value_bytes: int = 1536
    arrivals_of: str = ""
    """A trace of requests (TIMESTAMP, ContextTokens): its gaps, and its lengths scaled to the
    median."""
    keys_of: str = ""
    """A trace of keys: what is asked."""

    def requests(self, traces: Path | None = None) -> list[Request]:
        """The same each time; an item has one length. ``traces``: where the traces are."""
        rng = np.random.default_rng(11)
        items = self._items(rng, traces)
        most = int(items.max()) + 1
        drawn = np.rint(self.median_tokens * np.exp(self.sigma * rng.standard_normal(most)))
        lengths = np.clip(drawn, 4, 256).astype(np.int64)[items]
        arrivals_s = self._arrivals_s(rng)
        if self.arrivals_of:
            assert traces is not None, "this workload is recorded from a trace"
            arrivals_s, tokens = _azure(traces / self.arrivals_of, self.n)
            lengths = np.clip(tokens * self.median_tokens / np.median(tokens), 4, 256)
        return make_requests(arrivals_s, tokens=lengths.astype(np.int64), items=items)

    def _items(self, rng: np.random.Generator, traces: Path | None) -> NDArray[np.int64]:
        if self.keys_of:
            assert traces is not None, "this workload is recorded from a trace"
            return _keys(traces / self.keys_of, self.n)
        if not self.repeats:
            return np.arange(self.n)
        exponent = solve_zipf_exponent(_ITEMS, self.n, self.repeats)
        return draw_items(self.n, _ITEMS, exponent, rng)

    def _arrivals_s(self, rng: np.random.Generator) -> NDArray[np.float64]:
        if self.burst_factor == 1.0:
            return poisson_arrivals(self.n, 50.0, rng)
        calm_s, burst_s = self.dwells_s
        process = MarkovModulatedPoisson.of_mean(
            50.0, burst_factor=self.burst_factor, calm_dwell_s=calm_s, burst_dwell_s=burst_s
        )
        return process.arrivals(self.n, rng)


def _azure(path: Path, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Arrival times in seconds and lengths of the first ``n`` requests."""
    with path.open(encoding="utf-8") as file:
        rows = [*islice(csv.DictReader(file), n)]
    at = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in rows]
    return np.array(at) - at[0], np.array([float(row["ContextTokens"]) for row in rows])


def _keys(path: Path, n: int) -> NDArray[np.int64]:
    """The first ``n`` keys."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return np.array([int(row[0]) for row in islice(csv.reader(file), 1, n + 1)], dtype=np.int64)


DEVELOPED_BY: Mapping[str, Workload] = {
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
REPORTED: Mapping[str, Workload] = {
    "base, no hurry": Workload(0.0, 64, 0.7, 1.0, 2.0, 0.02, family="base", n=480),
    "base, hurried": Workload(
        0.6, 24, 0.5, 1.0, 0.08, 0.04, family="base", n=480, value_bytes=12_288
    ),
    "Azure's chat, base": Workload(
        0.0, 40, 0.0, 1.0, 0.6, 0.02, int8_loss=0.02, family="base", n=480,
        arrivals_of="azure_llm_2023_conv.csv",
    ),
}  # fmt: skip
WORKLOADS: Mapping[str, Workload] = {**DEVELOPED_BY, **REPORTED}
