"""The Open Inference Protocol V2 over REST: tensors in, tensors out, as JSON or as binary data.

https://github.com/kserve/open-inference-protocol with its binary tensor data extension:
little-endian values after the JSON, whose length is in Inference-Header-Content-Length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headgate.engines.codec import holds_bools
from headgate.runtime import Tensor
from headgate.server.http import HttpError, Limits, Reply, decoded
from headgate.server.routes import INFERENCE, ErrorForm, Header, Operation
from headgate.workload import Pair

__all__ = [
    "ERRORS",
    "LIVE",
    "METADATA",
    "READY",
    "SERVER",
    "InferBody",
    "InferRequest",
    "InputTensor",
    "Live",
    "OutputWish",
    "Ready",
    "ServerMetadata",
    "checked",
    "datatype",
    "error_reply",
    "infer_operation",
    "infer_reply",
    "metadata",
    "parse_infer",
]

_JSON_LENGTH = "Inference-Header-Content-Length"
_BINARY = "application/octet-stream"
_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "str": "BYTES",
}
_DTYPES = {v2: np.dtype(dtype) for dtype, v2 in _DATATYPES.items() if dtype != "str"}
_OF_DTYPE = {dtype: v2 for v2, dtype in _DTYPES.items()}


class InputTensor(msgspec.Struct):
    """``data`` flat or nested, in row-major order, or ``parameters.binary_data_size``."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class OutputWish(msgspec.Struct):
    """``parameters.binary_data`` asks for it as binary data."""

    name: str
    parameters: dict[str, Any] | None = None


class InferBody(msgspec.Struct):
    """One tensor; its first axis counts the items."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[OutputWish] | None = None


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """``data`` is flat, in row-major order; or ``parameters.binary_data_size``."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class Inference(msgspec.Struct, omit_defaults=True):
    """The answers, one a row."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None


class ServerMetadata(msgspec.Struct):
    """The server and the protocol's extensions that it has."""

    name: str
    version: str
    extensions: tuple[str, ...] = ("binary_tensor_data",)


class TensorMetadata(msgspec.Struct):
    """-1 in ``shape`` is the number of items."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """The endpoint as a model of the protocol."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Live(msgspec.Struct):
    """The process answers."""

    live: bool


class Ready(msgspec.Struct):
    """Requests are welcome: those who get them make progress."""

    ready: bool
    name: str


class V2Error(msgspec.Struct):
    """What went wrong, in the protocol's form."""

    error: str


_decoder = msgspec.json.Decoder(InferBody)
_PARAMETERS = {"type": "object", "properties": {"truncate": {"type": "boolean"}}}


class InferRequest(msgspec.Struct, frozen=True):
    """A checked body: ``items`` are texts, pairs of them, or arrays without the batch axis."""

    items: Sequence[object]
    id: str | None
    binary: bool = False
    """The output is to come as binary data."""
    truncate: bool = False


def parse_infer(
    body: bytes, accepts: Tensor, gives: Tensor, limits: Limits, json_length: bytes | None = None
) -> InferRequest:
    """``json_length``: the header Inference-Header-Content-Length, in bytes, where there is one.

    Raises ``HttpError`` 400 naming the field.
    """
    raw: bytes | None = None
    if json_length is not None:
        digits = json_length.isdigit() and len(json_length) < 20
        if not digits or int(json_length) > len(body):
            raise HttpError.invalid(_JSON_LENGTH, f"it must be a number of bytes, 0 to {len(body)}")
        body, raw = body[: int(json_length)], body[int(json_length) :]
    return checked(decoded(_decoder, body), raw, accepts, gives, limits)


def checked(
    asked: InferBody, raw: bytes | None, accepts: Tensor, gives: Tensor, limits: Limits
) -> InferRequest:
    """A body that is decoded, and the binary data that came after it, if any.

    Raises ``HttpError`` 400 naming the field.
    """
    if len(asked.inputs) != 1:
        raise HttpError.invalid("inputs", f"{len(asked.inputs)} tensors; the model takes one")
    tensor = asked.inputs[0]
    if tensor.name != accepts.name:
        raise HttpError.invalid(
            "inputs[0].name", f"there is no input {tensor.name!r}; it is {accepts.name!r}"
        )
    for number, output in enumerate(asked.outputs or ()):
        if output.name != gives.name:
            raise HttpError.invalid(
                f"outputs[{number}].name",
                f"there is no output {output.name!r}; it is {gives.name!r}",
            )
        if (output.parameters or {}).get("classification"):
            raise HttpError.invalid(
                f"outputs[{number}].parameters.classification", "it is not supported"
            )
    shape = tensor.shape
    if not shape or any(d < 0 for d in shape) or shape[0] < 1:
        raise HttpError.invalid(
            "inputs[0].shape", f"{shape} has no items; the first dimension counts them"
        )
    if shape[0] > limits.max_items:
        raise HttpError.invalid(
            "inputs[0].shape", f"{shape[0]} items; at most {limits.max_items} go in one request"
        )
    raw = _raw(tensor, raw)
    if accepts.dtype == "str":
        items: Sequence[object] = _texts(tensor, accepts, raw)
    else:
        items = list(_array(tensor, accepts, raw))
    binary = (asked.parameters or {}).get("binary_data_output", False)
    for output in asked.outputs or ():
        binary = (output.parameters or {}).get("binary_data", binary)
    truncate = (asked.parameters or {}).get("truncate", False)
    if type(truncate) is not bool:
        raise HttpError.invalid("parameters.truncate", "it must be true or false")
    return InferRequest(items, asked.id, binary is True, truncate)


