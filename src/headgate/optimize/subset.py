"""A part of an evaluation split, as a pilot evaluates it, and which part tells most.

Items near their decision boundary are those whose score a smaller model could change: near the
tenth place for a search, near a tie for a classifier. How near each is stands in what the baseline
answered. Knows nothing of builds or engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headgate.config import LabelledSet, RetrievalSet
from headgate.optimize.inputs import Split
from headgate.workload import Pair

__all__ = ["Drawn", "closeness", "moved_like_others", "needed_passages", "part_of", "split_vectors"]

_TOP = 10

Vectors = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Which items a pilot looks at: of each stratum, how many it has and which were drawn."""

    strata: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def items(self) -> tuple[int, ...]:
        """All that were drawn, stratum by stratum."""
        return tuple(i for _, drawn in self.strata for i in drawn)


def split_vectors(data: RetrievalSet, vectors: Vectors) -> tuple[Vectors, Vectors]:
    """(queries, passages) of what ``measure.quality`` keeps: passages first."""
    if data.queries == data.passages:
        return vectors, vectors
    return vectors[len(data.passages) :], vectors[: len(data.passages)]


def closeness(data: Split, vectors: Vectors, task: str) -> list[float] | None:
    """How far each item is from changing its score, in the model's own unit; None where its answer
    does not tell (predicted values, a class without its scores).

    ``vectors``: the baseline's outputs on all of ``data``.
    """
    if isinstance(data, RetrievalSet):
        queries, passages = split_vectors(data, vectors)
        return [float(x) for x in _to_the_tenth(data, queries @ passages.T)]
    if task == "predict":
        return None
    if task == "rerank":
        flat = vectors.reshape(-1)
        return [_lead(flat[places]) for places in _groups(data)]
    rows = vectors.reshape(len(vectors), -1)
    return None if rows.shape[1] < 2 else [_lead(row) for row in rows]


def _lead(scores: Vectors) -> float:
    """Of the best over the second."""
    if len(scores) < 2:
        return float("inf")
    second, best = np.partition(scores, -2)[-2:]
    return float(best - second)


def _to_the_tenth(data: RetrievalSet, similarity: Vectors) -> NDArray[np.float64]:
    """Of each query: how far its passage that is nearest to the tenth place is from it."""
    if data.queries == data.passages:
        np.fill_diagonal(similarity, -np.inf)
    wide = min(_TOP, similarity.shape[1] - 1)
    if data.relevant is None:
        ordered = -np.partition(-similarity, [wide - 1, wide], axis=1)
        return (ordered[:, wide - 1] - ordered[:, wide]).astype(np.float64)
    gaps = np.empty(len(similarity))
    for i, wanted in enumerate(data.relevant):
        of_wanted = similarity[i, list(wanted)]
        others = np.delete(similarity[i], list(wanted))
        place = min(wide, len(others)) - 1
        tenth = -np.partition(-others, place)[place] if len(others) else -np.inf
        gaps[i] = np.abs(of_wanted - tenth).min()
    return gaps


def needed_passages(
    data: RetrievalSet, vectors: Vectors, items: Sequence[int], most: int
) -> tuple[int, ...]:
    """Passages that decide about the queries ``items``, up to ``most``: those that answer them,
    then those around their tenth place, the nearest to it first."""
    queries, passages = split_vectors(data, vectors)
    chosen: dict[int, None] = {}
    if data.relevant is not None:
        chosen.update(dict.fromkeys(p for i in items for p in data.relevant[i]))
    similarity = queries[list(items)] @ passages.T
    deep = min(3 * _TOP, len(passages))
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :deep]
    for place in sorted(range(deep), key=lambda r: (abs(r - (_TOP - 0.5)), r)):
        if len(chosen) >= most:
            break
        chosen.update(dict.fromkeys(order[:, place].tolist()))
    return tuple(sorted(list(chosen)[:most]))


def moved_like_others(passages: Vectors, known: Sequence[int], again: Vectors) -> Vectors:
    """All passages as the smaller model would have them: ``again`` for those at ``known``, and each
    other one moved as the nearest of those was.

    A passage left where it was would lose against those that the model moves together with its
    queries. What a model does to texts that it takes to be alike is alike (nearest-neighbour hot
    deck: Andridge and Little, 2010); moved as a random one it forgets that, and its tenth place
    changes more often than it will.
    """
    places = np.array(known)
    deck = passages[places]
    nearest = (passages @ deck.T - (deck * deck).sum(axis=1) / 2).argmax(axis=1)
    moved: Vectors = passages + (again - deck)[nearest]
    moved[places] = again
    return moved


def part_of(data: Split, items: Sequence[int], task: str) -> Split:
    """``data`` with only these items, in this order: queries with all passages, rows, or the rows
    of queries."""
    if isinstance(data, RetrievalSet):
        return replace(
            data,
            query_ids=_at(data.query_ids, items),
            queries=_at(data.queries, items),
            relevant=None if data.relevant is None else _at(data.relevant, items),
            slices=_at(data.slices, items),
            rows=_at(data.rows, items),
        )
    rows = list(items)
    if task == "rerank":
        groups = _groups(data)
        rows = [int(place) for i in items for place in groups[i]]
    return replace(
        data,
        ids=_at(data.ids, rows),
        inputs=_at(data.inputs, rows),
        labels=None if data.labels is None else _at(data.labels, rows),
        slices=_at(data.slices, rows),
        rows=_at(data.rows, rows),
        lines=(),
    )


def _at(values: Sequence[T], places: Sequence[int]) -> tuple[T, ...]:
    return tuple(values[i] for i in places)


def _groups(data: LabelledSet) -> list[NDArray[np.int64]]:
    """The rows of each query, in the order in which queries come first."""
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(data.inputs):
        assert isinstance(pair, Pair)
        places.setdefault(pair.query, []).append(place)
    return [np.array(group) for group in places.values()]
