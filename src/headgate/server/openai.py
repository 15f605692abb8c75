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

__all__ = ["EmbeddingsRequest", "embeddings_reply", "error_reply", "model_body", "parse_embeddings"]

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    input: str | list[str | int | list[int]]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
    truncate: bool = False


_decoder = msgspec.json.Decoder(_Body)


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
        raise _bad("input", "it is empty; send at least one text")
    if len(items) > limits.max_items:
        raise _bad("input", f"{len(items)} items; at most {limits.max_items} go in one request")
    kind = type(items[0])
    flat = items[0] if kind is list and items[0] is asked.input else ()
    if any(type(item) is not kind for item in items) or any(type(i) is not int for i in flat):
        raise _bad("input", "texts and token ids cannot be mixed in one request")
    return EmbeddingsRequest(
        items, asked.model, asked.encoding_format == "base64", asked.dimensions, asked.truncate
    )


def embeddings_reply(
    request: EmbeddingsRequest, values: Sequence[object], *, tokens: int, source: str
) -> Reply:
    """``values``: one 1-d float array an item."""
    vectors = [np.asarray(value, dtype="<f4") for value in values]
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(v.tobytes()).decode() if request.base64 else v.tolist(),
        }
        for index, v in enumerate(vectors)
    ]
    body = {
        "object": "list",
        "data": data,
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Reply(msgspec.json.encode(body), source=source)


def model_body(endpoint: str, owner: str, created_s: int) -> dict[str, object]:
    """One entry of ``GET /v1/models``."""
    return {"id": endpoint, "object": "model", "created": created_s, "owned_by": owner}


def error_reply(error: HttpError) -> Reply:
    """OpenAI's error object."""
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else None)
    body = {
        "error": {
            "message": error.message,
            "type": kind or "invalid_request_error",
            "param": error.param,
            "code": error.code,
        }
    }
    return Reply(msgspec.json.encode(body), status=error.status, headers=error.headers)


def _bad(param: str, message: str) -> HttpError:
    return HttpError(400, f"{param}: {message}", code="invalid_value", param=param)
