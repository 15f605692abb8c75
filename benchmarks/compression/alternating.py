"""Times engines by turns in one run, so that whoever else uses the machine slows all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from headgate.workload import Engine, Tensors

__all__ = ["Ratio", "alternate", "ratio"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast, with its one-sided 95 % lower bound."""

    value: float
    lower: float


def alternate(
    engines: Mapping[str, Engine],
    batches: Mapping[str, Tensors],
    *,
    rounds: int,
    least_s: float = 0.05,
) -> dict[str, np.ndarray]:
    """Seconds of a call, (rounds,) for each engine: the mean over some calls in a row.

    ``batches``: what each engine is given, all of one shape. An engine runs for ``least_s`` at a
    time, long enough to have the caches to itself, and the order of the engines rotates.
    """
    names = list(engines)
    calls: dict[str, int] = {}
    for name in names:
        for _ in range(3):  # a shape is compiled when it is first seen
            engines[name].run(batches[name])
        began_s = time.perf_counter()
        engines[name].run(batches[name])
        calls[name] = max(1, math.ceil(least_s / (time.perf_counter() - began_s)))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        for k in range(len(names)):
            name = names[(k + round_) % len(names)]
            began_s = time.perf_counter()
            for _ in range(calls[name]):
                engines[name].run(batches[name])
            seconds[name].append((time.perf_counter() - began_s) / calls[name])
    return {name: np.array(seconds[name]) for name in names}


def ratio(slow_s: Sequence[float] | np.ndarray, fast_s: Sequence[float] | np.ndarray) -> Ratio:
    """The geometric mean of the rounds' ratios, and Student's lower bound on its logarithm."""
    logs = np.log(np.asarray(slow_s) / np.asarray(fast_s))
    n = len(logs)
    half = stdtrit(n - 1, 0.95) * logs.std(ddof=1) / math.sqrt(n)
    return Ratio(math.exp(logs.mean()), math.exp(logs.mean() - half))
