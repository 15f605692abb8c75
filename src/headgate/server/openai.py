"""OpenAI's embeddings API: bodies in, bodies out, errors in its own form.

``truncate: true`` in the body is an extension; OpenAI's ``dimensions`` is accepted where it is the
model's own. https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from headgate.server.http import HttpError, Limits, Reply, decoded
from headgate.server.routes import INFERENCE, ErrorForm, Operation

__all__ = [
    "ERRORS",
    "MODEL",
    "MODELS",
    "EmbeddingsRequest",
    "Model",
    "Models",
    "embeddings_operation",
    "embeddings_reply",
    "error_reply",
    "parse_embeddings",
]

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class EmbeddingsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Texts, or token ids that the caller made, special tokens included; not both."""

    input: str | list[str | int | list[int]]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
    truncate: bool = False


class Embedding(msgspec.Struct, kw_only=True):
    """One item's vector: numbers, or the base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: str | list[float]


class Usage(msgspec.Struct):
    """What was read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(msgspec.Struct, kw_only=True):
    """A vector for each item, in their order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(msgspec.Struct, kw_only=True):
    """The endpoint, as OpenAI's clients see it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(msgspec.Struct, kw_only=True):
    """All models, which is one."""

    object: Literal["list"] = "list"
    data: list[Model]


class OpenAIFault(msgspec.Struct):
    """``param`` names the field at fault, ``code`` the reason for programs."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(msgspec.Struct):
    """What went wrong, in OpenAI's form."""

    error: OpenAIFault


_decoder = msgspec.json.Decoder(EmbeddingsBody)


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """A checked body. ``items`` are texts, or lists of token ids."""

    items: Sequence[object]
    model: str
    base64: bool
    dimensions: int | None
    truncate: bool

    @property
    def token_ids(self) -> bool:
        return not isinstance(self.items[0], str)


def parse_embeddings(body: bytes, limits: Limits) -> EmbeddingsRequest:
    """Raises ``HttpError`` 400 naming the field."""
    asked = decoded(_decoder, body)
    items: Sequence[object] = [asked.input] if isinstance(asked.input, str) else asked.input
    if items and isinstance(items[0], int):
        items = [asked.input]  # one list of token ids
    if not items or items[0] == []:
        raise HttpError.invalid("input", "it is empty; send at least one text")
    if len(items) > limits.max_items:
        raise HttpError.invalid(
            "input", f"{len(items)} items; at most {limits.max_items} go in one request"
        )
    kind = type(items[0])
    flat = items[0] if kind is list and items[0] is asked.input else ()
    if any(type(item) is not kind for item in items) or any(type(i) is not int for i in flat):
        raise HttpError.invalid("input", "texts and token ids cannot be mixed in one request")
    return EmbeddingsRequest(
        items, asked.model, asked.encoding_format == "base64", asked.dimensions, asked.truncate
    )


def embeddings_reply(
    request: EmbeddingsRequest, values: Sequence[object], *, tokens: int, source: str
) -> Reply:
    """``values``: one 1-d float array an item."""
    vectors = [np.asarray(value, dtype="<f4") for value in values]
    data = [
        Embedding(
            index=index,
            embedding=base64.b64encode(v.tobytes()).decode() if request.base64 else v.tolist(),
        )
        for index, v in enumerate(vectors)
    ]
    body = Embeddings(data=data, model=request.model, usage=Usage(tokens, tokens))
    return Reply(msgspec.json.encode(body), source=source)


def error_reply(error: HttpError) -> Reply:
    """OpenAI's error object."""
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else None)
    fault = OpenAIFault(error.message, kind or "invalid_request_error", error.param, error.code)
    body = msgspec.json.encode(OpenAIError(fault))
    return Reply(body, status=error.status, headers=error.headers)


ERRORS = ErrorForm(error_reply, OpenAIError)
MODELS = Operation("The models that are served: one.", ERRORS, gives=(Models,))
MODEL = Operation("The endpoint as a model.", ERRORS, gives=(Model,))


def embeddings_operation(endpoint: str, dimensions: int, limits: Limits) -> Operation:
    """``POST /v1/embeddings`` of an endpoint whose vectors have ``dimensions``."""
    token_ids = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
    several = {"minItems": 1, "maxItems": limits.max_items}
    return Operation(
        "Embeds texts, or token ids.",
        ERRORS,
        statuses=INFERENCE,
        asks=EmbeddingsBody,
        gives=(Embeddings,),
        bounds={
            EmbeddingsBody: {
                "input": {
                    "anyOf": [
                        {"type": "string"},
                        {"type": "array", "items": {"type": "string"}, **several},
                        token_ids,
                        {"type": "array", "items": token_ids, **several},
                    ]
                },
                "model": {"const": endpoint},
                "dimensions": {"enum": [dimensions, None]},
            },
            Embeddings: {"model": {"const": endpoint}, "data": several},
            Embedding: {
                "embedding": {
                    "anyOf": [
                        {
                            "type": "array",
                            "items": {"type": "number"},
                            "minItems": dimensions,
                            "maxItems": dimensions,
                        },
                        {"type": "string", "contentEncoding": "base64"},
                    ]
                }
            },
        },
        example={"model": endpoint, "input": "hello"},
    )
