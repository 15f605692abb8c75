"""Batch invariance, on engines whose dependence is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate import engines
from headgate.engines.invariance import batch_invariance, cosine_distance
from headgate.errors import Undecided
from headgate.objects import BatchInvariance, Build
from headgate.workload import Codec, Encoded, Tensors

Arrays = NDArray[np.generic]


class PlainCodec:
    """Items are lists of ids; pads with 0."""

    def encode(self, items: Sequence[object], *, truncate: bool = False) -> list[Encoded]:
        return [Encoded(len(i), np.array(i)) for i in items]  # type: ignore[arg-type]

    def collate(self, encoded: Sequence[Encoded]) -> Tensors:
        ids = np.zeros((len(encoded), max(e.length for e in encoded)), dtype=np.int64)
        for row, each in enumerate(encoded):
            ids[row, : each.length] = each.content
        return {"input_ids": ids}


class FakeEngine:
    """Sums the ids, plus what ``leak`` makes of the batch (a column, one number a row)."""

    def __init__(self, leak: Callable[[Arrays], Arrays | float]) -> None:
        self.leak = leak

    def run(self, tensors: Tensors) -> Arrays:
        ids = tensors["input_ids"].astype(np.float64)
        return np.asarray(ids.sum(axis=1, keepdims=True) + self.leak(ids))

    def close(self) -> None:
        pass


ITEMS = [list(range(1, 2 + k % 9)) for k in range(100)]


def classify(
    leak: Callable[[Arrays], Arrays | float], **options: float
) -> tuple[str, float, float]:
    report = batch_invariance(
        FakeEngine(leak), PlainCodec(), ITEMS, rng=np.random.default_rng(0), **options
    )
    return report.invariance.value, report.max_difference, report.max_neighbour_difference


def test_an_engine_that_looks_at_each_row_alone_is_exact() -> None:
    """No neighbour, padding or order changes a bit."""
    assert classify(lambda ids: 0.0) == ("exact", 0.0, 0.0)


def test_a_small_dependence_is_within_epsilon() -> None:
    """1e-6 for every item in the batch stays below 1e-4, and is not exact."""
    name, shape, _ = classify(lambda ids: 1e-6 * len(ids))
    assert name == "within_epsilon"
    assert shape == pytest.approx(31e-6, rel=1e-3)


def test_epsilon_is_an_argument() -> None:
    """The same engine is dependent by a stricter rule."""
    assert classify(lambda ids: 1e-6 * len(ids), epsilon=1e-6)[0] == "dependent"


def test_a_scale_over_the_whole_batch_is_found() -> None:
    """What dynamic int8 does: a term from the largest id of the batch."""
    name, shape, neighbours = classify(lambda ids: 0.01 * ids.max())
    assert name == "dependent"
    assert shape > 0.05
    assert neighbours == 0.0  # the longest item, in all of these batches, has the largest id


def test_neighbours_are_told_from_shape() -> None:
    """A term from what neighbours say shows in one shape; a term from the shape does not."""
    _, _, by_content = classify(lambda ids: 0.01 * ids.sum())
    _, by_shape, no_content = classify(lambda ids: 0.01 * ids.shape[0] * ids.shape[1])
    assert by_content > 0.01
    assert by_shape > 0.01
    assert no_content == 0.0


def test_padding_alone_is_found() -> None:
    """A dependence on the padded length only shows where items are padded."""
    assert classify(lambda ids: float(ids.shape[1]))[0] == "dependent"


def test_a_dependence_on_the_next_row_alone_is_found() -> None:
    """Even if only one neighbour leaks, and only by its first id."""
    items = [[k + 1] for k in range(60)]
    report = batch_invariance(
        FakeEngine(lambda ids: 0.01 * np.roll(ids[:, :1], 1)),
        PlainCodec(),
        items,
        rng=np.random.default_rng(0),
    )
    assert report.invariance is BatchInvariance.DEPENDENT
    assert report.max_neighbour_difference > 0


def test_the_engine_for_lone_requests_is_one_more_company() -> None:
    """An answer of its own to the same question counts as if a batch had given it."""

    def beside(difference: float) -> str:
        report = batch_invariance(
            FakeEngine(lambda ids: 0.0),
            PlainCodec(),
            ITEMS,
            rng=np.random.default_rng(0),
            lone=FakeEngine(lambda ids: difference),
        )
        return report.invariance.value

    assert [beside(d) for d in (0.0, 1e-6, 0.5)] == ["exact", "within_epsilon", "dependent"]


def test_nan_is_dependent() -> None:
    """An answer that becomes NaN in a batch is infinitely far from the one alone."""
    assert classify(lambda ids: np.nan if len(ids) > 8 else 0.0)[:2] == ("dependent", np.inf)


def test_what_was_compared_is_reported() -> None:
    """Every size sees every item; padded ones are counted, those alone are not."""
    report = batch_invariance(
        FakeEngine(lambda ids: 0.0), PlainCodec(), ITEMS, rng=np.random.default_rng(0), sizes=(8,)
    )
    assert report.items == 100
    # 100 in mixed batches; 99 in 15 batches of up to 7, each with the longest item.
    assert report.comparisons == 100 + 99 + 15
    assert report.neighbour_comparisons == 14 * 7
    assert 88 <= report.padded < report.comparisons


def test_one_item_cannot_tell() -> None:
    """Without a neighbour there is no verdict."""
    with pytest.raises(Undecided):
        batch_invariance(
            FakeEngine(lambda ids: 0.0), PlainCodec(), [[1]], rng=np.random.default_rng(0)
        )


def test_a_real_engine_in_fp32_is_within_epsilon(
    text_build: Build, path_of: Callable[[str], object]
) -> None:
    """ONNX Runtime in fp32 rounds differently for another shape, and never more than that."""
    engine = engines.load(text_build, path_of)  # type: ignore[arg-type]
    codec: Codec = engines.codec_for(text_build, path_of)  # type: ignore[arg-type]
    texts = ["".join(chr(97 + (k * j) % 26) for j in range(1, 3 + k % 10)) for k in range(40)]
    report = batch_invariance(
        engine, codec, texts, rng=np.random.default_rng(0), difference=cosine_distance
    )
    assert report.invariance in (BatchInvariance.EXACT, BatchInvariance.EPSILON)
    assert report.max_neighbour_difference == 0.0
