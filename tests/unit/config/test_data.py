"""Data files: what good ones become, and the one message for each way to get them wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headgate.config import (
    check_overlap,
    load_labelled,
    load_pairs,
    load_retrieval,
    load_texts,
    load_workload,
)
from headgate.errors import InputError
from headgate.workload import Pair


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes rows (objects, or lines as they are) as data.jsonl in the current directory."""
    monkeypatch.chdir(tmp_path)

    def write(*lines: object) -> Path:
        path = Path("data.jsonl")
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        return path

    return write


Rows = Callable[..., Path]
PASSAGES = ({"id": "p1", "passage": "one"}, {"id": "p2", "passage": "two"})


def test_labels_become_indices_of_passages(rows: Rows) -> None:
    """Whatever the order of rows, a label finds its passage."""
    q1 = {"id": "q1", "query": "first?", "relevant": ["p2", "p1"], "slices": ["length:short"]}
    found = load_retrieval(rows(q1, *PASSAGES, {"id": "q2", "query": "2?", "relevant": ["p2"]}))
    assert found.query_ids == ("q1", "q2")
    assert found.queries == ("first?", "2?")
    assert found.relevant == ((1, 0), (1,))
    assert found.passages == ("one", "two")
    assert found.slices == (("length:short",), ())
    assert found.rows[0] == q1


def test_unlabelled_texts_are_queries_and_passages(rows: Rows) -> None:
    """Without labels each text is asked, and each is searched."""
    found = load_retrieval(rows({"id": "t1", "text": "a"}, "", {"id": "t2", "text": "b"}))
    assert found.queries == found.passages == ("a", "b")
    assert found.relevant is None


def test_inputs_are_arrays_of_one_shape_or_texts(rows: Rows) -> None:
    """Numbers become float64 arrays, labels numbers."""
    found = load_labelled(
        rows(
            {"id": "1", "input": [[1, 2]], "label": 3}, {"id": "2", "input": [[3, 4.5]], "label": 0}
        )
    )
    assert found.labels == (3.0, 0.0)
    assert found.lines == (1, 2)
    np.testing.assert_array_equal(np.stack(found.inputs), [[[1, 2]], [[3, 4.5]]])
    assert load_labelled(rows({"id": "1", "input": "text"})).inputs == ("text",)


def test_pairs_are_labelled_by_how_much_they_answer(rows: Rows) -> None:
    """Graded, 0 for no answer; a query's texts may stand anywhere."""
    found = load_pairs(
        rows(
            {"id": "1", "query": "q", "text": "a", "label": 2, "slices": ["length:short"]},
            {"id": "2", "query": "other", "text": "a", "label": 1},
            {"id": "3", "query": "q", "text": "b", "label": 0},
        )
    )
    assert found.inputs == (Pair("q", "a"), Pair("other", "a"), Pair("q", "b"))
    assert found.labels == (2.0, 1.0, 0.0)
    assert found.slices[0] == ("length:short",)
    assert load_pairs(rows({"id": "1", "query": "q", "text": "a"})).labels is None


def test_a_workload_may_ask_for_pairs(rows: Rows) -> None:
    """A query and a text to be judged by it."""
    log = load_workload(rows({"at_s": 0, "query": "q", "text": "a", "tenant": "x"}))
    assert log.items == (Pair("q", "a"),)


def test_a_workload_keeps_times_items_and_tenants(rows: Rows) -> None:
    """Equal times are a burst, not an error."""
    log = load_workload(
        rows(
            {"at_s": 0, "text": "a", "tenant": "x"},
            {"at_s": 0.5, "text": "b"},
            {"at_s": 0.5, "text": "c"},
        )
    )
    assert log.at_s.tolist() == [0.0, 0.5, 0.5]
    assert log.items == ("a", "b", "c")
    assert log.tenants == ("x", "", "")


def test_texts_are_a_list(rows: Rows) -> None:
    """Training and calibration take plain texts."""
    assert load_texts(rows({"id": "1", "text": "a", "meta": {"from": "x"}})) == ["a"]


