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

from headgate.server.http import HttpError, Limits, Reply, decoded
from headgate.workload import Pair

__all__ = ["FORMS", "Form", "RerankAnswer", "RerankRequest"]

_TEI_TYPES = {
    400: "Validation",
    413: "Validation",
    422: "Validation",
    429: "Overloaded",
    503: "Unhealthy",
}


class _TeiBody(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = None
    truncation_direction: Literal["left", "right", "Left", "Right"] = "right"


class _CohereBody(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    documents: list[str | dict[str, Any]]
    """Texts, or objects that hold one under ``text`` and come back as they are."""
    model: str | None = None
    top_n: int | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None


_tei_decoder = msgspec.json.Decoder(_TeiBody)
_cohere_decoder = msgspec.json.Decoder(_CohereBody)


class RerankRequest(msgspec.Struct, frozen=True):
    """A checked body."""

    pairs: Sequence[Pair]
    truncate: bool
    model: str | None = None
    """The endpoint that the caller means; TEI's callers name none."""
    raw: bool = False
    """Logits are asked for."""
    echo: Sequence[object] | None = None
    """What comes back beside each score, where that is asked for: one a pair."""
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
        echo=asked.texts if asked.return_text else None,
    )


def _parse_cohere(body: bytes, limits: Limits) -> RerankRequest:
    asked = decoded(_cohere_decoder, body)
    _check_number("documents", len(asked.documents), limits)
    for name in ("top_n", "max_tokens_per_doc"):
        number = getattr(asked, name)
        if number is not None and number < 1:
            raise _bad(name, f"{number}; it must be at least 1")
    documents = [{"text": each} if isinstance(each, str) else each for each in asked.documents]
    pairs = []
    for index, document in enumerate(documents):
        text = document.get("text")
        if not isinstance(text, str):
            raise _bad(f"documents[{index}].text", "it is no text")
        pairs.append(Pair(asked.query, text, max_text_tokens=asked.max_tokens_per_doc))
    return RerankRequest(
        pairs,
        truncate=True,
        model=asked.model,
        echo=documents if asked.return_documents else None,
        top_n=asked.top_n,
    )


def _tei_reply(asked: RerankRequest, answer: RerankAnswer) -> Reply:
    ranks = []
    for index in _ranked(answer.logits):
        logit = answer.logits[index]
        rank: dict[str, object] = {"index": index, "score": logit if asked.raw else _sigmoid(logit)}
        if asked.echo is not None:
            rank["text"] = asked.echo[index]
        ranks.append(rank)
    return Reply(msgspec.json.encode(ranks), source=answer.source)


def _cohere_reply(asked: RerankRequest, answer: RerankAnswer, *, version: str) -> Reply:
    results = []
    for index in _ranked(answer.logits)[: asked.top_n]:
        score = _sigmoid(answer.logits[index])
        result: dict[str, object] = {"index": index, "relevance_score": score}
        if asked.echo is not None:
            result["document"] = asked.echo[index]
        results.append(result)
    meta = {"api_version": {"version": version}, "tokens": {"input_tokens": answer.tokens}}
    body = {"id": answer.request_id, "results": results, "meta": meta}
    return Reply(msgspec.json.encode(body), source=answer.source)


def _tei_error(error: HttpError) -> Reply:
    """TEI's error object; what it has no name for is the backend's."""
    body = {"error": error.message, "error_type": _TEI_TYPES.get(error.status, "Backend")}
    return Reply(msgspec.json.encode(body), status=error.status, headers=error.headers)


def _cohere_error(error: HttpError) -> Reply:
    """Cohere's error object: a message, and no more."""
    body = msgspec.json.encode({"message": error.message})
    return Reply(body, status=error.status, headers=error.headers)


@dataclass(frozen=True, slots=True)
class Form:
    """One way to ask: bodies in, bodies out, errors."""

    parse: Callable[[bytes, Limits], RerankRequest]
    """Raises ``HttpError`` 400 naming the field."""
    reply: Callable[[RerankRequest, RerankAnswer], Reply]
    error: Callable[[HttpError], Reply]


FORMS: Mapping[str, Form] = {
    "/rerank": Form(_parse_tei, _tei_reply, _tei_error),
    **{
        f"/v{version}/rerank": Form(
            _parse_cohere, functools.partial(_cohere_reply, version=version), _cohere_error
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
        raise _bad(field, "it is empty; send at least one text")
    if number > limits.max_items:
        raise _bad(field, f"{number} items; at most {limits.max_items} go in one request")


def _bad(param: str, message: str) -> HttpError:
    return HttpError(400, f"{param}: {message}", code="invalid_value", param=param)
