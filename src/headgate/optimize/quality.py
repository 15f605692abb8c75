"""Per-item quality of a build: what its answers are worth, item by item.

Each task turns outputs into *answers* (what agreement compares) and *scores* (one number an item
and metric). Only per-item values leave this module, so that every comparison can be paired.
Knows nothing of contracts or intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.config import LabelledSet, OwnMetric, RetrievalSet
from headgate.engines.invariance import EPSILON, largest_difference
from headgate.errors import InputError
from headgate.objects import jsonable
from headgate.optimize.answers import Answerer
from headgate.theory.ranking import ndcg, reciprocal_rank
from headgate.workload import Pair

__all__ = ["QualitySamples", "agreement", "evaluate", "flips", "score_labelled", "score_retrieval"]

_TOP = 10
_RIGHT = {"recall@10": 1.0, "accuracy": 1.0}
"""Metric that tells right from wrong -> its value where an item is right."""


@dataclass(frozen=True, slots=True)
class QualitySamples:
    """Per-item results of one build on one split."""

    items: tuple[str, ...]
    slices: tuple[tuple[str, ...], ...]
    scores: Mapping[str, tuple[float | None, ...]]
    """Metric -> one value an item; None where the item errored."""
    answers: tuple[tuple[float, ...], ...]
    """What agreement compares: the top-10 passage indices, the class, the text that comes first,
    or the predicted values.

    Empty where the item errored: no answer agrees with nothing.
    """
    values: bool = False
    """Answers are predicted values, which agree within ``EPSILON``, and not indices or classes."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Metric of the user's -> what went wrong with the first item of which it says nothing."""

    def to_json(self) -> object:
        return jsonable(self)

    @classmethod
    def from_json(cls, body: Mapping[str, object]) -> QualitySamples:
        def rows(value: object) -> tuple[tuple[object, ...], ...]:
            assert isinstance(value, list)
            return tuple(tuple(row) for row in value)

        scores = body["scores"]
        assert isinstance(scores, dict)
        return cls(
            items=tuple(body["items"]),  # type: ignore[arg-type]  # written by to_json
            slices=rows(body["slices"]),  # type: ignore[arg-type]  # written by to_json
            scores={name: tuple(values) for name, values in scores.items()},
            answers=rows(body["answers"]),  # type: ignore[arg-type]  # written by to_json
            values=bool(body["values"]),
            failures=body.get("failures", {}),  # type: ignore[arg-type]  # older records have none
        )


def evaluate(
    answerer: Answerer,
    data: RetrievalSet | LabelledSet,
    *,
    task: str,
    metrics: Iterable[OwnMetric] = (),
    keep: Callable[[NDArray[np.generic]], None] = lambda outputs: None,
) -> QualitySamples:
    """The per-item scores and answers of one build on ``data``.

    ``task``: outputs of ``predict`` are values as they stand, and are never held against labels:
    how far off is too far, only the endpoint's own metric knows. Those of ``classify`` are scores,
    of which the highest is the class, or the class itself. Those of ``rerank`` order the texts of
    each query: an item is a query, named and sliced by its first row.

    ``metrics`` are the user's own; one that raises marks its item as errored, never drops it. So
    does an output that is not finite: a server refuses to give it to a caller.

    ``keep`` is told all outputs: of retrieval those of the passages, then those of the queries
    unless they are the same texts.
    """
    if isinstance(data, RetrievalSet):
        passages = queries = answerer.answer(data.passages)
        keep(passages)
        itself = range(len(data.passages)) if data.queries == data.passages else None
        if itself is None:
            queries = answerer.answer(data.queries)
            keep(queries)
        return score_retrieval(data, queries, passages, itself=itself, metrics=metrics)
    outputs = answerer.answer(data.inputs)
    keep(outputs)
    if task == "rerank":
        return _ranking(outputs, data, metrics)
    return score_labelled(outputs, data, metrics, values=task == "predict")


