"""Per-item quality: against a naive reimplementation, without labels, with own metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate.config import LabelledSet, OwnMetric, RetrievalSet, UserFunction
from headgate.errors import InputError
from headgate.objects import Direction, canonical, parse
from headgate.optimize.answers import Answerer
from headgate.optimize.quality import QualitySamples, agreement, evaluate
from headgate.workload import Pair


class Table(Answerer):
    """Answers from a table; small whole numbers, so that sums are exact and ties are ties."""

    def __init__(self, answers: dict[str, Sequence[float]]) -> None:
        self._answers = answers

    def answer(self, items: Sequence[object]) -> NDArray[np.generic]:
        return np.array([self._answers[str(item)] for item in items], dtype=np.float32)


Vectors = list[list[int]]
vectors = st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=1, max_size=25)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Vectors, Vectors, list[list[int]]]:
    """Queries, passages, and the passages that answer each query."""
    queries, passages = draw(vectors), draw(vectors)
    index = st.integers(0, len(passages) - 1)
    wanted = [
        draw(st.lists(index, min_size=1, max_size=14, unique=True)) for _ in range(len(queries))
    ]
    return queries, passages, wanted


def retrieval(
    queries: Vectors, passages: Vectors, wanted: list[list[int]] | None
) -> tuple[Table, RetrievalSet]:
    ids = tuple(f"q{i}" for i in range(len(queries)))
    names = tuple(f"p{i}" for i in range(len(passages)))
    data = RetrievalSet(
        query_ids=ids,
        queries=ids,
        relevant=None if wanted is None else tuple(map(tuple, wanted)),
        passage_ids=names,
        passages=names,
        slices=((),) * len(ids),
        rows=tuple({"id": i} for i in ids),
    )
    table = {**dict(zip(ids, queries, strict=True)), **dict(zip(names, passages, strict=True))}
    return Table(table), data


def naive_ranking(query: Sequence[int], passages: Vectors) -> list[int]:
    """All passages, best first; the earlier of equals first."""
    scores = [sum(a * b for a, b in zip(query, p, strict=True)) for p in passages]
    return sorted(range(len(passages)), key=lambda i: (-scores[i], i))


@given(labelled())
def test_recall_and_mrr_are_what_their_definitions_say(
    case: tuple[Vectors, Vectors, list[list[int]]],
) -> None:
    """recall@10 = found / min(wanted, 10); mrr@10 = 1 / rank of the first found, 0 if none is."""
    queries, passages, wanted = case
    samples = evaluate(*retrieval(queries, passages, wanted), task="embed")
    for i, query in enumerate(queries):
        top = naive_ranking(query, passages)[:10]
        ranks = [rank for rank, p in enumerate(top, start=1) if p in wanted[i]]
        assert samples.answers[i] == tuple(map(float, top))
        assert samples.scores["recall@10"][i] == len(ranks) / min(len(wanted[i]), 10)
        assert samples.scores["mrr@10"][i] == (1 / ranks[0] if ranks else 0.0)


@given(st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=2, max_size=25))
def test_without_labels_a_text_never_finds_itself(texts: Vectors) -> None:
    """Each text is query and passage; there are answers to compare, and no scores."""
    table, data = retrieval(texts, texts, None)
    same = RetrievalSet(
        data.query_ids, data.queries, None, data.query_ids, data.queries, data.slices, data.rows
    )
    samples = evaluate(table, same, task="embed")
    assert samples.scores == {}
    for i, text in enumerate(texts):
        others = [p for p in naive_ranking(text, texts) if p != i][:10]
        assert samples.answers[i] == tuple(map(float, others))
    assert agreement(samples, samples) == (1.0,) * len(texts)


answers = st.lists(st.integers(0, 30).map(float), max_size=10, unique=True).map(tuple)


@given(st.lists(st.tuples(answers, answers), min_size=1, max_size=5))
def test_agreement_is_the_share_of_currents_answers_that_are_kept(
    pairs: list[tuple[tuple[float, ...], tuple[float, ...]]],
) -> None:
    """Between 0 and 1, whatever the order; 1 only where all are there."""

    def samples(rows: Sequence[tuple[float, ...]]) -> QualitySamples:
        ids = tuple(map(str, range(len(rows))))
        return QualitySamples(ids, ((),) * len(rows), {}, tuple(rows))

    ours, theirs = zip(*pairs, strict=True)
    for share, a, b in zip(agreement(samples(ours), samples(theirs)), ours, theirs, strict=True):
        assert share == (sum(x in a for x in b) / len(b) if b else 0.0)


def classes(outputs: Sequence[Sequence[float]], labels: Sequence[float] | None) -> LabelledSet:
    ids = tuple(f"i{k}" for k in range(len(outputs)))
    rows = tuple({"id": i, "input": i, "meta": {"k": k}} for k, i in enumerate(ids))
    given_labels = None if labels is None else tuple(labels)
    return LabelledSet(ids, ids, given_labels, (("pen:thick",),) * len(ids), rows)


SCORES = ((0.1, 0.9), (0.8, 0.2), (0.3, 0.7))


def test_accuracy_is_the_likeliest_class_against_the_label() -> None:
    """A row of scores gives the index of the highest; a single number is the class itself."""
    data = classes(SCORES, [1, 1, 1])
    scored = evaluate(Table(dict(zip(data.ids, SCORES, strict=True))), data, task="classify")
    assert scored.scores == {"accuracy": (1.0, 0.0, 1.0)}
    assert scored.answers == ((1.0,), (0.0,), (1.0,))
    assert scored.slices == (("pen:thick",),) * 3
    single = evaluate(Table({"i0": [1], "i1": [0], "i2": [1]}), data, task="classify")
    assert single == scored


def test_without_labels_predictions_are_only_compared() -> None:
    """No accuracy is made up."""
    data = classes(SCORES, None)
    assert (
        evaluate(Table(dict(zip(data.ids, SCORES, strict=True))), data, task="classify").scores
        == {}
    )


VALUES = ((0.2, -1.0), (250_000.0, 3.0), (0.0, 0.0))


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ((0.2009, -1.0), 1.0),  # rounding of a small prediction
        ((0.2011, -1.0), 0.0),
        ((0.2, 1.0), 0.0),  # the second value counts as much as the first
    ],
)
def test_predicted_values_agree_within_epsilon(changed: tuple[float, float], same: float) -> None:
    """And no value is taken for a class, whichever is the largest."""
    data = classes(VALUES, None)

    def predicted(rows: Sequence[Sequence[float]]) -> QualitySamples:
        return evaluate(Table(dict(zip(data.ids, rows, strict=True))), data, task="predict")

    current = predicted(VALUES)
    assert current.answers[2] == (0.0, 0.0)
    assert agreement(predicted((changed, *VALUES[1:])), current) == (same, 1.0, 1.0)
    # A quarter of a million may be off by 250: a thousandth.
    assert agreement(predicted((VALUES[0], (250_200.0, 3.0), VALUES[2])), current)[1] == 1.0
    assert agreement(predicted((VALUES[0], (250_300.0, 3.0), VALUES[2])), current)[1] == 0.0
    broken = predicted((VALUES[0], VALUES[1], (np.nan, 0.0)))
    assert agreement(broken, broken) == (1.0, 1.0, 0.0)


def test_classes_agree_only_where_they_are_equal() -> None:
    """Class 5000 is not class 5001, however near the numbers are; values are never accurate."""
    data = classes(((5000.0,), (5001.0,)), [5000.0, 5001.0])
    table = Table(dict(zip(data.ids, ((5000.0,), (5000.0,)), strict=True)))
    found, right = (
        evaluate(table, data, task="classify"),
        evaluate(
            Table(dict(zip(data.ids, ((5000.0,), (5001.0,)), strict=True))), data, task="classify"
        ),
    )
    assert agreement(found, right) == (1.0, 0.0)
    assert found.scores == {"accuracy": (1.0, 0.0)}
    assert evaluate(table, data, task="predict").scores == {}


def own(name: str, function: object) -> OwnMetric:
    user = UserFunction(f"own:{name}", function, "sha256:v")  # type: ignore[arg-type]
    return OwnMetric(name, user, Direction.HIGHER, 0.0, 1.0)


def test_an_own_metric_sees_the_row_and_its_output() -> None:
    """One value an item, in the order of the file."""
    data = classes(SCORES, None)

    def margin(item: dict[str, object], output: NDArray[np.generic]) -> float:
        assert item["meta"] == {"k": int(str(item["id"])[1:])}
        return float(output.max())

    scores = evaluate(
        Table(dict(zip(data.ids, SCORES, strict=True))),
        data,
        task="classify",
        metrics=[own("margin", margin)],
    ).scores
    assert scores["margin"] == pytest.approx((0.9, 0.8, 0.7))


def test_an_item_whose_metric_fails_counts_as_errored() -> None:
    """Raising or out of range: the item stays, without a value, and the others keep theirs."""

    def picky(item: dict[str, object], output: NDArray[np.generic]) -> object:
        match item["id"]:
            case "i0":
                raise ZeroDivisionError
            case "i1":
                return 7.0
        return 0.5

    data = classes(SCORES, None)
    samples = evaluate(
        Table(dict(zip(data.ids, SCORES, strict=True))),
        data,
        task="classify",
        metrics=[own("picky", picky), own("easy", lambda item, output: 1)],
    )
    assert samples.scores["picky"] == (None, None, 0.5)
    assert list(samples.failures) == ["picky"]
    assert samples.failures["picky"].startswith("it raised ZeroDivisionError: without a word (test")
    assert samples.failures["picky"].endswith("for item 'i0'")
    assert QualitySamples.from_json(parse(canonical(samples))) == samples


def test_a_value_outside_of_the_declared_range_is_named_with_the_range() -> None:
    """The first of them, so that whoever declared it sees which of the two is wrong."""
    data = classes(SCORES, None)
    table = Table(dict(zip(data.ids, SCORES, strict=True)))
    samples = evaluate(table, data, task="classify", metrics=[own("far", lambda item, output: 7.0)])
    assert samples.failures == {"far": "the metric returned 7.0 for item 'i0'; its range is [0, 1]"}


def test_what_a_metric_says_of_its_failure_is_the_same_in_every_run() -> None:
    """It is recorded: no address of an object, one line of at most 200 characters; of what is no
    number the type."""

    def raises(said: str) -> NoReturn:
        raise ValueError(said)

    fails = {
        "lazy": lambda item, output: (x for x in output),
        "gone": lambda item, output: {}[object()],
        "loud": lambda item, output: raises("word " * 90 + "\nand more"),
        "empty": lambda item, output: raises("\n two\nlines"),
    }
    data = classes(SCORES, None)
    table = Table(dict(zip(data.ids, SCORES, strict=True)))
    metrics = [own(name, function) for name, function in fails.items()]
    said = evaluate(table, data, task="classify", metrics=metrics).failures
    assert said["lazy"] == (
        "the metric returned a generator, no number, for item 'i0'; its range is [0, 1]"
    )
    assert said["gone"].startswith("it raised KeyError: <object object> (test_quality.py:")
    loud = said["loud"].removeprefix("it raised ValueError: ").partition(" (test_quality")[0]
    assert (len(loud), loud[-1]) == (200, "…")
    assert said["empty"].startswith("it raised ValueError: two (test_quality.py:")


def test_an_output_that_is_not_finite_is_an_error_and_no_answer() -> None:
    """argmax of NaN is a class like any other; a caller would have been given an error."""
    data = classes(SCORES, [0, 0, 0])
    broken = Table({"i0": [np.nan, 0.0], "i1": [0.8, 0.2], "i2": [0.0, np.inf]})
    always = own("always", lambda item, output: 1.0)
    samples = evaluate(broken, data, task="classify", metrics=[always])
    assert samples.scores == {"accuracy": (None, 1.0, None), "always": (None, 1.0, None)}
    assert samples.answers == ((), (0.0,), ())
    whole = evaluate(Table(dict(zip(data.ids, SCORES, strict=True))), data, task="classify")
    assert agreement(samples, whole) == (0.0, 1.0, 0.0)


def test_a_query_or_a_passage_without_numbers_spoils_no_other() -> None:
    """The query errored; the passage is never found before one that has numbers."""
    passages = [[i, 1] for i in range(12)]
    table, data = retrieval([[1, 0], [1, 0]], passages, [[11], [11]])
    table._answers["q0"] = [np.nan, 0.0]
    table._answers["p10"] = [np.inf, np.nan]
    samples = evaluate(table, data, task="embed")
    assert samples.scores["recall@10"] == (None, 1.0)
    assert samples.scores["mrr@10"] == (None, 1.0)
    assert samples.answers[0] == ()
    assert 10.0 not in samples.answers[1]


def ranking(labels: list[float] | None) -> LabelledSet:
    """Two queries whose texts stand between each other."""
    pairs = [("q", "a"), ("r", "a"), ("q", "b"), ("r", "b"), ("q", "c")]
    return LabelledSet(
        ids=tuple(f"i{k}" for k in range(5)),
        inputs=tuple(Pair(query, text) for query, text in pairs),
        labels=None if labels is None else tuple(labels),
        slices=(("kind:q",), ("kind:r",), (), (), ()),
        rows=tuple(
            {"query": query, "text": text, **({} if labels is None else {"label": label})}
            for (query, text), label in zip(pairs, labels or [0.0] * 5, strict=True)
        ),
    )


def ranked(
    data: LabelledSet, scores: list[float], metrics: Sequence[OwnMetric] = ()
) -> QualitySamples:
    table = {str(pair): [score] for pair, score in zip(data.inputs, scores, strict=True)}
    return evaluate(Table(table), data, task="rerank", metrics=metrics)


def test_an_item_of_a_ranking_is_a_query() -> None:
    """Its texts are ordered by score, and equals stay as they stand."""
    data = ranking([0, 1, 2, 0, 1])
    samples = ranked(data, [3.0, 0.5, 2.0, 0.5, 1.0])  # q: a b c; r: a, b, a tie
    assert samples.items == ("i0", "i1")
    assert samples.slices == (("kind:q",), ("kind:r",))
    best, found = 2 + 1 / np.log2(3), 2 / np.log2(3) + 1 / 2
    assert samples.scores["ndcg@10"] == pytest.approx((found / best, 1.0))
    assert samples.scores["mrr@10"] == (0.5, 1.0)
    assert samples.answers == ((0.0,), (1.0,))


def test_rankings_agree_where_the_same_text_comes_first() -> None:
    """Without labels there is nothing else to hold one against."""
    data = ranking(None)
    current = ranked(data, [3.0, 1.0, 2.0, 0.0, 1.0])
    candidate = ranked(data, [9.0, 0.0, 1.0, 1.0, 2.0])
    assert current.scores == {}
    assert agreement(candidate, current) == (1.0, 0.0)


def test_a_query_with_a_score_that_is_not_finite_errored() -> None:
    """And spoils no other."""
    samples = ranked(ranking([0, 1, 2, 0, 1]), [3.0, 1.0, np.nan, 0.0, 1.0])
    assert samples.scores == {"ndcg@10": (None, 1.0), "mrr@10": (None, 1.0)}
    assert samples.answers == ((), (1.0,))


def test_own_metrics_of_a_ranking_see_a_query_with_all_of_its_texts() -> None:
    """And its scores, in the order of the file."""
    seen: list[tuple[dict[str, object], list[float]]] = []

    def noting(item: dict[str, object], output: NDArray[np.generic]) -> float:
        seen.append((item, output.tolist()))
        return 1.0

    ranked(ranking([0, 1, 2, 0, 1]), [3.0, 1.0, 2.0, 0.0, 1.0], [own("noting", noting)])
    assert seen == [
        ({"query": "q", "texts": ["a", "b", "c"], "labels": [0, 2, 1]}, [3.0, 2.0, 1.0]),
        ({"query": "r", "texts": ["a", "b"], "labels": [1, 0]}, [1.0, 0.0]),
    ]


def test_a_model_with_two_scores_a_pair_does_not_rank() -> None:
    """Which of them would order the texts?"""
    data = ranking(None)
    table = Table({str(pair): [0.0, 1.0] for pair in data.inputs})
    with pytest.raises(InputError, match="one score"):
        evaluate(table, data, task="rerank")


def test_samples_survive_the_store() -> None:
    """What is read back is what was scored, missing values included."""
    samples = QualitySamples(
        ("a", "b"), (("x:1",), ()), {"m": (0.25, None)}, ((1.0, 2.0), (3.0,)), True
    )
    assert QualitySamples.from_json(parse(canonical(samples))) == samples
