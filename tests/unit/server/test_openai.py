"""OpenAI bodies: what is accepted, and which field is named where one is not."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from headgate.server import Limits
from headgate.server.http import HttpError
from headgate.server.openai import embeddings_reply, error_reply, parse_embeddings

LIMITS = Limits(max_items=3)


@pytest.mark.parametrize(
    ("given", "items", "token_ids"),
    [
        ("a text", ["a text"], False),
        (["a", "b"], ["a", "b"], False),
        ([1, 2, 3, 4], [[1, 2, 3, 4]], True),
        ([[1, 2], [3]], [[1, 2], [3]], True),
    ],
)
def test_all_four_forms_of_input_are_accepted(
    given: object, items: list[object], token_ids: bool
) -> None:
    """A text, texts, token ids, lists of token ids."""
    request = parse_embeddings(json.dumps({"model": "m", "input": given}).encode(), LIMITS)
    assert (list(request.items), request.token_ids) == (items, token_ids)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "input"),
        ({"input": "a"}, "model"),
        ({"model": 3, "input": "a"}, "model"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": [[]]}, "input"),
        ({"model": "m", "input": ["a", 1]}, "input"),
        ({"model": "m", "input": [1, "a"]}, "input"),
        ({"model": "m", "input": [1, [2]]}, "input"),
        ({"model": "m", "input": ["a", None]}, "input[1]"),
        ({"model": "m", "input": ["a"] * 4}, "input"),
        ({"model": "m", "input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"model": "m", "input": "a", "truncate": "yes"}, "truncate"),
        ({"model": "m", "input": "a", "dimension": 3}, "dimension"),
        ([], None),
    ],
)
def test_a_bad_field_is_named(body: object, param: str | None) -> None:
    """400, with ``param`` as OpenAI's clients read it."""
    with pytest.raises(HttpError) as refused:
        parse_embeddings(json.dumps(body).encode(), LIMITS)
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"input": NaN}', b'{"input": "\xed\xa0\x80"}']
)
def test_what_is_no_json_is_a_400(body: bytes) -> None:
    """Malformed JSON and bytes that are no UTF-8."""
    with pytest.raises(HttpError) as refused:
        parse_embeddings(body, LIMITS)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


def test_base64_and_float_carry_the_same_numbers() -> None:
    """base64 is little-endian float32, as OpenAI's client unpacks it."""
    value = np.array([0.1, -2.5], np.float32)
    vectors = []
    for encoding in ("float", "base64"):
        asked = {"model": "m", "input": "a", "encoding_format": encoding}
        request = parse_embeddings(json.dumps(asked).encode(), LIMITS)
        body = json.loads(embeddings_reply(request, [value], tokens=3, source="engine").body)
        assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        vectors.append(body["data"][0]["embedding"])
    assert np.float32(vectors[0]).tolist() == value.tolist()
    assert np.frombuffer(base64.b64decode(vectors[1]), "<f4").tolist() == value.tolist()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (429, "rate_limit_error"), (503, "server_error")],
)
def test_errors_have_openais_form(status: int, kind: str) -> None:
    """message, type, param and code."""
    reply = error_reply(HttpError(status, "no", code="c", param="input"))
    assert json.loads(reply.body) == {
        "error": {"message": "no", "type": kind, "param": "input", "code": "c"}
    }
    assert reply.status == status
