"""The messages of the Open Inference Protocol V2 over gRPC, to and from what REST has.

A ``ModelInferRequest`` becomes the REST body that says the same, and is checked as that is: so both
take and refuse the same tensors. Errors name the fields as they are called here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from headgate.runtime import Deployment, Tensor
from headgate.server import v2
from headgate.server.http import HttpError, Limits
from headgate.server.messages import INFERENCE

__all__ = ["check_model", "infer_reply", "metadata", "parse_infer", "parsed"]

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype -> the field of its typed values. FP16 has none and goes raw."""
_REST_VALUES = re.compile(r"^inputs\[0\]\.data\b")


def parsed(name: str, message: bytes) -> Any:
    """The message ``name`` of the protocol. Raises ``HttpError`` 400."""
    try:
        return INFERENCE[name].FromString(message)
    except DecodeError:
        raise HttpError(400, f"the message is no {name}", code="invalid_message") from None


def check_model(deployment: Deployment, name: str, version: str, prefix: str = "") -> None:
    """Goes on where that is what is served; no version is any. ``prefix`` is the fields' own.

    Raises ``HttpError`` 404 naming the field.
    """
    served, generation = deployment.endpoint, str(deployment.generation)
    if name != served:
        raise _no_model(f"{prefix}name", f"there is no model {name!r}; it is {served!r}")
    if version not in ("", generation):
        raise _no_model(
            f"{prefix}version", f"there is no version {version!r}; it is {generation!r}"
        )


def parse_infer(asked: Any, accepts: Tensor, gives: Tensor, limits: Limits) -> v2.InferRequest:
    """A ``ModelInferRequest`` -> what ``v2.checked`` makes of it; answers go as values came, raw or
    typed. Raises ``HttpError`` 400 naming the field."""
    raws = asked.raw_input_contents
    if len(raws) not in (0, len(asked.inputs)):
        raise HttpError.invalid("raw_input_contents", f"{len(raws)} for {len(asked.inputs)} inputs")
    raw: bytes | None = None
    field = "inputs[0].contents"
    tensors = []
    for number, tensor in enumerate(asked.inputs):
        sent = v2.InputTensor(tensor.name, list(tensor.shape), tensor.datatype)
        if raws:
            raw, field = raws[number], f"raw_input_contents[{number}]"
            sent.parameters = {"binary_data_size": len(raw)}
            if tensor.HasField("contents"):
                raise HttpError.invalid(
                    f"inputs[{number}].contents", f"the values are in {field}; send one"
                )
        elif tensor.HasField("contents"):
            sent.data, field = _typed(tensor, accepts, limits, f"inputs[{number}].contents")
        tensors.append(sent)
    wishes = [
        v2.OutputWish(
            output.name,
            # How values come is not asked for here: they come as those of the input came.
            {e.key: e.value.int64_param for e in output.parameters if e.key != "binary_data"},
        )
        for output in asked.outputs
    ]
    parameters = {e.key: e.value.bool_param for e in asked.parameters if e.key == "truncate"}
    parameters["binary_data_output"] = raw is not None
    body = v2.InferBody(tensors, asked.id, parameters, wishes)
    try:
        return v2.checked(body, raw, accepts, gives, limits)
    except HttpError as error:
        param, message = (
            _REST_VALUES.sub(field, text) for text in (error.param or "", error.message)
        )
        raise HttpError(error.status, message, code=error.code, param=param) from None


def infer_reply(request: v2.InferRequest, values: Sequence[object], deployment: Deployment) -> Any:
    """``values``, one array an item -> a ``ModelInferResponse``."""
    stacked = np.stack([np.asarray(value) for value in values])
    datatype = v2.datatype(stacked.dtype.name)
    output = INFERENCE["InferOutputTensor"](
        name=deployment.output.name, datatype=datatype, shape=stacked.shape
    )
    reply = INFERENCE["ModelInferResponse"](
        model_name=deployment.endpoint,
        model_version=str(deployment.generation),
        id=request.id or "",
    )
    typed = _CONTENTS.get(datatype)
    if request.binary or typed is None:
        little = stacked.astype(stacked.dtype.newbyteorder("<"), copy=False)
        reply.raw_output_contents.append(little.tobytes())
    else:
        getattr(output.contents, typed).extend(stacked.ravel().tolist())
    reply.outputs.append(output)
    return reply


def metadata(deployment: Deployment) -> Any:
    """A ``ModelMetadataResponse``; -1 is the number of items."""
    inputs, outputs = (
        [
            INFERENCE["TensorMetadata"](
                name=tensor.name, datatype=v2.datatype(tensor.dtype), shape=(-1, *tensor.shape)
            )
        ]
        for tensor in (deployment.input, deployment.output)
    )
    return INFERENCE["ModelMetadataResponse"](
        name=deployment.endpoint,
        versions=[str(deployment.generation)],
        platform=f"{deployment.build.engine}_{deployment.build.precision}",
        inputs=inputs,
        outputs=outputs,
    )


def _typed(tensor: Any, accepts: Tensor, limits: Limits, field: str) -> tuple[list[Any], str]:
    """The values of typed contents, and what their field is called."""
    if tensor.datatype == "FP16":
        raise HttpError.invalid(field, "FP16 has no typed contents; send raw_input_contents")
    # Of a datatype that there is not, no values are looked for: it is refused by its name.
    kind = _CONTENTS.get(tensor.datatype, "bytes_contents")
    values = getattr(tensor.contents, kind)
    field = f"{field}.{kind}"
    most = limits.max_items * math.prod(accepts.shape)
    if len(values) > most:
        raise HttpError.invalid(field, f"{len(values)} values; at most {most} go in one request")
    if kind != "bytes_contents":
        return list(values), field
    texts = []
    for number, value in enumerate(values):
        try:
            texts.append(value.decode())
        except UnicodeDecodeError:
            raise HttpError.invalid(f"{field}[{number}]", "it is not UTF-8") from None
    return texts, field


def _no_model(param: str, message: str) -> HttpError:
    return HttpError(404, f"{param}: {message}", code="model_not_found", param=param)
