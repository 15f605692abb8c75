"""What is sent to servers, and what they answer: OpenAI's embeddings, Open Inference Protocol V2,
reranking as Text Embeddings Inference has it.

Bodies in and values out; knows nothing of connections. An answer is read as a stranger's: what is
missing, misshapen or not a number is an ``EngineError``, and rows go by their index.

https://platform.openai.com/docs/api-reference/embeddings
https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from headgate.errors import EngineError
from headgate.quantization.facts import TensorSpec

__all__ = [
    "datatype_of",
    "embeddings_body",
    "embeddings_in",
    "infer_body",
    "input_in",
    "model_in",
    "output_in",
    "rerank_body",
]

T = TypeVar("T")
_NUMBERS = {"FP": "float", "INT": "int", "UINT": "uint"}


class _Embedding(msgspec.Struct):
    index: int
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class _Output(msgspec.Struct):
    shape: list[int]
    data: list[Any]


class _Outputs(msgspec.Struct):
    outputs: list[_Output]


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]


class _Metadata(msgspec.Struct):
    inputs: list[_Input]


def embeddings_body(
    texts: str | Sequence[str], *, model: str, encoding_format: str = "base64"
) -> bytes:
    """An OpenAI ``/v1/embeddings`` body; base64 is what the official client asks for.

    >>> embeddings_body("hello", model="docs")
    b'{"model":"docs","input":"hello","encoding_format":"base64"}'
    """
    asked: object = texts if isinstance(texts, str) else list(texts)
    return msgspec.json.encode({"model": model, "input": asked, "encoding_format": encoding_format})


def rerank_body(query: str, texts: Sequence[str]) -> bytes:
    """A ``/rerank`` body as Text Embeddings Inference has it.

    >>> rerank_body("what?", ["this", "that"])
    b'{"query":"what?","texts":["this","that"]}'
    """
    return msgspec.json.encode({"query": query, "texts": list(texts)})


def infer_body(items: Sequence[object], *, name: str, datatype: str) -> bytes:
    """An Open Inference Protocol V2 body with one input tensor; the first axis is the items.

    >>> infer_body(["hi"], name="text", datatype="BYTES")
    b'{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":["hi"]}]}'
    """
    array = np.asarray(items, dtype=object if datatype == "BYTES" else None)
    tensor = {
        "name": name,
        "shape": list(array.shape),
        "datatype": datatype,
        "data": array.ravel().tolist(),
    }
    return msgspec.json.encode({"inputs": [tensor]})


def datatype_of(dtype: str) -> str:
    """A numpy dtype's name as V2 calls it; ``str`` is text.

    >>> datatype_of("float32"), datatype_of("uint8"), datatype_of("str")
    ('FP32', 'UINT8', 'BYTES')
    """
    kind = dtype.rstrip("0123456789")
    names = {numpy: v2 for v2, numpy in _NUMBERS.items()}
    return "BYTES" if dtype == "str" else names[kind] + dtype.removeprefix(kind)


def embeddings_in(body: bytes, n: int) -> NDArray[np.float32]:
    """The vectors of an embeddings answer by their ``index``, shape (n, dimensions).

    >>> answer = b'{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2]}]}'
    >>> embeddings_in(answer, 2).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    rows = sorted(_decoded(_Embeddings, body).data, key=lambda row: row.index)
    if [row.index for row in rows] != list(range(n)):
        indices = ", ".join(str(row.index) for row in rows[:8]) or "none"
        raise _misshapen(
            f"{n} texts were sent, and the answer has {len(rows)} embeddings, of index {indices}"
        )
    widths = {len(row.embedding) for row in rows}
    if len(widths) != 1 or widths == {0}:
        raise _misshapen(f"embeddings of {', '.join(map(str, sorted(widths)))} numbers")
    with np.errstate(over="ignore"):
        return _finite(np.array([row.embedding for row in rows], dtype=np.float32))


def output_in(body: bytes, n: int) -> NDArray[np.generic]:
    """The first output of a V2 answer, shape (n, ...)."""
    outputs = _decoded(_Outputs, body).outputs
    if not outputs:
        raise _misshapen("an answer without outputs")
    shape = outputs[0].shape
    try:
        values = np.asarray(outputs[0].data)
    except (ValueError, OverflowError):
        raise _misshapen("an output with rows of different lengths, or numbers too large") from None
    if values.dtype.kind not in "iufb":
        raise _misshapen(f"an output that is no numbers, such as {outputs[0].data[:1]!r:.60}")
    if shape[:1] != [n] or any(d < 1 for d in shape) or math.prod(shape) != values.size:
        raise _misshapen(
            f"{n} items were sent, and the output has shape {shape} and {values.size} values"
        )
    with np.errstate(over="ignore"):
        kept = values.astype(np.float32) if values.dtype.kind == "f" else values
    return _finite(kept.reshape(shape))


def model_in(body: bytes) -> str:
    """The first model of ``GET /v1/models``.

    >>> model_in(b'{"data":[{"id":"docs"},{"id":"more"}]}')
    'docs'
    """
    models = _decoded(_Models, body).data
    if not models:
        raise _misshapen("it lists no model")
    return models[0].id


def input_in(body: bytes) -> TensorSpec:
    """The only input of ``GET /v2/models/NAME``; its dtype is ``str`` for texts (BYTES).

    >>> input_in(b'{"inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}]}')
    TensorSpec(name='x', dtype='float32', shape=(None, 4))
    """
    inputs = _decoded(_Metadata, body).inputs
    if len(inputs) != 1:
        raise _misshapen(f"a model of {len(inputs)} inputs; only one can be filled")
    given = inputs[0]
    number = re.fullmatch(r"(FP|U?INT)(8|16|32|64)", given.datatype)
    if number is None and given.datatype != "BYTES":
        raise _misshapen(f"an input of {given.datatype}")
    return TensorSpec(
        given.name,
        "str" if number is None else _NUMBERS[number[1]] + number[2],
        tuple(None if d < 0 else d for d in given.shape),
    )


def _decoded(kind: type[T], body: bytes) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        # Python's own encoder writes NaN and Infinity, which JSON does not have.
        if re.search(rb"[\[,:]\s*-?(NaN|Infinity)\b", body):
            raise _not_finite() from None
        raise EngineError(
            f"it does not answer as the protocol says: {error}", reason="malformed"
        ) from None


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not finite.all():
        raise _not_finite(f", in row {int(finite.argmin())} of {len(values)}")
    return values


def _not_finite(where: str = "") -> EngineError:
    return EngineError(f"it answers NaN or infinity{where}", reason="not_finite")


def _misshapen(what: str) -> EngineError:
    return EngineError(what, reason="wrong_shape")
