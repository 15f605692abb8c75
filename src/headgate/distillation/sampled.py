"""What a sample of a retrieval set says of all of it: scores of queries, and students between.

A pilot answers some of the passages, and the queries whose relevant ones are among them. Among
fewer passages fewer stand in the way, so a place in the sample is taken for the places among all
that it may stand for (``ranking.ahead_of_all``). Vectors are rows of length 1. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.theory.ranking import ahead_of_all

__all__ = ["METRICS", "RetrievalSample", "between"]

Vectors = NDArray[np.floating]

_TOP = 10


def _recall(ahead: NDArray[np.int64]) -> NDArray[np.float64]:
    return (ahead < _TOP).astype(np.float64)


def _reciprocal(ahead: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(ahead < _TOP, 1.0 / (1.0 + ahead), 0.0)


METRICS = {"recall@10": _recall, "mrr@10": _reciprocal}
"""Name -> what a relevant passage is worth that so many others stand before."""


@dataclass(frozen=True, slots=True)
class RetrievalSample:
    """Passages and queries by their places in the sample."""

    relevant: Sequence[Sequence[int]]
    """Of each query, places of passages of the sample; at least one."""
    size: int
    """All passages."""

    def scores(self, metric: str, queries: Vectors, passages: Vectors) -> NDArray[np.float64]:
        """What is expected of each query among all passages, shape (queries,)."""
        similarity = queries @ passages.T
        owners, others, relevant = [], [], []
        for i, (row, wanted) in enumerate(zip(similarity, self.relevant, strict=True)):
            own = np.sort(row[list(wanted)])[::-1]
            for score in own[:1] if metric == "mrr@10" else own:
                before = int(np.sum(own > score))
                owners.append(i)
                relevant.append(before)
                others.append(int(np.sum(row > score)) - before)
        share = len(passages) / self.size
        # The relevant ones are all in the sample; of the others there are more than it shows.
        counts, chances = ahead_of_all(np.array(others), share=share, size=self.size)
        ahead = counts + np.array(relevant)[:, None]
        worth = np.sum(chances * METRICS[metric](ahead), axis=1)
        total: NDArray[np.float64] = np.bincount(owners, weights=worth).astype(np.float64)
        best_of_all = [min(len(wanted), _TOP) for wanted in self.relevant]
        return total if metric == "mrr@10" else total / best_of_all


def between(teacher: Vectors, student: Vectors, share: float) -> Vectors:
    """Answers whose squared distance to the teacher's is about ``share`` of the student's.

    Each lies on the way from the one's to the other's.

    >>> t, s = np.array([[1.0, 0.0]]), np.array([[0.8, 0.6]])
    >>> way = between(t, s, 0.25)
    >>> round(float(np.sum((way - t) ** 2) / np.sum((s - t) ** 2)), 2)
    0.26
    """
    way = teacher + np.sqrt(share) * (student - teacher)
    result: Vectors = way / np.linalg.norm(way, axis=1, keepdims=True)
    return result
