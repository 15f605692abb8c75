"""Messages over gRPC: the same tensors as over REST, fields named as they are called here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from headgate.runtime import Tensor
from headgate.server import Limits
from headgate.server.http import HttpError
from headgate.server.messages import INFERENCE
from headgate.server.v2_grpc import check_model, infer_reply, metadata, parse_infer, parsed
from tests.serving import deployment

LIMITS = Limits(max_items=8)
TEXT = Tensor("text", "str", ())
SCORES = Tensor("scores", "float32", (3,))


def request(
    datatype: str, shape: list[int], *, raw: bytes | None = None, **contents: list[Any]
) -> Any:
    """A request as Triton's client would write it, read by us."""
    theirs = service_pb2.ModelInferRequest(model_name="m", id="7")
    tensor = theirs.inputs.add(name="text" if datatype == "BYTES" else "x", datatype=datatype)
    tensor.shape.extend(shape)
    for name, values in contents.items():
        getattr(tensor.contents, name).extend(values)
    if raw is not None:
        theirs.raw_input_contents.append(raw)
    return parsed("ModelInferRequest", theirs.SerializeToString())


@pytest.mark.parametrize(
    ("datatype", "dtype", "field", "values"),
    [
        ("BOOL", "bool", "bool_contents", [True, False]),
        ("INT8", "int8", "int_contents", [-128, 127]),
        ("INT16", "int16", "int_contents", [-1, 1]),
        ("INT32", "int32", "int_contents", [-(2**31), 2**31 - 1]),
        ("INT64", "int64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("UINT8", "uint8", "uint_contents", [0, 255]),
        ("UINT16", "uint16", "uint_contents", [0, 1]),
        ("UINT32", "uint32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64", "uint64_contents", [0, 2**64 - 1]),
        ("FP32", "float32", "fp32_contents", [0.1, -2.5]),
        ("FP64", "float64", "fp64_contents", [0.1, -2.5]),
    ],
)
def test_typed_and_raw_values_are_the_same(
    datatype: str, dtype: str, field: str, values: list[Any]
) -> None:
    """Every datatype that has typed contents; the answer is to come as the values came."""
    accepts = Tensor("x", dtype, (2,))
    raw = np.array(values, dtype).tobytes()
    typed = parse_infer(request(datatype, [1, 2], **{field: values}), accepts, SCORES, LIMITS)
    other = parse_infer(request(datatype, [1, 2], raw=raw), accepts, SCORES, LIMITS)
    assert (typed.binary, other.binary) == (False, True)
    for item in (*typed.items, *other.items):
        assert isinstance(item, np.ndarray)
        np.testing.assert_array_equal(item, np.array(values, dtype))


def test_typed_and_raw_texts_are_the_same() -> None:
    """UTF-8 either way, with lengths before the raw ones; the id is kept."""
    raw = b"\x03\0\0\0" + "né".encode() + b"\x01\0\0\0b"
    typed = parse_infer(
        request("BYTES", [2], bytes_contents=["né".encode(), b"b"]), TEXT, SCORES, LIMITS
    )
    other = parse_infer(request("BYTES", [2, 1], raw=raw), TEXT, SCORES, LIMITS)
    assert list(typed.items) == list(other.items) == ["né", "b"]
    assert typed.id == "7"


def test_half_floats_come_and_go_raw() -> None:
    """There are no typed contents for them."""
    accepts = Tensor("x", "float16", (2,))
    raw = np.array([0.5, 2.0], np.float16).tobytes()
    asked = parse_infer(request("FP16", [1, 2], raw=raw), accepts, SCORES, LIMITS)
    reply = infer_reply(asked, asked.items, deployment())
    assert reply.raw_output_contents[0] == raw
    with pytest.raises(HttpError, match="raw_input_contents") as refused:
        parse_infer(request("FP16", [1, 2], fp32_contents=[1, 2]), accepts, SCORES, LIMITS)
    assert refused.value.param == "inputs[0].contents"


def two_tensors(asked: Any) -> None:
    asked.inputs.add(name="x")


def another_name(asked: Any) -> None:
    asked.inputs[0].name = "other"


def raw_too(asked: Any) -> None:
    asked.raw_input_contents.append(b"")


def another_output(asked: Any) -> None:
    asked.outputs.add(name="other")


def classification(asked: Any) -> None:
    wish = asked.outputs.add(name="scores").parameters.add(key="classification")
    wish.value.int64_param = 3


def nothing(asked: Any) -> None:
    asked.inputs[0].ClearField("contents")


def as_it_is(asked: Any) -> None:
    pass


FLOATS = Tensor("x", "float32", (2,))
GOOD = request("FP32", [1, 2], fp32_contents=[1, 2])


@pytest.mark.parametrize(
    ("asked", "change", "field"),
    [
        (GOOD, two_tensors, "inputs"),
        (GOOD, another_name, "inputs[0].name"),
        (GOOD, raw_too, "inputs[0].contents"),
        (GOOD, another_output, "outputs[0].name"),
        (GOOD, classification, "outputs[0].parameters.classification"),
        (GOOD, nothing, "inputs[0].contents"),
        (request("FP64", [1, 2], fp64_contents=[1, 2]), as_it_is, "inputs[0].datatype"),
        (request("FP99", [1, 2], fp64_contents=[1, 2]), as_it_is, "inputs[0].datatype"),
        (request("FP32", [], fp32_contents=[1, 2]), as_it_is, "inputs[0].shape"),
        (request("FP32", [-1, 2], fp32_contents=[1, 2]), as_it_is, "inputs[0].shape"),
        (request("FP32", [2, 1], fp32_contents=[1, 2]), as_it_is, "inputs[0].shape"),
        (request("FP32", [9, 2], fp32_contents=[1, 2]), as_it_is, "inputs[0].shape"),
        (request("FP32", [1, 2], raw=b"\0" * 7), as_it_is, "inputs[0].shape"),
        (
            request("FP32", [1, 2], fp32_contents=[1]),
            as_it_is,
            "inputs[0].contents.fp32_contents",
        ),
        (
            request("FP32", [1, 2], int_contents=[1, 2]),
            as_it_is,
            "inputs[0].contents.fp32_contents",
        ),
        (
            request("FP32", [8, 2], fp32_contents=[1] * 17),
            as_it_is,
            "inputs[0].contents.fp32_contents",
        ),
    ],
)
def test_a_bad_field_is_named(asked: Any, change: Callable[[Any], None], field: str) -> None:
    """In the error's parameter, and before its words."""
    changed = INFERENCE["ModelInferRequest"].FromString(asked.SerializeToString())
    change(changed)
    with pytest.raises(HttpError) as refused:
        parse_infer(changed, FLOATS, SCORES, LIMITS)
    assert (refused.value.status, refused.value.param) == (400, field)
    assert refused.value.message.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (request("BYTES", [1], bytes_contents=[b"\xff"]), "inputs[0].contents.bytes_contents[0]"),
        (request("BYTES", [1], raw=b"\x09\0\0\0a"), "raw_input_contents[0][0]"),
        (request("BYTES", [1], raw=b"\x01\0\0\0\xff"), "raw_input_contents[0][0]"),
        (request("BYTES", [1], bytes_contents=[b""] * 9), "inputs[0].contents.bytes_contents"),
        (request("BYTES", [2], bytes_contents=[b"a"]), "inputs[0].shape"),
    ],
)
def test_a_bad_text_is_named(asked: Any, field: str) -> None:
    """Where it stands in the message that was sent."""
    with pytest.raises(HttpError) as refused:
        parse_infer(asked, TEXT, SCORES, LIMITS)
    assert (refused.value.status, refused.value.param) == (400, field)


def test_a_message_that_is_none_is_refused() -> None:
    """Bytes that protobuf cannot read."""
    with pytest.raises(HttpError, match="no ModelInferRequest"):
        parsed("ModelInferRequest", b"\xff\xff")


def test_only_what_is_served_is_a_model() -> None:
    """Its own version or none; the field is named."""
    d = deployment()
    check_model(d, "words", "")
    check_model(d, "words", "3")
    for name, version, field in (("other", "", "model_name"), ("words", "2", "model_version")):
        with pytest.raises(HttpError) as refused:
            check_model(d, name, version, "model_")
        assert (refused.value.status, refused.value.param) == (404, field)


def test_metadata_says_what_is_taken_and_given() -> None:
    """-1 is the number of items."""
    described = metadata(deployment())
    (text,), (vector,) = described.inputs, described.outputs
    assert (text.name, text.datatype, list(text.shape)) == ("text", "BYTES", [-1])
    assert (vector.name, vector.datatype, list(vector.shape)) == ("embedding", "FP32", [-1, 2])
