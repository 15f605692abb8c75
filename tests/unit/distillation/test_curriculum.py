"""Texts cut to size and batches in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.distillation import (
    batches,
    distinct,
    learning_rate_share,
    pieces,
    subset,
    two_parts,
)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=120),
    st.integers(1, 16),
    st.integers(1, 5),
    st.integers(0, 9),
)
def test_every_text_is_seen_once_an_epoch(
    lengths: list[int], size: int, bucket: int, seed: int
) -> None:
    """The batches of one epoch are a partition of the texts."""
    span = size * bucket
    full, rest = divmod(len(lengths), span)
    count = full * bucket + -(-rest // size)
    epoch = batches(
        lengths,
        batch_size=size,
        count=count,
        rng=np.random.default_rng(seed),
        bucket_batches=bucket,
    )
    assert len(epoch) == count
    assert sorted(int(i) for b in epoch for i in b) == list(range(len(lengths)))


def test_batches_hold_texts_of_similar_length() -> None:
    """Bucketing leaves a fraction of the padding that random batches have."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 120, 2000)

    def padded(bucket: int) -> int:
        plan = batches(lengths.tolist(), batch_size=32, count=60, rng=rng, bucket_batches=bucket)
        return sum(len(b) * int(lengths[b].max()) for b in plan)

    assert padded(32) < 1.1 * lengths[:].sum() < 0.75 * padded(1)


def test_batches_are_the_generator_s_and_differ_between_epochs() -> None:
    """One generator state gives one plan, and the second epoch is not the first again."""
    lengths = list(range(1, 65))

    def plan(seed: int) -> list[list[int]]:
        made = batches(lengths, batch_size=8, count=16, rng=np.random.default_rng(seed))
        return [b.tolist() for b in made]

    assert plan(3) == plan(3)
    assert plan(3) != plan(4)
    assert plan(3)[:8] != plan(3)[8:]


def test_a_plan_of_fewer_steps_is_the_beginning_of_a_longer_one() -> None:
    """A pilot of few steps sees what the full run sees first."""
    lengths = list(range(1, 65))
    short, long = (
        batches(lengths, batch_size=8, count=c, rng=np.random.default_rng(0)) for c in (5, 40)
    )
    assert [b.tolist() for b in short] == [b.tolist() for b in long[:5]]


@given(st.lists(st.text("ab .", max_size=40), max_size=8), st.integers(1, 6))
def test_pieces_lose_no_long_text_and_exceed_no_limit(texts: list[str], limit: int) -> None:
    """No piece is longer than the limit, and none appears twice."""
    found = pieces(texts, max_words=limit)
    assert all(1 <= len(p.split()) <= limit for p in found)
    assert len({p.lower() for p in found}) == len(found)


def test_pieces_without_sentences_are_windows() -> None:
    """A long text becomes consecutive windows; a leftover of two words is dropped."""
    text = "one two three four five six seven eight. nine"
    assert pieces([text], max_words=4, sentences=False) == [
        "one two three four",
        "five six seven eight.",
    ]


def test_distinct_ignores_case_and_spacing() -> None:
    """The first spelling of a text stays, and blank texts go."""
    assert list(distinct(["A  b", "a B", "", "\n", "c"])) == ["A  b", "c"]


@given(st.integers(1, 500), st.floats(0, 0.9))
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(steps: int, warmup: float) -> None:
    """The share of the peak stays in [0, 1] and ends at 0; no step is above the peak."""
    shares = [learning_rate_share(s, steps, warmup) for s in range(steps)]
    assert all(0 <= x <= 1 for x in shares)
    assert shares[-1] == pytest.approx(0, abs=1e-9)
    top = int(np.argmax(shares))
    assert shares[:top] == sorted(shares[:top])
    assert shares[top:] == sorted(shares[top:], reverse=True)


@given(st.lists(st.text(max_size=5), unique=True, max_size=20), st.integers(0, 25))
def test_a_subset_does_not_depend_on_the_order_of_the_texts(texts: list[str], count: int) -> None:
    """The same texts in another order give the same subset, and a larger one contains it."""
    chosen = subset(texts, count)
    assert len(chosen) == min(count, len(texts))
    assert subset(reversed(texts), count) == chosen
    assert set(chosen) <= set(subset(texts, count + 1)) <= set(texts)


@given(st.integers(0, 40), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_two_parts_are_the_text_and_each_is_framed(inside: int, frame: int, seed: int) -> None:
    """Nothing is lost between them, and neither is less than a quarter of the text."""
    ids = np.arange(inside + frame)
    before, after = ids[: frame // 2].tolist(), ids[inside + frame // 2 :].tolist()
    one, other = two_parts(ids, np.random.default_rng(seed), frame=frame)
    if inside < 2:
        assert one.tolist() == other.tolist() == ids.tolist()
        return
    cut = [part.tolist()[len(before) : len(part) - len(after)] for part in (one, other)]
    assert [*before, *cut[0], *cut[1], *after] == ids.tolist()
    assert min(map(len, cut)) >= max(1, inside // 4)
    assert (one.tolist()[: len(before)], other.tolist()[: len(before)]) == (before, before)