def infer_reply(
    request: InferRequest,
    values: Sequence[object],
    *,
    endpoint: str,
    version: int,
    gives: Tensor,
    source: str,
) -> Reply:
    """``values``: one array an item."""
    stacked = np.stack([np.asarray(value) for value in values])
    output = OutputTensor(gives.name, _OF_DTYPE[stacked.dtype], list(stacked.shape))
    raw = b""
    if request.binary:
        raw = stacked.astype(stacked.dtype.newbyteorder("<"), copy=False).tobytes()
        output.parameters = {"binary_data_size": len(raw)}
    else:
        output.data = stacked.ravel().tolist()
    head = msgspec.json.encode(Inference(endpoint, str(version), [output], request.id))
    if not request.binary:
        return Reply(head, source=source)
    return Reply(
        head + raw,
        content_type=_BINARY.encode(),
        headers=((_JSON_LENGTH.lower().encode(), b"%d" % len(head)),),
        source=source,
    )


def metadata(
    endpoint: str, version: int, platform: str, accepts: Tensor, gives: Tensor
) -> ModelMetadata:
    """``GET /v2/models/{name}``; -1 is the number of items."""
    inputs, outputs = [_tensor_metadata(accepts)], [_tensor_metadata(gives)]
    return ModelMetadata(endpoint, [str(version)], platform, inputs, outputs)


def datatype(dtype: str) -> str:
    """The protocol's name of a numpy dtype, or of ``str``."""
    return _DATATYPES[dtype]


def error_reply(error: HttpError) -> Reply:
    """The protocol's error object: a message, and no more."""
    body = msgspec.json.encode(V2Error(error.message))
    return Reply(body, status=error.status, headers=error.headers)


ERRORS = ErrorForm(error_reply, V2Error)
SERVER = Operation("The server and its extensions.", ERRORS, gives=(ServerMetadata,))
METADATA = Operation("The endpoint's tensors.", ERRORS, gives=(ModelMetadata,))
LIVE = Operation(
    "Whether the process answers, and can still load an engine where one hangs.",
    ERRORS,
    statuses=(503,),
    gives=(Live,),
)
READY = Operation(
    "Whether requests are welcome, and those engines that get them make progress.",
    ERRORS,
    statuses=(503,),
    gives=(Ready,),
)


def infer_operation(accepts: Tensor, gives: Tensor, limits: Limits) -> Operation:
    """``POST .../infer`` of a model that takes and gives these tensors."""
    items = {"type": "integer", "minimum": 1, "maximum": limits.max_items}
    axes = [{"const": n} for n in accepts.shape]
    text = accepts.dtype == "str"  # of texts further axes of one are taken too
    shape = {
        "prefixItems": [items, *axes],
        "items": {"const": 1} if text else False,
        "minItems": 1 + len(axes),
    }
    example = np.full(accepts.shape, "hello" if text else 0.0).tolist()
    return Operation(
        "Answers the items of one tensor, by the Open Inference Protocol.",
        ERRORS,
        statuses=INFERENCE,
        asks=InferBody,
        gives=(Inference,),
        bounds={
            InferBody: {
                "inputs": {"minItems": 1, "maxItems": 1},
                "parameters": {"anyOf": [_PARAMETERS, {"type": "null"}]},
            },
            InputTensor: {
                "name": {"const": accepts.name},
                "datatype": {"const": _DATATYPES[accepts.dtype]},
                "shape": shape,
            },
            OutputWish: {"name": {"const": gives.name}},
            Inference: {"outputs": {"minItems": 1, "maxItems": 1}},
            OutputTensor: {
                "name": {"const": gives.name},
                "datatype": {"const": _DATATYPES[gives.dtype]},
            },
        },
        headers=(
            Header(
                _JSON_LENGTH,
                {"type": "integer", "minimum": 0, "maximum": limits.max_body_bytes},
                "Bytes of the JSON, where binary data follows it.",
            ),
        ),
        binary=_BINARY,
        example={
            "inputs": [
                {
                    "name": accepts.name,
                    "shape": [1, *accepts.shape],
                    "datatype": _DATATYPES[accepts.dtype],
                    "data": [example],
                }
            ]
        },
    )


def _tensor_metadata(tensor: Tensor) -> TensorMetadata:
    return TensorMetadata(tensor.name, _DATATYPES[tensor.dtype], [-1, *tensor.shape])