QUERY = {"id": "q", "query": "?", "relevant": ["p1"]}
BAD = {
    "missing": (
        load_texts,
        None,
        "file_missing",
        "data.jsonl: cannot be read: No such file or directory",
    ),
    "empty split": (load_labelled, [], "empty_split", "data.jsonl: holds no rows"),
    "queries only": (load_retrieval, [QUERY], "empty_split", "data.jsonl: holds no passages"),
    "passages only": (load_retrieval, PASSAGES, "empty_split", "data.jsonl: holds no queries"),
    "label that points nowhere": (
        load_retrieval,
        [*PASSAGES, {"id": "q", "query": "?", "relevant": ["p3"]}],
        "label_points_nowhere",
        "data.jsonl:3: relevant: there is no passage 'p3' in this file",
    ),
    "query without label": (
        load_retrieval,
        [*PASSAGES, QUERY, {"id": "q2", "query": "?"}],
        "partly_labelled",
        "data.jsonl:4: relevant: names no passage, and 1 of 2 queries do",
    ),
    "misspelt relevant": (
        load_retrieval,
        [*PASSAGES, {"id": "q", "query": "?", "relevent": ["p1"]}],
        "unknown_key",
        "data.jsonl:3: there is no key 'relevent' here",
    ),
    "neither query nor passage": (
        load_retrieval,
        [{"id": "q", "qury": "?"}],
        "missing_key",
        "data.jsonl:1: has no query, passage or text",
    ),
    "texts among queries": (
        load_retrieval,
        [QUERY, *PASSAGES, {"id": "t", "text": "x"}],
        "mixed_rows",
        "data.jsonl:4: is a text among queries and passages",
    ),
    "the same id twice": (
        load_texts,
        [{"id": "1", "text": "a"}, {"id": "1", "text": "b"}],
        "duplicate_id",
        "data.jsonl:2: id: '1' is also the id of line 1",
    ),
    "no id": (load_texts, [{"text": "a"}], "missing_key", "data.jsonl:1: id: is missing"),
    "id that is a number": (
        load_texts,
        [{"id": 1, "text": "a"}],
        "wrong_type",
        "data.jsonl:1: id: 1 is not text",
    ),
    "blank text": (
        load_texts,
        [{"id": "1", "text": "  "}],
        "empty_text",
        "data.jsonl:1: text: is empty",
    ),
    "slice without dimension": (
        load_labelled,
        [{"id": "1", "input": [1], "slices": ["short"]}],
        "wrong_type",
        "data.jsonl:1: slices: 'short' is not a slice",
    ),
    "not JSON": (
        load_texts,
        [{"id": "1", "text": "a"}, "{'id': 1}"],
        "not_json",
        "data.jsonl:2: this is not JSON: Expecting property name enclosed in double quotes",
    ),
    "not an object": (load_texts, ["[1, 2]"], "not_json", "data.jsonl:1: [1, 2] is not an object"),
    "NaN": (
        load_labelled,
        ['{"id": "1", "input": [1, NaN]}'],
        "not_finite",
        "data.jsonl:1: NaN is not a number that JSON knows",
    ),
    "beyond a float": (
        load_labelled,
        ['{"id": "1", "input": [1e999]}'],
        "not_finite",
        "data.jsonl:1: input: holds a number beyond a float",
    ),
    "another shape": (
        load_labelled,
        [{"id": "1", "input": [1, 2]}, {"id": "2", "input": [1]}],
        "wrong_shape",
        "data.jsonl:2: input: has shape (1,); the first row has (2,)",
    ),
    "text among numbers": (
        load_labelled,
        [{"id": "1", "input": [1, 2]}, {"id": "2", "input": "x"}],
        "wrong_shape",
        "data.jsonl:2: input: has shape (); the first row has (2,)",
    ),
    "ragged rows": (
        load_labelled,
        [{"id": "1", "input": [[1, 2], [3]]}],
        "wrong_type",
        "data.jsonl:1: input: [[1, 2], [3]] is neither text nor numbers of one shape",
    ),
    "true as a number": (
        load_labelled,
        [{"id": "1", "input": [1], "label": True}],
        "wrong_type",
        "data.jsonl:1: label: true is not a number",
    ),
    "label in words": (
        load_labelled,
        [{"id": "1", "input": [1], "label": "cat"}],
        "wrong_type",
        'data.jsonl:1: label: "cat" is not a number',
    ),
    "some labels": (
        load_labelled,
        [{"id": "1", "input": [1], "label": 0}, {"id": "2", "input": [1]}],
        "partly_labelled",
        "data.jsonl:2: has no label, and 1 of 2 rows have one",
    ),
    "pair without a text": (
        load_pairs,
        [{"id": "1", "query": "q"}],
        "missing_key",
        "data.jsonl:1: text: is missing",
    ),
    "pair with an input": (
        load_pairs,
        [{"id": "1", "query": "q", "text": "a", "input": [1]}],
        "unknown_key",
        "data.jsonl:1: there is no key 'input' here",
    ),
    "some pairs labelled": (
        load_pairs,
        [
            {"id": "1", "query": "q", "text": "a", "label": 1},
            {"id": "2", "query": "q", "text": "b"},
        ],
        "partly_labelled",
        "data.jsonl:2: has no label, and 1 of 2 rows have one",
    ),
    "answer below nothing": (
        load_pairs,
        [{"id": "1", "query": "q", "text": "a", "label": -1}],
        "wrong_label",
        "data.jsonl:1: label: -1 is below 0",
    ),
    "query that nothing answers": (
        load_pairs,
        [
            {"id": "1", "query": "q", "text": "a", "label": 1},
            {"id": "2", "query": "other", "text": "a", "label": 0},
        ],
        "no_relevant",
        "data.jsonl:2: no text of this query has a label above 0",
    ),
    "requests of two kinds": (
        load_workload,
        [{"at_s": 0, "text": "a"}, {"at_s": 1, "query": "q", "text": "a"}],
        "mixed_rows",
        "data.jsonl:2: asks for another kind of item than the first row",
    ),
    "time that runs back": (
        load_workload,
        [{"at_s": 2, "text": "a"}, {"at_s": 1.5, "text": "b"}],
        "not_ascending",
        "data.jsonl:2: at_s is 1.5 after 2",
    ),
    "time before the beginning": (
        load_workload,
        [{"at_s": -1, "text": "a"}],
        "not_ascending",
        "data.jsonl:1: at_s is -1, before 0",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named_with_its_line_and_key(case: str, rows: Rows) -> None:
    """One message for one mistake, with a reason code and something to do."""
    load, lines, reason, message = BAD[case]
    path = Path("data.jsonl") if lines is None else rows(*lines)
    with pytest.raises(InputError) as caught:
        load(path)
    what, _, to_do = str(caught.value).partition("\n  what to do: ")
    assert what == message
    assert to_do
    assert caught.value.reason == reason


def test_splits_that_share_an_item_are_refused() -> None:
    """Case, white space and Unicode form do not hide a shared text; examples are named."""
    with pytest.raises(InputError) as caught:
        check_overlap(
            {"evaluate": ["What is  a Café?", "b"], "train": ["x", "what is a cafe\u0301?"]}
        )
    assert str(caught.value) == (
        "data.train: 1 items of train are also in evaluate: 'what is a cafe\u0301?'\n"
        "  what to do: remove them from one of the two; what was learnt from judges nothing"
    )
    assert (caught.value.reason, caught.value.exit_code) == ("split_overlap", 2)
    with pytest.raises(InputError, match="items of holdout are also in evaluate"):
        check_overlap({"evaluate": [np.ones(3)], "train": [], "holdout": [np.ones(3)]})
    with pytest.raises(InputError, match="items of calibrate are also in evaluate: 'a  QUERY'"):
        check_overlap({"evaluate": [Pair("a query", "x")], "calibrate": [Pair("a  QUERY", "y")]})


def test_repeats_within_a_split_are_no_overlap() -> None:
    """A text may stand twice in one split; shapes tell equal bytes apart."""
    check_overlap({"evaluate": ["a", "a"], "train": ["b"], "calibrate": ["c"]})
    check_overlap({"evaluate": [np.ones((2, 1))], "train": [np.ones((1, 2))]})
    check_overlap({"evaluate": [Pair("a", "x"), Pair("a", "y")], "train": [Pair("b", "x")]})
