"""What a sample of a retrieval set says of all of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.distillation import RetrievalSample, between


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return result


def world(
    n: int, noise: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Queries, and passages of which the k-th answers the k-th."""
    passages = unit(rng.standard_normal((n, 24)))
    return unit(passages + noise * rng.standard_normal((n, 24))), passages


def test_of_everything_the_scores_are_the_metrics() -> None:
    """Places 1, 2 and 11: recall@10 and the reciprocal rank as everybody counts them."""
    passages = np.eye(12)
    ahead = unit(np.array([[1.0, *[0.0] * 11], [0.9, 1.0, *[0.0] * 10], [1.0, *[1.1] * 10, 0.0]]))
    whole = RetrievalSample([(0,), (0,), (0,)], 12)
    assert whole.scores(ahead, passages)["recall@10"].tolist() == [1.0, 1.0, 0.0]
    assert whole.scores(ahead, passages)["mrr@10"].tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(("others", "recall"), [(1, 1.0), (9, 0.5), (10, 0.0)])
def test_a_relevant_passage_takes_a_place_too(others: int, recall: float) -> None:
    """Behind nine others there is one place in the first ten, and two are wanted."""
    passages = np.eye(14)
    query = np.zeros((1, 14))
    query[0, :2], query[0, 2 : 2 + others] = (0.5, 0.4), 1.0
    whole = RetrievalSample([(0, 1)], 14)
    assert whole.scores(unit(query), passages)["recall@10"].tolist() == [recall]


def test_two_relevant_passages_of_one_text_are_both_found() -> None:
    """Neither stands before the other."""
    passages = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    query = np.array([[1.0, 0.0]])
    for size in (3, 30):
        (found,) = RetrievalSample([(0, 1)], size).scores(query, passages)["recall@10"]
        assert 0.5 < found <= 1.0


@pytest.mark.parametrize("metric", ["recall@10", "mrr@10"])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_sample_expects_what_all_would_have(metric: str, share: float) -> None:
    """Over many samples of a fifth or half of 600 passages the mean is that of all."""
    rng = np.random.default_rng(3)
    n = 600
    queries, passages = world(n, 0.35, rng)
    all_of_them = RetrievalSample([(i,) for i in range(n)], n)
    truth = all_of_them.scores(queries, passages)[metric].mean()
    found = []
    for _ in range(60):
        part = rng.permutation(n)[: round(share * n)]
        sample = RetrievalSample([(i,) for i in range(len(part))], n)
        found.append(sample.scores(queries[part], passages[part])[metric].mean())
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert 0.2 < truth < 0.9
    assert np.mean(found) == pytest.approx(truth, abs=max(3 * error, 0.015))


def test_the_way_to_a_student_begins_at_its_teacher_and_ends_at_it() -> None:
    """At a share of the loss between, distances are about as large as that share says."""
    rng = np.random.default_rng(0)
    teacher = unit(rng.standard_normal((50, 16)))
    student = unit(teacher + 0.1 * rng.standard_normal((50, 16)))
    assert between(teacher, student, 0.0) == pytest.approx(teacher)
    assert between(teacher, student, 1.0) == pytest.approx(student)
    whole = np.sum((student - teacher) ** 2)
    part = np.sum((between(teacher, student, 0.3) - teacher) ** 2)
    assert part / whole == pytest.approx(0.3, abs=0.02)
