"""Reranking as the clients of Text Embeddings Inference and of Cohere ask for it.

``/rerank`` is TEI's, ``/v1/rerank`` and ``/v2/rerank`` are Cohere's; each has errors of its own
form. A score is the sigmoid of the model's logit, in [0, 1]; TEI's ``raw_scores`` asks for the
logit. Results are ordered by the logit, where scores near 1 are still apart, and equals by index.

TEI refuses what is too long unless ``truncate`` is sent, and Cohere always cuts it, to
``max_tokens_per_doc`` where that is sent. https://huggingface.co/docs/text-embeddings-inference,
https://docs.cohere.com/reference/rerank
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from headgate.server import predict
from headgate.server.http import HttpError, Limits, Reply, decoded
from headgate.server.routes import INFERENCE, ErrorForm, Operation
from headgate.workload import Pair

__all__ = ["FORMS", "Form", "RerankAnswer", "RerankRequest"]


class RerankBody(msgspec.Struct, forbid_unknown_fields=True):
    """A query and the texts to rank, as TEI's clients send them."""

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = None
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"


class Rank(msgspec.Struct, omit_defaults=True):
    """A text's score, and the text where it was asked for."""

    index: int
    score: float
    text: str | None = None


class CohereRerankBody(msgspec.Struct, forbid_unknown_fields=True):
    """A query and documents: texts, or objects that hold one under ``text`` and come back as they
    are."""

    query: str
    documents: list[str | dict[str, Any]]
    model: str | None = None
    top_n: int | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None


class CohereRank(msgspec.Struct, omit_defaults=True):
    """A document's score, and the document where it was asked for."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class CohereVersion(msgspec.Struct):
    """Of Cohere's API."""

    version: str


class CohereTokens(msgspec.Struct):
    """What was read."""

    input_tokens: int


class CohereMeta(msgspec.Struct):
    """About the answer."""

    api_version: CohereVersion
    tokens: CohereTokens


class CohereReranked(msgspec.Struct):
    """The best first."""

    id: str
    results: list[CohereRank]
    meta: CohereMeta


class CohereError(msgspec.Struct):
    """What went wrong, in Cohere's form."""

    message: str


_tei_decoder = msgspec.json.Decoder(RerankBody)
_cohere_decoder = msgspec.json.Decoder(CohereRerankBody)


class RerankRequest(msgspec.Struct, frozen=True):
    """A checked body."""

    pairs: Sequence[Pair]
    truncate: bool
    model: str | None = None
    """The endpoint that the caller means; TEI's callers name none."""
    raw: bool = False
    """Logits are asked for."""
    texts: Sequence[str] | None = None
    """What comes back beside the scores, where that is asked for: one a pair."""
    documents: Sequence[dict[str, Any]] | None = None
    """The same, as Cohere's callers see it."""
    top_n: int | None = None


class RerankAnswer(msgspec.Struct, frozen=True):
    """What there is to tell: one logit a pair, and the request's id and size."""

    logits: Sequence[float]
    request_id: str
    tokens: int
    source: str

    @classmethod
    def of(
        cls, values: Sequence[object], *, request_id: str, tokens: int, source: str
    ) -> RerankAnswer:
        """``values``: the model's output for each pair, of shape () or (1,)."""
        logits = [float(np.asarray(value).item()) for value in values]
        return cls(logits, request_id, tokens, source)


def _parse_tei(body: bytes, limits: Limits) -> RerankRequest:
    asked = decoded(_tei_decoder, body)
    _check_number("texts", len(asked.texts), limits)
    cut: Literal["left", "right"] = (
        "left" if asked.truncation_direction.lower() == "left" else "right"
    )
    pairs = [Pair(asked.query, text, cut) for text in asked.texts]
    return RerankRequest(
        pairs,
        bool(asked.truncate),
        raw=asked.raw_scores,
        texts=asked.texts if asked.return_text else None,
    )


