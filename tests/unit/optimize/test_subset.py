"""Which items a pilot looks at, and what it supposes of the passages that it does not."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.config import LabelledSet, RetrievalSet
from headgate.optimize.quality import score_retrieval
from headgate.optimize.subset import (
    closeness,
    moved_like_others,
    needed_passages,
    part_of,
    split_vectors,
)
from headgate.workload import Pair

N, D = 60, 16


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def searched() -> tuple[RetrievalSet, np.ndarray]:
    """Sixty queries with one passage each, close to it but for noise; passages first."""
    rng = np.random.default_rng(5)
    passages = unit(rng.normal(size=(N, D)))
    queries = unit(passages + 0.4 * rng.normal(size=(N, D)))
    data = RetrievalSet(
        tuple(f"q{i}" for i in range(N)),
        tuple(f"query {i}" for i in range(N)),
        tuple((i,) for i in range(N)),
        tuple(f"p{i}" for i in range(N)),
        tuple(f"passage {i}" for i in range(N)),
        ((),) * N,
        ({},) * N,
    )
    return data, np.concatenate([passages, queries])


def labelled(n: int, **changes: object) -> LabelledSet:
    ids = tuple(f"i{k}" for k in range(n))
    fields = {"inputs": ids, "labels": (0.0,) * n, "slices": ((),) * n, "rows": ({},) * n}
    return LabelledSet(ids, **{**fields, **changes})  # type: ignore[arg-type]  # a test's own


def test_queries_near_the_tenth_place_are_those_that_noise_flips(
    searched: tuple[RetrievalSet, np.ndarray],
) -> None:
    """Of the queries whose recall changes under noise, nearly all are in the nearest half."""
    data, vectors = searched
    near = closeness(data, vectors, "embed")
    assert near is not None
    queries, passages = split_vectors(data, vectors)
    before = score_retrieval(data, queries, passages).scores["recall@10"]
    rng = np.random.default_rng(0)
    flipped = []
    for _ in range(50):
        noisy = unit(queries + 0.02 * rng.normal(size=queries.shape))
        after = score_retrieval(data, noisy, passages).scores["recall@10"]
        flipped += [i for i in range(N) if before[i] != after[i]]
    nearest = set(np.argsort(near)[: N // 2].tolist())
    assert flipped
    assert sum(i in nearest for i in flipped) >= 0.95 * len(flipped)


def test_a_classifier_is_near_where_its_two_best_scores_are() -> None:
    """Predictions and bare classes do not tell how near they are."""
    scores = np.array([[0.1, 0.9], [0.49, 0.51], [3.0, 1.0]], dtype=np.float32)
    near = closeness(labelled(3), scores, "classify")
    assert near == pytest.approx([0.8, 0.02, 2.0], abs=1e-6)
    assert closeness(labelled(3), scores[:, :1], "classify") is None
    assert closeness(labelled(3), scores, "predict") is None


def test_a_ranking_is_near_where_its_first_place_is_close() -> None:
    """An item is a query; one with a single text cannot change."""
    pairs = (Pair("a", "1"), Pair("b", "1"), Pair("a", "2"))
    data = labelled(3, inputs=pairs)
    assert closeness(data, np.array([[1.0], [5.0], [0.75]], np.float32), "rerank") == [
        0.25,
        float("inf"),
    ]
    part = part_of(data, [0], "rerank")
    assert isinstance(part, LabelledSet)
    assert part.inputs == (pairs[0], pairs[2])


def test_a_part_of_a_search_keeps_all_passages(
    searched: tuple[RetrievalSet, np.ndarray],
) -> None:
    """Its queries are those that were asked for, in that order, with their own answers."""
    data, _ = searched
    part = part_of(data, [7, 3], "embed")
    assert isinstance(part, RetrievalSet)
    assert part.queries == ("query 7", "query 3")
    assert part.relevant == ((7,), (3,))
    assert part.passages == data.passages


def test_the_passages_that_decide_come_first(searched: tuple[RetrievalSet, np.ndarray]) -> None:
    """What answers the queries, then what is around their tenth place; never more than allowed."""
    data, vectors = searched
    known = needed_passages(data, vectors, [1, 2, 3], 9)
    assert len(known) == 9
    assert {1, 2, 3} <= set(known)
    queries, passages = split_vectors(data, vectors)
    ranks = np.argsort(np.argsort(-(queries[[1, 2, 3]] @ passages.T), axis=1), axis=1)
    assert all((np.abs(ranks[:, p] - 9.5) < 4).any() for p in set(known) - {1, 2, 3})


def test_what_is_not_embedded_again_moves_with_the_others(
    searched: tuple[RetrievalSet, np.ndarray],
) -> None:
    """A model that turns all vectors loses nothing; passages left in place would say it does."""
    data, vectors = searched
    queries, passages = split_vectors(data, vectors)
    shift = np.full(D, 0.3, np.float32)
    known = needed_passages(data, vectors, range(N), 20)
    moved = moved_like_others(passages, known, passages[list(known)] + shift)
    assert moved == pytest.approx(passages + shift, abs=1e-6)
    left = passages.copy()
    left[list(known)] += shift
    recalls = [
        np.mean(score_retrieval(data, queries + shift, p).scores["recall@10"])  # type: ignore[arg-type]
        for p in (passages + shift, moved, left)
    ]
    assert recalls[0] == recalls[1]
    assert recalls[2] != recalls[0]


def test_a_passage_moves_as_the_nearest_that_was_embedded_again() -> None:
    """Nearest by distance: a long vector is not near to everything."""
    passages = np.array([[1, 0], [0, 1], [9, 9], [0.9, 0.1], [0.2, 0.8]], np.float32)
    again = passages[:3] + np.array([[0.5, 0], [0, 0.25], [7, 7]], np.float32)
    moved = moved_like_others(passages, [0, 1, 2], again)
    assert moved[:3] == pytest.approx(again)
    assert moved[3:] - passages[3:] == pytest.approx(np.array([[0.5, 0], [0, 0.25]]), abs=1e-6)


def test_a_query_does_not_find_itself(searched: tuple[RetrievalSet, np.ndarray]) -> None:
    """Texts that are both: a part of them is still each its own passage."""
    data, vectors = searched
    passages = vectors[:N]
    texts = part_of(data, [4, 9], "embed")
    assert isinstance(texts, RetrievalSet)
    found = score_retrieval(texts, passages[[4, 9]], passages, itself=[4, 9])
    assert 4.0 not in found.answers[0]
    assert 9.0 not in found.answers[1]