def score_retrieval(
    data: RetrievalSet,
    queries: NDArray[np.generic],
    passages: NDArray[np.generic],
    *,
    itself: Sequence[int] | None = None,
    metrics: Iterable[OwnMetric] = (),
) -> QualitySamples:
    """The same from the vectors of ``data``'s queries and passages, shape (n, dimensions) each.

    ``itself``: which passage each query is, where it is one. Finding oneself says nothing.
    """
    queries, passages = queries.astype(np.float32), passages.astype(np.float32)
    known, found = _finite(queries), _finite(passages)
    similarity = np.where(known[:, None], queries, 0) @ np.where(found[:, None], passages, 0).T
    similarity[:, ~found] = -np.inf
    if itself is not None:
        similarity[np.arange(len(itself)), np.asarray(itself)] = -np.inf
    top = _top_indices(similarity, min(_TOP, similarity.shape[1] - (itself is not None)))
    scores: dict[str, tuple[float | None, ...]] = {}
    if data.relevant is not None:
        hits = [
            np.isin(row, wanted, assume_unique=True)
            for row, wanted in zip(top, data.relevant, strict=True)
        ]
        scores["recall@10"] = tuple(
            float(hit.sum() / min(len(wanted), _TOP)) if ok else None
            for hit, wanted, ok in zip(hits, data.relevant, known, strict=True)
        )
        scores["mrr@10"] = tuple(
            (float(1 / (hit.argmax() + 1)) if hit.any() else 0.0) if ok else None
            for hit, ok in zip(hits, known, strict=True)
        )
    own, failures = _own_scores(metrics, data.rows, queries, known)
    return QualitySamples(
        tuple(data.query_ids),
        tuple(data.slices),
        scores | own,
        tuple(tuple(map(float, row)) if ok else () for row, ok in zip(top, known, strict=True)),
        failures=failures,
    )


