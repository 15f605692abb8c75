"""Measures engines: service times over batch shapes, with batches made of real items.

Shapes and builds run in turn within seconds, in an order that rotates, so that a machine that gets
slower gets slower for all. The clock comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from headgate.errors import InputError
from headgate.workload import Codec, CurvePoint, Encoded, Engine, Tensors

__all__ = ["Timed", "Times", "sample_batches", "service_times"]

Clock = Callable[[], float]
"""Seconds, monotonic; in production ``time.perf_counter``."""
T = TypeVar("T")


def sample_batches(
    codec: Codec, sample: Sequence[Encoded], rng: np.random.Generator
) -> Callable[[int, int], Tensors]:
    """A maker of batches of any shape out of real items: (size, longest) -> tensors.

    Texts are cut from the sample's tokens laid end to end, so that ids occur as often as they do
    in it; items of a fixed shape are drawn from the sample.
    """
    if not sample:
        raise InputError("no items to make batches of", where="sample")
    fixed = all(e.length == 1 for e in sample)
    stream = None if fixed else np.concatenate([e.content for e in sample])

    def make(size: int, longest: int) -> Tensors:
        if stream is None:
            return codec.collate([sample[i] for i in rng.integers(len(sample), size=size)])
        starts = rng.integers(len(stream), size=size)
        return codec.collate(
            [Encoded(longest, stream.take(range(s, s + longest), mode="wrap")) for s in starts]
        )

    return make


@dataclass(frozen=True, slots=True)
class Timed:
    """Engines of one build that run side by side, and a maker of batches for them."""

    instances: Sequence[Engine]
    make: Callable[[int, int], Tensors]
    """(size, longest) -> tensors; where a codec pads to a multiple, pass such lengths."""


@dataclass(frozen=True, slots=True)
class Times:
    """What was seen of one of ``Timed``."""

    points: list[CurvePoint]
    cores_used: float
    """Mean number of cores that one engine call computes on (or spins on), over all shapes."""


def service_times(
    timed: Sequence[Timed],
    *,
    sizes: Sequence[int],
    lengths: Sequence[int],
    clock: Clock,
    cpu_clock: Clock,
    max_padded_tokens: int | None = None,
    budget_s: float = 5.0,
    min_repeats: int = 3,
    max_repeats: int = 50,
) -> list[Times]:
    """The median time of one call for every size x length of at most ``max_padded_tokens``, and the
    cores that a call uses, for each of ``timed``.

    In every round each of ``timed`` runs every shape once, in rotated orders, so that whoever else
    uses the machine slows all of them; within its turn an engine's weights stay warm, as when it
    serves. Rounds go on until ``budget_s`` is spent or ``max_repeats`` are done, but for
    ``min_repeats`` at least, after two that are not counted (an engine compiles for a new shape).
    All instances run the same shape at the same time, each in a thread of its own, because two
    engines on one machine slow each other down; the median is over all their calls. ``cpu_clock``:
    CPU seconds of this process, all threads.
    """
    shapes = [
        (n, length)
        for n in sizes
        for length in lengths
        if n == 1 or max_padded_tokens is None or n * length <= max_padded_tokens
    ]
    times: list[dict[tuple[int, int], list[float]]] = [{s: [] for s in shapes} for _ in timed]
    cpu_s: list[dict[tuple[int, int], float]] = [dict.fromkeys(shapes, 0.0) for _ in timed]

    def call(engine: Engine, tensors: Tensors) -> float:
        start = clock()
        engine.run(tensors)
        return clock() - start

    with ThreadPoolExecutor(max(len(t.instances) for t in timed)) as pool:
        batches = [{shape: t.make(*shape) for shape in shapes} for t in timed]

        def together(which: int, shape: tuple[int, int]) -> list[float]:
            instances, tensors = timed[which].instances, batches[which][shape]
            return list(pool.map(call, instances, [tensors] * len(instances)))

        for which in range(len(timed)):
            for shape in shapes:
                together(which, shape)
                together(which, shape)
        start = clock()
        for repeat in range(max_repeats):
            if repeat >= min_repeats and clock() - start >= budget_s:
                break
            for which in _rotated(range(len(timed)), repeat):
                for shape in _rotated(shapes, repeat):
                    before_s = cpu_clock()
                    times[which][shape].extend(together(which, shape))
                    cpu_s[which][shape] += cpu_clock() - before_s
    return [
        Times(
            [CurvePoint(n, length, float(np.median(own[n, length]))) for n, length in shapes],
            float(np.mean([cpu[shape] / sum(own[shape]) for shape in shapes])),
        )
        for own, cpu in zip(times, cpu_s, strict=True)
    ]


def _rotated(items: Sequence[T], by: int) -> list[T]:
    k = by % len(items)
    return [*items[k:], *items[:k]]
