"""Which shapes are run before traffic comes."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from headgate.objects import BatchingSpec
from headgate.runtime.warm import stretched, warm, warm_shapes
from headgate.workload import Encoded, Segmented
from tests.serving import WordCodec, WordEngine, deployment

SPEC = BatchingSpec(max_requests=4, max_padded_tokens=32)


def test_an_engine_that_compiles_shapes_is_warmed_on_all_of_them() -> None:
    """Every multiple of the padding and every size within the budgets; longest ones alone."""
    build = dataclasses.replace(deployment().build, max_tokens=40, pad_to_multiple=8)
    assert warm_shapes(build, SPEC, fixed=False) == sorted(
        [(1, 8), (2, 8), (3, 8), (4, 8), (1, 16), (2, 16), (1, 24), (1, 32), (1, 40)],
        key=lambda s: (s[0] * s[1], s),
    )


def test_others_are_warmed_on_powers_of_two() -> None:
    """And on the largest size and length there are."""
    build = dataclasses.replace(deployment().build, max_tokens=6)
    sizes = {size for size, _ in warm_shapes(build, SPEC, fixed=False)}
    lengths = {length for _, length in warm_shapes(build, SPEC, fixed=False)}
    assert (sizes, lengths) == ({1, 2, 4}, {1, 2, 4, 6})
    assert warm_shapes(build, SPEC, fixed=True) == [(1, 1), (2, 1), (4, 1)]


def test_warming_stops_when_its_time_is_over() -> None:
    """At least one shape is run, and no further one begins after the bound."""
    engine, ticks = WordEngine(), itertools.count()
    sample = Encoded(2, np.array([1, 2]))
    shapes = [(1, 1), (2, 1), (3, 1), (4, 1)]
    done = warm(engine, WordCodec(), sample, shapes, bound_s=2.5, clock=lambda: next(ticks))
    assert done == len(engine.batches) == 3


def test_a_sample_is_stretched_by_its_own_tokens() -> None:
    """Token ids stay valid; a tensor item keeps its shape."""
    assert stretched(Encoded(2, np.array([5, 6])), 5).content.tolist() == [5, 6, 5, 6, 5]
    tensor = Encoded(1, np.zeros((3, 3)))
    assert stretched(tensor, 8) is tensor


def test_a_pair_keeps_its_segments_when_it_is_stretched() -> None:
    """Each id with the segment that it had."""
    pair = Segmented(2, np.array([5, 6]), np.array([0, 1], dtype=np.uint8))
    longer = stretched(pair, 5)
    assert isinstance(longer, Segmented)
    assert longer.content.tolist() == [5, 6, 5, 6, 5]
    assert longer.segments.tolist() == [0, 1, 0, 1, 0]
