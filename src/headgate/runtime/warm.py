"""Runs an engine on the shapes that traffic will bring, before traffic does.

Engines pay for every shape the first time: OpenVINO compiles it, ONNX Runtime grows its arena.
"""

from __future__ import annotations

from collections.abc import Callable

from headgate.objects import BatchingSpec, Build
from headgate.workload import Codec, Encoded, Engine

__all__ = ["stretched", "warm", "warm_shapes"]


def warm_shapes(build: Build, batching: BatchingSpec, *, fixed: bool) -> list[tuple[int, int]]:
    """(items, length) of batches that ``batching`` can form, cheapest first.

    Every shape where the build pads to a multiple (its engine compiles shapes), powers of two
    where it does not. ``fixed`` items have one length.
    """
    compiles = build.pad_to_multiple > 1
    if fixed:
        lengths = [1]
    elif compiles:
        lengths = list(range(build.pad_to_multiple, build.max_tokens + 1, build.pad_to_multiple))
    else:
        lengths = _powers(build.max_tokens)
    sizes = (
        list(range(1, batching.max_requests + 1)) if compiles else _powers(batching.max_requests)
    )
    shapes = [
        (size, length)
        for length in lengths
        for size in sizes
        if size == 1 or fixed or size * length <= batching.max_padded_tokens
    ]
    return sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape))


def stretched(sample: Encoded, length: int) -> Encoded:
    """``sample``'s tokens repeated or cut to ``length`` (a tensor item stays as it is)."""
    if sample.content.ndim != 1 or sample.length == 1:
        return sample
    return sample.resized(length)


def warm(
    engine: Engine,
    codec: Codec,
    sample: Encoded,
    shapes: list[tuple[int, int]],
    *,
    bound_s: float,
    clock: Callable[[], float],
) -> int:
    """Runs ``shapes`` in order until ``bound_s`` has passed; how many were run."""
    end_s = clock() + bound_s
    for done, (size, length) in enumerate(shapes):
        if done and clock() >= end_s:
            return done
        engine.run(codec.collate([stretched(sample, length)] * size))
    return len(shapes)


def _powers(most: int) -> list[int]:
    """1, 2, 4 ... and ``most`` itself.

    >>> _powers(6)
    [1, 2, 4, 6]
    """
    return sorted({*(2**i for i in range(most.bit_length())), most})
