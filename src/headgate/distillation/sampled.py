"""What a sample of a retrieval set says of all of it: scores of queries, and students between.

A pilot answers some of the passages, and the queries whose relevant ones are among them. Among
fewer passages fewer stand in the way, so a place in the sample is taken for the places among all
that it may stand for (``ranking.ahead_of_all``). Vectors are rows of length 1. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def scores(self, queries: Vectors, passages: Vectors) -> Mapping[str, NDArray[np.float64]]:
        """Metric -> what is expected of each query among all passages, shape (queries,)."""
        places = []
        for i, (row, wanted) in enumerate(zip(queries @ passages.T, self.relevant, strict=True)):
            own = np.sort(row[list(wanted)])[::-1]
            for score in own:
                before = int(np.sum(own > score))
                places.append((i, before, int(np.sum(row > score)) - before))
        every = np.array(places)
        first = every[np.unique(every[:, 0], return_index=True)[1]]
        share, best = len(passages) / self.size, [min(len(w), _TOP) for w in self.relevant]
        return {
            "recall@10": self._worth("recall@10", every, share) / best,
            "mrr@10": self._worth("mrr@10", first, share),
        }

    def _worth(self, metric: str, places: NDArray[np.int64], share: float) -> NDArray[np.float64]:
        """Of each query, the sum over ``places``: the query, relevant passages before, others."""
        owners, relevant, others = places.T
        # The relevant ones are all in the sample; of the others there are more than it shows.
        counts, chances = ahead_of_all(others, share=share, size=self.size)
        worth = np.sum(chances * METRICS[metric](counts + relevant[:, None]), axis=1)
        return np.bincount(owners, weights=worth).astype(np.float64)


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