def _finite(outputs: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which rows hold numbers only, shape (n,)."""
    finite: NDArray[np.bool_] = np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
    return finite


def _top_indices(similarity: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The ``k`` best columns of each row, best first; ties go to the lower index."""
    order: NDArray[np.int64] = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return order


def score_labelled(
    outputs: NDArray[np.generic],
    data: LabelledSet,
    metrics: Iterable[OwnMetric],
    *,
    values: bool,
) -> QualitySamples:
    """The same from the outputs to ``data``'s items; ``values`` where they are predicted values."""
    rows = outputs.reshape(len(outputs), -1)
    if not values and rows.shape[1] > 1:
        rows = rows.argmax(axis=1, keepdims=True)
    known = _finite(outputs)
    scores: dict[str, tuple[float | None, ...]] = {}
    if data.labels is not None and not values:
        scores["accuracy"] = tuple(
            float(row[0] == label) if ok else None
            for row, label, ok in zip(rows, data.labels, known, strict=True)
        )
    own, failures = _own_scores(metrics, data.rows, outputs, known)
    answers = tuple(
        tuple(map(float, row)) if ok else () for row, ok in zip(rows, known, strict=True)
    )
    return QualitySamples(
        tuple(data.ids), tuple(data.slices), scores | own, answers, values, failures
    )


def _ranking(
    outputs: NDArray[np.generic], data: LabelledSet, metrics: Iterable[OwnMetric]
) -> QualitySamples:
    """Own metrics get ``{"query", "texts", "labels"}`` and the query's scores, shape (texts,).

    Raises ``InputError`` where a pair gets more than one score.
    """
    if outputs.size != len(data.inputs):
        raise InputError(
            f"a pair gets an output of shape {outputs.shape[1:]}, and reranking takes one score",
            where="model",
            reason="output_contract",
            fix="export the cross-encoder so that its first output is one logit a pair",
        )
    outputs = outputs.reshape(-1)
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(data.inputs):
        assert isinstance(pair, Pair)
        places.setdefault(pair.query, []).append(place)
    groups = [np.array(group) for group in places.values()]
    known = np.array([bool(np.isfinite(outputs[group]).all()) for group in groups])
    orders = [group[np.argsort(-outputs[group], kind="stable")] for group in groups]
    scores: dict[str, tuple[float | None, ...]] = {}
    if data.labels is not None:
        labels = np.array(data.labels)
        for name, worth in (("ndcg@10", ndcg), ("mrr@10", reciprocal_rank)):
            scores[name] = tuple(
                worth(labels[order].tolist(), _TOP) if ok else None
                for order, ok in zip(orders, known, strict=True)
            )
    rows = [_query_row(data, query, group) for query, group in places.items()]
    own, failures = _own_scores(metrics, rows, [outputs[group] for group in groups], known)
    first = [group[0] for group in groups]
    return QualitySamples(
        tuple(data.ids[place] for place in first),
        tuple(data.slices[place] for place in first),
        scores | own,
        tuple((float(order[0]),) if ok else () for order, ok in zip(orders, known, strict=True)),
        failures=failures,
    )


def _query_row(data: LabelledSet, query: str, places: list[int]) -> dict[str, object]:
    rows = [data.rows[place] for place in places]
    return {
        "query": query,
        "texts": [row["text"] for row in rows],
        "labels": [row.get("label") for row in rows],
    }


def _own_scores(
    metrics: Iterable[OwnMetric],
    rows: Sequence[Mapping[str, object]],
    outputs: Sequence[NDArray[np.generic]] | NDArray[np.generic],
    known: NDArray[np.bool_],
) -> tuple[dict[str, tuple[float | None, ...]], dict[str, str]]:
    """Metric -> its values, and -> what went wrong first where one has none: a user's function may
    raise anything, and the item counts as errored."""
    scores: dict[str, tuple[float | None, ...]] = {}
    failures: dict[str, str] = {}
    for metric in metrics:
        values: list[float | None] = []
        for row, output, ok in zip(rows, outputs, known, strict=True):
            found = metric.attempt(dict(row), output) if ok else None
            if isinstance(found, str):
                failures.setdefault(metric.name, found)
            values.append(None if isinstance(found, str) else found)
        scores[metric.name] = tuple(values)
    return scores, failures


def agreement(candidate: QualitySamples, current: QualitySamples) -> tuple[float, ...]:
    """Share of each item's answers that both give: top-10 overlap, or 1.0 for the same prediction
    or the same text in the first place.

    Predicted values are the same where no ``largest_difference`` is above ``EPSILON``, as for
    batch invariance (docs/decisions/0004-what-counts-as-the-same-answer.md).

    >>> a = QualitySamples(("q",), ((),), {}, ((1.0, 2.0),))
    >>> b = QualitySamples(("q",), ((),), {}, ((2.0, 3.0),))
    >>> agreement(a, b)
    (0.5,)
    """
    pairs = zip(candidate.answers, current.answers, strict=True)
    if current.values:
        return tuple(
            float(len(a) > 0 and largest_difference(np.array(a), np.array(b)) <= EPSILON)
            for a, b in pairs
        )
    return tuple(len(set(a) & set(b)) / max(len(b), 1) for a, b in pairs)


def flips(candidate: QualitySamples, current: QualitySamples) -> tuple[float | None, ...] | None:
    """1.0 for each item that ``current`` has right and ``candidate`` has not; else 0.0.

    Two builds of one mean may be right about different items, and each that flips is somebody for
    whom it used to work (Dutta et al., "Accuracy is Not All You Need", 2024). Right is a
    ``recall@10`` or an ``accuracy`` of 1. None for an item where the candidate errored, and
    altogether where nothing is labelled.

    >>> now = QualitySamples(("a", "b"), ((), ()), {"accuracy": (0.0, 1.0)}, ((), ()))
    >>> before = QualitySamples(("a", "b"), ((), ()), {"accuracy": (1.0, 0.0)}, ((), ()))
    >>> flips(now, before)
    (1.0, 0.0)
    """
    metric = next((name for name in _RIGHT if name in current.scores), None)
    if metric is None:
        return None
    right = _RIGHT[metric]
    return tuple(
        None if now is None else float(before == right and now < right)
        for now, before in zip(candidate.scores[metric], current.scores[metric], strict=True)
    )
