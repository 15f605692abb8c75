"""Times engines by turns in one run, so that whoever else uses the machine slows all of them.

Turns are grouped into *loads*: the engines are loaded, take some turns, and are closed. Rounds of
one load follow each other, and share where memory happened to be put; so a load counts once, and
the bound of a ratio is that of as many values as there were loads. What the method can resolve at
all is shown by one engine that is loaded twice and takes two places in the same rotation (A/A).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.theory.intervals import ratio_interval
from headgate.workload import Engine, Tensors

__all__ = ["Ratio", "alternate", "over_loads", "ratio"]

Seconds = Sequence[float] | np.ndarray
Clock = Callable[[], float]
"""In seconds: the wall's; or the process's own (``time.process_time``), which stands still while
others have the processor, where engines have one thread."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast, with one-sided 95 % bounds."""

    value: float
    lower: float
    upper: float


def alternate(
    engines: Mapping[str, Engine],
    batches: Mapping[str, Tensors],
    *,
    rounds: int,
    least_s: float = 0.05,
    clock: Clock = time.perf_counter,
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
        began_s = clock()
        engines[name].run(batches[name])
        calls[name] = max(1, math.ceil(least_s / (clock() - began_s)))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        for k in range(len(names)):
            name = names[(k + round_) % len(names)]
            began_s = clock()
            for _ in range(calls[name]):
                engines[name].run(batches[name])
            seconds[name].append((clock() - began_s) / calls[name])
    return {name: np.array(seconds[name]) for name in names}


def over_loads(
    load: Mapping[str, Callable[[], Engine]],
    batches: Mapping[str, Tensors],
    *,
    loads: int,
    rounds: int,
    least_s: float = 0.05,
    clock: Clock = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Seconds of a call, (loads, rounds) for each engine, which is loaded anew for each row.

    Every second time they are loaded in the opposite order: who comes first has memory to choose.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in load}
    for i in range(loads):
        engines = {name: load[name]() for name in (list(load) if i % 2 else list(load)[::-1])}
        for name, seconds in alternate(
            engines, batches, rounds=rounds, least_s=least_s, clock=clock
        ).items():
            found[name].append(seconds)
        for engine in engines.values():
            engine.close()
    return {name: np.stack(rows) for name, rows in found.items()}


def ratio(
    slow_s: Seconds, fast_s: Seconds, *, same: tuple[Seconds, Seconds] | None = None
) -> Ratio:
    """The geometric mean of ``slow_s / fast_s``, and Student's bounds on its logarithm.

    Either of shape (rounds,), where each round counts, or (loads, rounds), where each load does, by
    the mean logarithm of its rounds. ``same``: seconds of one engine in two places. No spread is
    taken to be less than theirs, as in the product's own claims of speed (``ratio_interval``).
    """
    pairs = zip(_logs(fast_s), _logs(slow_s), strict=True)
    again = zip(*map(_logs, same), strict=True) if same is not None else ()
    found = ratio_interval(
        [(math.exp(a), math.exp(b)) for a, b in pairs],
        same=[(math.exp(a), math.exp(b)) for a, b in again],
    )
    return Ratio(found.value, found.low, found.high)


def _logs(seconds: Seconds) -> list[float]:
    """One for each load, or for each round where loads are not told apart."""
    logs = np.log(np.asarray(seconds))
    means: list[float] = (logs if logs.ndim == 1 else logs.mean(axis=1)).tolist()
    return means
