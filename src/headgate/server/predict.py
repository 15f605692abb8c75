"""``POST /predict`` as the clients of text-embeddings-inference (TEI) call it: labels with scores
of a classifier; of ``predict``, the plain values.

One item gets one answer, a list of items gets a list. An item is a text, or numbers of the shape
that the model takes. TEI reads a list of two texts as a pair, and ``[["a"], ["b"]]`` as a batch;
here every list of texts is a batch, in either form, because a model takes one text an item, and a
pair within a batch is refused. Scores are the model's own, whatever ``raw_scores`` says: what is
made of them belongs into the model, where it is measured and judged.

https://huggingface.github.io/text-embeddings-inference
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from headgate.runtime import Tensor
from headgate.server.http import HttpError, Limits, Reply, decoded
from headgate.server.routes import INFERENCE, ErrorForm, Operation, Schema

__all__ = [
    "ERRORS",
    "PredictRequest",
    "error_reply",
    "gives_scores",
    "parse_predict",
    "predict_operation",
    "predictions_reply",
    "values_reply",
]

ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer"]
_ERROR_TYPES: dict[int, ErrorType] = {
    429: "Overloaded",
    500: "Backend",
    503: "Unhealthy",
    504: "Overloaded",
}


class PredictBody(msgspec.Struct, forbid_unknown_fields=True):
    """One item, or a list of them."""

    inputs: str | float | list[Any]
    truncate: bool = False
    raw_scores: bool = False


class Prediction(msgspec.Struct):
    """A class and its score."""

    score: float
    label: str


class TEIError(msgspec.Struct):
    """What went wrong, in TEI's form."""

    error: str
    error_type: ErrorType


_decoder = msgspec.json.Decoder(PredictBody)


class PredictRequest(msgspec.Struct, frozen=True):
    """A checked body: ``items`` are texts or nested lists of numbers."""

    items: Sequence[object]
    alone: bool
    """One item was sent, outside of a list."""
    truncate: bool


def parse_predict(body: bytes, accepts: Tensor, limits: Limits) -> PredictRequest:
    """Raises ``HttpError`` 400 naming the field; whether an item fits is the codec's to say."""
    asked = decoded(_decoder, body)
    inputs = asked.inputs
    if inputs == []:
        raise HttpError.invalid("inputs", "it is empty; send at least one item")
    alone = not isinstance(inputs, list) or _depth(inputs) <= len(accepts.shape)
    if alone:
        return PredictRequest([inputs], True, asked.truncate)
    assert isinstance(inputs, list)
    if len(inputs) > limits.max_items:
        raise HttpError.invalid(
            "inputs", f"{len(inputs)} items; at most {limits.max_items} go in one request"
        )
    if accepts.dtype == "str":
        inputs = [_text(item, number) for number, item in enumerate(inputs)]
    return PredictRequest(inputs, False, asked.truncate)


def gives_scores(gives: Tensor) -> bool:
    """Whether a classifier's answer to an item is a score for each class."""
    return np.dtype(gives.dtype).kind == "f" and len(gives.shape) <= 1


def predictions_reply(
    request: PredictRequest, values: Sequence[object], labels: Sequence[str], *, source: str
) -> Reply:
    """``values``: the scores of each item, shape () or (classes,); the best comes first.

    ``labels``: the classes' names in the scores' order; where there are none, ``LABEL_0`` and on.
    """
    answers = []
    for value in values:
        scores = np.atleast_1d(np.asarray(value))
        order = np.argsort(-scores, kind="stable").tolist()
        answers.append(
            [Prediction(float(scores[i]), labels[i] if labels else f"LABEL_{i}") for i in order]
        )
    return _reply(request, answers, source)


def values_reply(request: PredictRequest, values: Sequence[object], *, source: str) -> Reply:
    """``values``: one array an item; a model that gives one number an item answers with it."""
    arrays = [np.asarray(value) for value in values]
    answers = [a.item() if a.size == 1 else a.tolist() for a in arrays]
    return _reply(request, answers, source)


def error_reply(error: HttpError) -> Reply:
    """TEI's error object."""
    kind = _ERROR_TYPES.get(error.status, "Validation")
    body = msgspec.json.encode(TEIError(error.message, kind))
    return Reply(body, status=error.status, headers=error.headers)


ERRORS = ErrorForm(error_reply, TEIError)


def predict_operation(task: str, accepts: Tensor, gives: Tensor, limits: Limits) -> Operation:
    """``POST /predict`` of a model that takes and gives these tensors."""
    text = accepts.dtype == "str"
    item: Schema = {"type": "string" if text else "number"}
    for size in reversed(accepts.shape):
        item = {"type": "array", "items": item, "minItems": size, "maxItems": size}
    several = {"type": "array", "minItems": 1, "maxItems": limits.max_items}
    forms = [item, {**several, "items": item}]
    if text:
        forms.append({**several, "items": {**several, "items": item, "maxItems": 1}})
    answer: Any
    if task == "classify":
        classes = gives.shape[0] if gives.shape else 1
        answer = Annotated[list[Prediction], msgspec.Meta(min_length=classes, max_length=classes)]
    else:
        answer = _value_type(gives)
    return Operation(
        "Labels with their scores, the best first." if task == "classify" else "Predicted values.",
        ERRORS,
        statuses=INFERENCE,
        asks=PredictBody,
        gives=(answer, list[answer]),
        bounds={
            PredictBody: {
                "inputs": {"anyOf": forms},
                "raw_scores": {"description": "Scores are the model's own either way."},
            }
        },
        example={"inputs": "hello" if text else np.zeros(accepts.shape).tolist()},
    )


def _value_type(gives: Tensor) -> Any:
    """The type of one answer of ``values_reply``."""
    value: Any = {"f": float, "b": bool}.get(np.dtype(gives.dtype).kind, int)
    if int(np.prod(gives.shape)) == 1:
        return value
    for size in reversed(gives.shape):
        value = Annotated[list[value], msgspec.Meta(min_length=size, max_length=size)]
    return value


def _depth(inputs: object) -> int:
    """How deep lists are nested, by each one's first element."""
    depth = 0
    while isinstance(inputs, list):
        depth += 1
        inputs = inputs[0] if inputs else None
    return depth


def _text(item: object, number: int) -> object:
    """``item``, or the text in it where it is a list of one."""
    if not isinstance(item, list):
        return item
    if len(item) != 1:
        raise HttpError.invalid(
            f"inputs[{number}]", f"{len(item)} texts; the model takes one an item"
        )
    return item[0]


def _reply(request: PredictRequest, answers: Sequence[object], source: str) -> Reply:
    return Reply(msgspec.json.encode(answers[0] if request.alone else answers), source=source)
