"""Answers to many items at once: batches of like length, rows in the callers' order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import TooLong
from headgate.optimize.answers import Answerer, batches_by_length
from tests.serving import WordCodec, WordEngine, expected

lengths_of_items = st.lists(st.integers(1, 40), max_size=80)


@given(lengths_of_items, st.integers(1, 200), st.integers(1, 16))
def test_every_item_is_in_one_batch_and_no_batch_is_over_its_limits(
    lengths: list[int], tokens: int, size: int
) -> None:
    """An item longer than the whole budget goes alone."""
    batches = batches_by_length(lengths, max_padded_tokens=tokens, max_items=size)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= size
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= tokens


@given(lengths_of_items, st.integers(1, 200))
def test_batches_hold_items_of_like_length_longest_first(lengths: list[int], tokens: int) -> None:
    """Nothing in a later batch is longer than anything in an earlier one; equals keep order."""
    flat = [i for batch in batches_by_length(lengths, max_padded_tokens=tokens) for i in batch]
    assert flat == sorted(flat, key=lambda i: (-lengths[i], i))


@given(lengths_of_items, st.integers(1, 200))
def test_a_batch_is_closed_only_when_the_next_item_does_not_fit(
    lengths: list[int], tokens: int
) -> None:
    """No batch is smaller than it must be."""
    batches = batches_by_length(lengths, max_padded_tokens=tokens, max_items=8)
    for batch in batches[:-1]:
        assert len(batch) == 8 or lengths[batch[0]] * (len(batch) + 1) > tokens


def answerer(**options: object) -> Answerer:
    return Answerer(WordEngine(), WordCodec(), **options)  # type: ignore[arg-type]


def test_rows_come_back_in_the_order_of_the_items() -> None:
    """Whatever batch they sat in."""
    texts = ["a", "one two three four", "to be", "x", "seven"]
    answers = answerer(max_padded_tokens=4).answer(texts)
    assert answers.tolist() == [expected(t) for t in texts]


def test_several_instances_share_the_work_and_change_no_answer() -> None:
    """Each batch goes to one of them; all rows come back in order, and all engines are freed."""
    engines = [WordEngine(), WordEngine(), WordEngine()]
    texts = [f"w{'x' * (i % 5)} " * (i % 7 + 1) for i in range(200)]
    shared = Answerer(engines[0], WordCodec(), beside=engines[1:], max_padded_tokens=8)
    assert shared.answer(texts).tolist() == [expected(t) for t in texts]
    assert sum(e.rows_run for e in engines) == len(texts)
    shared.close()
    assert all(e.closed for e in engines)


@pytest.mark.parametrize("truncate", [False, True])
def test_texts_that_are_too_long_are_refused_unless_they_may_be_cut(truncate: bool) -> None:
    """The endpoint's own rule, as its server applies it."""
    texts: Sequence[str] = ["word " * 17]
    if truncate:
        assert answerer(truncate=True).answer(texts)[0, 1] == 16
    else:
        with pytest.raises(TooLong):
            answerer().answer(texts)


def test_outputs_of_any_rank_are_stacked() -> None:
    """An item's output may be a scalar."""
    answers = Answerer(WordEngine(lambda out: out[:, 0]), WordCodec()).answer(["ab", "c"])
    assert np.array_equal(answers, [2.0, 1.0])
