"""Rerank bodies of TEI and of Cohere: in, out, and errors in each one's form."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.server import Limits
from headgate.server.http import HttpError
from headgate.server.rerank import FORMS, RerankAnswer
from headgate.workload import Pair

LIMITS = Limits(max_items=4)
TEI, COHERE = FORMS["/rerank"], FORMS["/v2/rerank"]


def tei(**changes: object) -> bytes:
    return json.dumps({"query": "q", "texts": ["a", "b", "c"], **changes}).encode()


def cohere(**changes: object) -> bytes:
    return json.dumps({"query": "q", "documents": ["a", "b", "c"], **changes}).encode()


def answered(path: str, body: bytes, logits: Sequence[float]) -> Any:
    form = FORMS[path]
    values = [np.array([logit], dtype=np.float32) for logit in logits]
    answer = RerankAnswer.of(values, request_id="id", tokens=9, source="engine")
    reply = form.reply(form.parse(body, LIMITS), answer)
    assert reply.source == "engine"
    return json.loads(reply.body)


def test_the_best_text_comes_first_and_equals_keep_their_order() -> None:
    """Scores are in [0, 1], each beside the index of its text."""
    ranks = answered("/rerank", tei(texts=["a", "b", "c", "d"]), [0.0, 2.0, 0.0, -1.0])
    assert [rank["index"] for rank in ranks] == [1, 0, 2, 3]
    assert ranks[1] == {"index": 0, "score": 0.5}
    assert ranks[0]["score"] == pytest.approx(1 / (1 + math.exp(-2.0)))


def test_scores_that_look_alike_are_ordered_by_what_the_model_said() -> None:
    """Logits of 50 and 60 both give 1.0, and are not equal."""
    ranks = answered("/rerank", tei(texts=["a", "b"]), [50.0, 60.0])
    assert [(rank["index"], rank["score"]) for rank in ranks] == [(1, 1.0), (0, 1.0)]


def test_raw_scores_are_logits_and_texts_come_back_where_asked_for() -> None:
    """As TEI's callers ask for them."""
    ranks = answered("/rerank", tei(raw_scores=True, return_text=True), [-3.0, 7.0, 1.5])
    assert ranks == [
        {"index": 1, "score": 7.0, "text": "b"},
        {"index": 2, "score": 1.5, "text": "c"},
        {"index": 0, "score": -3.0, "text": "a"},
    ]


@pytest.mark.parametrize("version", ["1", "2"])
def test_coheres_callers_get_results_with_an_id_and_what_they_cost(version: str) -> None:
    """No documents unless they are asked for."""
    body = answered(f"/v{version}/rerank", cohere(), [0.0, 1.0, 2.0])
    assert [result["index"] for result in body["results"]] == [2, 1, 0]
    assert set(body["results"][0]) == {"index", "relevance_score"}
    assert body["id"] == "id"
    assert body["meta"] == {"api_version": {"version": version}, "tokens": {"input_tokens": 9}}


def test_top_n_keeps_the_best_and_documents_come_back_as_they_were() -> None:
    """A text as an object, an object with all that it had; more than there are is all of them."""
    documents = ["a", {"text": "b", "title": "B"}, "c"]
    best = cohere(documents=documents, top_n=2, return_documents=True)
    results = answered("/v1/rerank", best, [0.0, 2.0, 1.0])["results"]
    assert [result["document"] for result in results] == [
        {"text": "b", "title": "B"},
        {"text": "c"},
    ]
    assert len(answered("/v1/rerank", cohere(top_n=9), [0.0, 2.0, 1.0])["results"]) == 3


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, max_size=3))
def test_any_logit_gives_a_score(logits: list[float]) -> None:
    """Between 0 and 1, descending, and every text once."""
    ranks = answered("/rerank", tei(), logits)
    scores = [rank["score"] for rank in ranks]
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert sorted(rank["index"] for rank in ranks) == [0, 1, 2]


def test_every_text_is_judged_by_the_query() -> None:
    """TEI cuts if it is told to, on the side that it is told; Cohere always."""
    asked = TEI.parse(tei(texts=["a", "b"]), LIMITS)
    assert (asked.pairs, asked.truncate) == ([Pair("q", "a"), Pair("q", "b")], False)
    asked = TEI.parse(tei(texts=["a"], truncate=True, truncation_direction="Left"), LIMITS)
    assert (asked.pairs, asked.truncate) == ([Pair("q", "a", "left")], True)
    asked = COHERE.parse(cohere(documents=["a"], max_tokens_per_doc=7, model="m"), LIMITS)
    assert asked.pairs == [Pair("q", "a", max_text_tokens=7)]
    assert (asked.truncate, asked.model) == (True, "m")


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/rerank", tei(texts=[]), "texts"),
        ("/rerank", tei(texts=["a"] * 5), "texts"),
        ("/rerank", tei(texts=["a", 7]), "texts[1]"),
        ("/rerank", tei(texts="a"), "texts"),
        ("/rerank", tei(query=None), "query"),
        ("/rerank", b'{"texts": ["a"]}', "query"),
        ("/rerank", tei(truncation_direction="up"), "truncation_direction"),
        ("/rerank", tei(documents=["a"]), "documents"),
        ("/v1/rerank", cohere(documents=[]), "documents"),
        ("/v1/rerank", cohere(documents=["a"] * 5), "documents"),
        ("/v1/rerank", cohere(documents=["a", {"title": "b"}]), "documents[1].text"),
        ("/v1/rerank", cohere(documents=["a", {"text": 3}]), "documents[1].text"),
        ("/v1/rerank", cohere(rank_fields=["title"]), "rank_fields"),
        ("/v2/rerank", cohere(documents=[3]), "documents[0]"),
        ("/v2/rerank", cohere(top_n=0), "top_n"),
        ("/v2/rerank", cohere(max_tokens_per_doc=0), "max_tokens_per_doc"),
    ],
)
def test_a_bad_body_is_a_400_that_names_the_field(path: str, body: bytes, named: str) -> None:
    """In the error's param and at the beginning of its message, which is all that clients see."""
    with pytest.raises(HttpError) as raised:
        FORMS[path].parse(body, LIMITS)
    assert (raised.value.status, raised.value.param) == (400, named)
    assert raised.value.message.startswith(named)


@given(st.binary(max_size=60) | st.sampled_from([tei(), cohere()]).map(lambda b: b[:-1]))
def test_no_body_is_a_fault(body: bytes) -> None:
    """Whatever comes is a request or a 400."""
    for form in FORMS.values():
        with pytest.raises(HttpError) as raised:
            form.parse(body, LIMITS)
        assert raised.value.status == 400


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "Validation"),
        (413, "Validation"),
        (422, "Validation"),
        (429, "Overloaded"),
        (500, "Backend"),
        (503, "Unhealthy"),
    ],
)
def test_errors_are_of_each_protocols_own_form(status: int, kind: str) -> None:
    """TEI has types; Cohere has a message."""
    error = HttpError(status, "why", code="any", headers=((b"retry-after", b"1"),))
    theirs, other = (f.operation("words", LIMITS).errors.reply(error) for f in (TEI, COHERE))
    assert json.loads(theirs.body) == {"error": "why", "error_type": kind}
    assert json.loads(other.body) == {"message": "why"}
    for reply in (theirs, other):
        assert (reply.status, reply.headers) == (status, error.headers)
