"""POST /predict: what is one item and what are many, labels, values, TEI's errors."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest

from headgate.errors import ConfigError
from headgate.runtime import Deployment, Tensor
from headgate.server import Limits
from headgate.server.http import HttpError
from headgate.server.predict import (
    PredictRequest,
    error_reply,
    gives_scores,
    parse_predict,
    predictions_reply,
    values_reply,
)
from tests.serving import Served, WordEngine, deployment

LIMITS = Limits(max_items=3)
TEXT = Tensor("text", "str", ())
ROW = Tensor("x", "float32", (2,))
NUMBER = Tensor("x", "float32", ())


def parsed(inputs: object, accepts: Tensor = TEXT) -> PredictRequest:
    return parse_predict(json.dumps({"inputs": inputs}).encode(), accepts, LIMITS)


def asks(task: str, **options: object) -> Deployment:
    """``words@3`` with two scores, or two values, a text: its letters and its words."""
    d = deployment(**options)
    object.__setattr__(d.build, "task", task)
    return d


@pytest.mark.parametrize(
    ("inputs", "accepts", "items", "alone"),
    [
        ("a", TEXT, ["a"], True),
        (["a"], TEXT, ["a"], False),
        (["a", "b"], TEXT, ["a", "b"], False),
        ([["a"], ["b"]], TEXT, ["a", "b"], False),
        ([1, 2], ROW, [[1, 2]], True),
        ([[1, 2]], ROW, [[1, 2]], False),
        ([[1, 2], [3, 4]], ROW, [[1, 2], [3, 4]], False),
        (3, NUMBER, [3], True),
        ([3, 4], NUMBER, [3, 4], False),
    ],
)
def test_an_item_alone_is_told_from_a_list_of_items(
    inputs: object, accepts: Tensor, items: list[object], alone: bool
) -> None:
    """By how deep the lists are, held against the model's own shape."""
    asked = parsed(inputs, accepts)
    assert (list(asked.items), asked.alone) == (items, alone)


@pytest.mark.parametrize(
    ("inputs", "param"),
    [
        ([], "inputs"),
        (["a"] * 4, "inputs"),
        ([["a"], ["b", "c"]], "inputs[1]"),
        (None, "inputs"),
    ],
)
def test_what_is_no_list_of_items_is_named(inputs: object, param: str) -> None:
    """Nothing, too many, a pair."""
    with pytest.raises(HttpError) as refused:
        parsed(inputs)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_the_best_label_comes_first() -> None:
    """As TEI has it; equal scores keep the classes' order."""
    asked = PredictRequest(["a", "b"], alone=False, truncate=False)
    values = [np.array([0.25, 0.5, 0.25]), np.array([0.0, 0.25, 0.75])]
    named = json.loads(predictions_reply(asked, values, ("cat", "dog", "eel"), source="").body)
    assert [[p["label"] for p in answer] for answer in named] == [
        ["dog", "cat", "eel"],
        ["eel", "dog", "cat"],
    ]
    alone = PredictRequest(["a"], alone=True, truncate=False)
    assert json.loads(predictions_reply(alone, values[1:], (), source="").body) == [
        {"score": 0.75, "label": "LABEL_2"},
        {"score": 0.25, "label": "LABEL_1"},
        {"score": 0.0, "label": "LABEL_0"},
    ]


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (np.float32(1.5), 1.5),
        (np.array([1.5]), 1.5),
        (np.array([1, 2]), [1, 2]),
        (np.array([[1.0], [2.0]]), [[1.0], [2.0]]),
    ],
)
def test_values_are_plain(value: object, answer: object) -> None:
    """A model that gives one number answers with a number, in a list of one or not."""
    alone = PredictRequest(["a"], alone=True, truncate=False)
    assert json.loads(values_reply(alone, [value], source="").body) == answer


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "Validation"), (413, "Validation"), (429, "Overloaded"), (503, "Unhealthy")],
)
def test_errors_have_teis_form(status: int, kind: str) -> None:
    """A message, and one of five types."""
    reply = error_reply(HttpError(status, "why", code="c"))
    assert reply.status == status
    assert json.loads(reply.body) == {"error": "why", "error_type": kind}


def test_a_classifier_answers_labels_with_scores() -> None:
    """Over a socket: alone, in a list, and cut where that was asked for."""
    with (
        Served(asks("classify", labels=("letters", "words"))) as s,
        httpx.Client(base_url=s.url) as client,
    ):
        one = client.post("/predict", json={"inputs": "abc de"})
        assert one.json() == [
            {"score": 5.0, "label": "letters"},
            {"score": 2.0, "label": "words"},
        ]
        assert one.headers["x-headgate-source"] == "engine"
        many = client.post("/predict", json={"inputs": ["a", "b c"]})
        assert [len(answer) for answer in many.json()] == [2, 2]
        long = client.post("/predict", json={"inputs": "a " * 17})
        assert (long.status_code, long.json()["error_type"]) == (422, "Validation")
        cut = client.post("/predict", json={"inputs": "a " * 17, "truncate": True})
        assert cut.json()[0]["score"] == 16.0
        wrong = client.post("/predict", json={"input": "a"})
        assert (wrong.status_code, wrong.json()["error_type"]) == (400, "Validation")
        with_pair = client.post("/predict", json={"inputs": [["a", "b"]]})
        assert "one an item" in with_pair.json()["error"]


def test_predict_answers_values() -> None:
    """Both numbers of a text, in their order."""
    with Served(asks("predict")) as s, httpx.Client(base_url=s.url) as client:
        assert client.post("/predict", json={"inputs": ["ab c", "d"]}).json() == [[3, 2], [1, 1]]


def test_an_engine_error_has_teis_form_too() -> None:
    """500, and the server goes on."""
    with Served(asks("classify")) as s, httpx.Client(base_url=s.url) as client:
        failed = client.post("/predict", json={"inputs": "poison"})
        assert (failed.status_code, failed.json()["error_type"]) == (500, "Backend")


@pytest.mark.parametrize(("task", "path"), [("embed", "/predict"), ("predict", "/v1/embeddings")])
def test_a_task_that_does_not_fit_says_where_to_go(task: str, path: str) -> None:
    """404 in the form of the path's protocol, with the paths that answer."""
    with Served(asks(task)) as s, httpx.Client(base_url=s.url) as client:
        told = client.post(path, json={"inputs": "a"})
        assert told.status_code == 404
        assert ("error_type" in told.json()) is (path == "/predict")
        other = "/predict" if path == "/v1/embeddings" else "/v1/embeddings"
        assert f"use {other} or /v2/models/words/infer" in told.text


def test_labels_without_scores_are_left_to_v2() -> None:
    """A model that names the class alone has no scores to tell."""
    assert gives_scores(Tensor("scores", "float32", (3,)))
    assert gives_scores(Tensor("scores", "float32", ()))
    assert not gives_scores(Tensor("label", "int64", ()))
    assert not gives_scores(Tensor("scores", "float32", (5, 3)))


def test_names_that_are_not_the_classes_are_refused() -> None:
    """Two scores, three names: whichever is meant, a caller would be misled."""
    with pytest.raises(ConfigError, match="3 names of classes"):
        deployment(WordEngine(), labels=("a", "b", "c"))