def _raw(tensor: InputTensor, rest: bytes | None) -> bytes | None:
    """The tensor's binary data, or None where its values are in the JSON."""
    size = (tensor.parameters or {}).get("binary_data_size")
    if size is None:
        if tensor.data is None:
            raise HttpError.invalid("inputs[0].data", "it is missing, and so is binary data")
        if rest:
            raise HttpError.invalid(
                "inputs[0].parameters.binary_data_size", f"missing for {len(rest)} bytes"
            )
        return None
    if tensor.data is not None:
        raise HttpError.invalid(
            "inputs[0].data", "the tensor is binary data already; send one of them"
        )
    if type(size) is not int or rest is None or size != len(rest):
        sent = f"{len(rest)} bytes" if rest is not None else f"no {_JSON_LENGTH}"
        raise HttpError.invalid("inputs[0].parameters.binary_data_size", f"{size!r} with {sent}")
    return rest


def _raw_texts(raw: bytes, most: int) -> list[object]:
    """Each text's length in bytes (4 bytes, little-endian) stands before its UTF-8.

    Reads one more than ``most`` at the most, which is enough to tell that they do not fit.
    """
    texts: list[object] = []
    at = 0
    while at < len(raw) and len(texts) <= most:
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        if at + 4 > len(raw) or end > len(raw):
            raise HttpError.invalid(
                f"inputs[0].data[{len(texts)}]", "the binary data ends within it"
            )
        try:
            texts.append(raw[at + 4 : end].decode())
        except UnicodeDecodeError:
            raise HttpError.invalid(f"inputs[0].data[{len(texts)}]", "it is not UTF-8") from None
        at = end
    return texts


def _texts(tensor: InputTensor, accepts: Tensor, raw: bytes | None) -> Sequence[object]:
    """One text an item, or one ``Pair`` where the model accepts two texts an item."""
    if tensor.datatype != "BYTES":
        raise HttpError.invalid("inputs[0].datatype", f"{tensor.datatype} is no text; send BYTES")
    texts: list[object] = tensor.data or []
    if raw is not None:
        texts = _raw_texts(raw, tensor.shape[0] * math.prod(accepts.shape))
    while len(texts) == 1 and isinstance(texts[0], list):  # [["a", "b"]] for the shape [1, 2]
        texts = texts[0]
    if texts and isinstance(texts[0], list):
        texts = [text for row in texts if isinstance(row, list) for text in row]
    item = accepts.shape or (1,) * (len(tensor.shape) - 1)
    if math.prod(tensor.shape) != len(texts) or tuple(tensor.shape[1:]) != item:
        raise HttpError.invalid(
            "inputs[0].shape",
            f"{tensor.shape} does not fit {len(texts)} texts; it is [items{_axes(accepts)}]",
        )
    wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise HttpError.invalid(f"inputs[0].data[{wrong}]", "it is no text")
    if accepts.shape:
        return [Pair(str(q), str(t)) for q, t in zip(texts[::2], texts[1::2], strict=True)]
    return texts


def _axes(accepts: Tensor) -> str:
    return "".join(f", {n}" for n in accepts.shape)


def _array(tensor: InputTensor, accepts: Tensor, binary: bytes | None) -> NDArray[np.generic]:
    expected = _DATATYPES[accepts.dtype]
    if tensor.datatype != expected:
        raise HttpError.invalid("inputs[0].datatype", f"{tensor.datatype} instead of {expected}")
    if tuple(tensor.shape[1:]) != accepts.shape:
        raise HttpError.invalid(
            "inputs[0].shape", f"{tensor.shape} instead of [items{_axes(accepts)}]"
        )
    if binary is not None:
        wire = _DTYPES[expected].newbyteorder("<")
        if len(binary) != math.prod(tensor.shape) * wire.itemsize:
            raise HttpError.invalid(
                "inputs[0].shape", f"{len(binary)} bytes do not fit {tensor.shape} of {expected}"
            )
        return np.frombuffer(binary, wire).reshape(tensor.shape)
    try:
        raw = np.asarray(tensor.data)
        # Checked before conversion, because numpy reads "1" as a number, and true as 1.
        kinds = "b" if expected == "BOOL" else "iuf"
        if raw.dtype.kind not in kinds or (kinds != "b" and holds_bools(tensor.data)):
            raise ValueError("it holds something else than numbers")
        if raw.size != math.prod(tensor.shape):
            raise ValueError(f"{raw.size} values do not fit the shape {tensor.shape}")
        dtype = _DTYPES[expected]
        if dtype == np.uint64 and raw.dtype.kind == "f":
            # numpy has no integer for both 1 and 2**63, and made them floats, which are not exact.
            raw = np.asarray(tensor.data, dtype=object)
        with np.errstate(over="ignore", invalid="ignore"):
            values = raw.astype(dtype).reshape(tensor.shape)
        if dtype.kind in "iu" and not np.array_equal(values.ravel(), raw.ravel()):
            raise ValueError(f"a value is no {expected}")
    except (ValueError, OverflowError) as error:
        raise HttpError.invalid("inputs[0].data", str(error)) from None
    return values