def _parse_cohere(body: bytes, limits: Limits) -> RerankRequest:
    asked = decoded(_cohere_decoder, body)
    _check_number("documents", len(asked.documents), limits)
    for name in ("top_n", "max_tokens_per_doc"):
        number = getattr(asked, name)
        if number is not None and number < 1:
            raise HttpError.invalid(name, f"{number}; it must be at least 1")
    documents = [{"text": each} if isinstance(each, str) else each for each in asked.documents]
    pairs = []
    for index, document in enumerate(documents):
        text = document.get("text")
        if not isinstance(text, str):
            raise HttpError.invalid(f"documents[{index}].text", "it is no text")
        pairs.append(Pair(asked.query, text, max_text_tokens=asked.max_tokens_per_doc))
    return RerankRequest(
        pairs,
        truncate=True,
        model=asked.model,
        documents=documents if asked.return_documents else None,
        top_n=asked.top_n,
    )


def _tei_reply(asked: RerankRequest, answer: RerankAnswer) -> Reply:
    ranks = []
    for index in _ranked(answer.logits):
        logit = answer.logits[index]
        text = asked.texts[index] if asked.texts is not None else None
        ranks.append(Rank(index, logit if asked.raw else _sigmoid(logit), text))
    return Reply(msgspec.json.encode(ranks), source=answer.source)


def _cohere_reply(asked: RerankRequest, answer: RerankAnswer, *, version: str) -> Reply:
    results = []
    for index in _ranked(answer.logits)[: asked.top_n]:
        document = asked.documents[index] if asked.documents is not None else None
        results.append(CohereRank(index, _sigmoid(answer.logits[index]), document))
    meta = CohereMeta(CohereVersion(version), CohereTokens(answer.tokens))
    body = CohereReranked(answer.request_id, results, meta)
    return Reply(msgspec.json.encode(body), source=answer.source)


def _cohere_error(error: HttpError) -> Reply:
    """Cohere's error object: a message, and no more."""
    body = msgspec.json.encode(CohereError(error.message))
    return Reply(body, status=error.status, headers=error.headers)


def _tei_operation(endpoint: str, limits: Limits) -> Operation:
    return Operation(
        "Rank texts by how well they answer a query.",
        predict.ERRORS,
        INFERENCE,
        asks=RerankBody,
        gives=(list[Rank],),
        bounds={RerankBody: {"texts": {"minItems": 1, "maxItems": limits.max_items}}},
        example={"query": "How is a file opened?", "texts": ["With open().", "It is a file."]},
    )


def _cohere_operation(endpoint: str, limits: Limits) -> Operation:
    with_text = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    at_least_one = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}
    return Operation(
        "Rank documents by how well they answer a query.",
        ErrorForm(_cohere_error, CohereError),
        INFERENCE,
        asks=CohereRerankBody,
        gives=(CohereReranked,),
        bounds={
            CohereRerankBody: {
                "model": {"enum": [endpoint, None]},
                "documents": {
                    "items": {"anyOf": [{"type": "string"}, with_text]},
                    "minItems": 1,
                    "maxItems": limits.max_items,
                },
                "top_n": at_least_one,
                "max_tokens_per_doc": at_least_one,
            }
        },
        example={
            "model": endpoint,
            "query": "How is a file opened?",
            "documents": ["With open().", {"text": "It is a file."}],
            "top_n": 1,
        },
    )


@dataclass(frozen=True, slots=True)
class Form:
    """One way to ask: bodies in, bodies out, and what callers may know of it."""

    parse: Callable[[bytes, Limits], RerankRequest]
    """Raises ``HttpError`` 400 naming the field."""
    reply: Callable[[RerankRequest, RerankAnswer], Reply]
    operation: Callable[[str, Limits], Operation]
    """Of an endpoint, by its name."""


FORMS: Mapping[str, Form] = {
    "/rerank": Form(_parse_tei, _tei_reply, _tei_operation),
    **{
        f"/v{version}/rerank": Form(
            _parse_cohere, functools.partial(_cohere_reply, version=version), _cohere_operation
        )
        for version in "12"
    },
}
"""Path -> what is spoken there."""


def _ranked(logits: Sequence[float]) -> list[int]:
    """Indices, the highest logit first, equals in their own order."""
    return sorted(range(len(logits)), key=lambda index: -logits[index])


def _sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow.

    >>> _sigmoid(0.0), _sigmoid(-1000.0), _sigmoid(1000.0)
    (0.5, 0.0, 1.0)
    """
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))


def _check_number(field: str, number: int, limits: Limits) -> None:
    if not number:
        raise HttpError.invalid(field, "it is empty; send at least one text")
    if number > limits.max_items:
        raise HttpError.invalid(
            field, f"{number} items; at most {limits.max_items} go in one request"
        )
