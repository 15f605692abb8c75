"""Open Inference Protocol bodies: tensors in, tensors out, fields named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.runtime import Tensor
from headgate.server import Limits
from headgate.server.http import HttpError
from headgate.server.v2 import TensorMetadata, infer_reply, metadata, parse_infer
from headgate.workload import Pair

LIMITS = Limits(max_items=8)
TEXT = Tensor("text", "str", ())
PAIR = Tensor("text", "str", (2,))
IMAGE = Tensor("x", "float32", (2, 2))
COUNTS = Tensor("x", "int8", (1,))
SCORES = Tensor("scores", "float32", (3,))


def body(tensor: dict[str, Any], **more: object) -> bytes:
    return json.dumps({"inputs": [tensor], **more}).encode()


def text(**changes: object) -> dict[str, Any]:
    return {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"], **changes}


def image(**changes: object) -> dict[str, Any]:
    zeros = {"name": "x", "shape": [1, 2, 2], "datatype": "FP32", "data": [0, 1.5, 2, 3]}
    return {**zeros, **changes}


@pytest.mark.parametrize(
    "tensor",
    [text(), text(shape=[2, 1], data=[["a"], ["b"]]), text(shape=[2, 1])],
)
def test_texts_may_be_flat_or_nested(tensor: dict[str, Any]) -> None:
    """The protocol allows both; [n] and [n, 1] are n texts."""
    assert list(parse_infer(body(tensor), TEXT, SCORES, LIMITS).items) == ["a", "b"]


@pytest.mark.parametrize("data", [["a", "b", "c", "d"], [["a", "b"], ["c", "d"]]])
def test_two_texts_an_item_are_a_pair(data: list[object]) -> None:
    """A query and a text each, flat, nested, or as binary data."""
    tensor = text(shape=[2, 2], data=data)
    wanted = [Pair("a", "b"), Pair("c", "d")]
    assert list(parse_infer(body(tensor), PAIR, SCORES, LIMITS).items) == wanted
    raw = b"".join(b"\x01\0\0\0" + letter for letter in (b"a", b"b", b"c", b"d"))
    head = body(text(shape=[2, 2], data=None, parameters={"binary_data_size": len(raw)}))
    length = str(len(head)).encode()
    assert list(parse_infer(head + raw, PAIR, SCORES, LIMITS, length).items) == wanted


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=8, max_size=8))
def test_flat_and_nested_tensors_are_the_same(values: list[float]) -> None:
    """Whatever the nesting, item i has the i-th four values."""
    expected = np.array(values, np.float32).reshape(2, 2, 2)
    for data in (values, expected.tolist()):
        tensor = image(shape=[2, 2, 2], data=data)
        items = parse_infer(body(tensor), IMAGE, SCORES, LIMITS).items
        np.testing.assert_array_equal(np.stack(items), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tensor", "accepts", "param"),
    [
        (text(name="other"), TEXT, "inputs[0].name"),
        (text(datatype="FP32"), TEXT, "inputs[0].datatype"),
        (text(shape=[3]), TEXT, "inputs[0].shape"),
        (text(shape=[1, 2]), TEXT, "inputs[0].shape"),
        (text(shape=[]), TEXT, "inputs[0].shape"),
        (text(shape=[2]), PAIR, "inputs[0].shape"),
        (text(shape=[1, 3], data=["a", "b", "c"]), PAIR, "inputs[0].shape"),
        (text(shape=[2, 2]), PAIR, "inputs[0].shape"),
        (text(shape=[1, 2], data=["a", None]), PAIR, "inputs[0].data[1]"),
        (text(shape=[0], data=[]), TEXT, "inputs[0].shape"),
        (text(shape=[-2]), TEXT, "inputs[0].shape"),
        (text(shape=[9], data=["a"] * 9), TEXT, "inputs[0].shape"),
        (text(data=["a", 1]), TEXT, "inputs[0].data[1]"),
        (text(data="ab"), TEXT, "inputs[0].data"),
        ({"name": "text", "shape": [1], "datatype": "BYTES"}, TEXT, "inputs[0].data"),
        (image(datatype="FP64"), IMAGE, "inputs[0].datatype"),
        (image(shape=[1, 4]), IMAGE, "inputs[0].shape"),
        (image(data=[1, 2, 3]), IMAGE, "inputs[0].data"),
        (image(data=["1", "2", "3", "4"]), IMAGE, "inputs[0].data"),
        (image(data=[True, False, True, True]), IMAGE, "inputs[0].data"),
        (image(data=[[1, 0.5], [True, 1]]), IMAGE, "inputs[0].data"),
        (image(data=[None, 1, 2, 3]), IMAGE, "inputs[0].data"),
        (image(data=[[1], [2, 3], [4]]), IMAGE, "inputs[0].data"),
        (
            {"name": "x", "shape": [1, 1], "datatype": "INT8", "data": [300]},
            COUNTS,
            "inputs[0].data",
        ),
        (
            {"name": "x", "shape": [1, 1], "datatype": "INT8", "data": [0.5]},
            COUNTS,
            "inputs[0].data",
        ),
        (
            {"name": "x", "shape": [1, 1], "datatype": "INT8", "data": [10**30]},
            COUNTS,
            "inputs[0].data",
        ),
    ],
)
def test_a_bad_field_is_named(tensor: dict[str, Any], accepts: Tensor, param: str) -> None:
    """400, and the message begins with the field."""
    with pytest.raises(HttpError) as refused:
        parse_infer(body(tensor), accepts, SCORES, LIMITS)
    assert refused.value.status == 400
    assert refused.value.message.startswith(param)


def test_the_largest_integers_keep_their_last_digit() -> None:
    """Beside small ones, where floats would round them."""
    tensor = {"name": "x", "shape": [1, 2], "datatype": "UINT64", "data": [1, 2**64 - 1]}
    (item,) = parse_infer(body(tensor), Tensor("x", "uint64", (2,)), SCORES, LIMITS).items
    np.testing.assert_array_equal(np.asarray(item), np.array([1, 2**64 - 1], np.uint64))


@pytest.mark.parametrize(
    ("tail", "size", "json_length", "param"),
    [
        (b"\x01\0\0\0a", 6, None, "inputs[0].parameters.binary_data_size"),
        (b"\x01\0\0\0a", "5", None, "inputs[0].parameters.binary_data_size"),
        (b"\x02\0\0\0a", 5, None, "inputs[0].data[0]"),
        (b"\x01\0\0", 3, None, "inputs[0].data[0]"),
        (b"\x01\0\0\0\xff", 5, None, "inputs[0].data[0]"),
        (b"", 0, None, "inputs[0].shape"),
        (b"", 0, b"-1", "Inference-Header-Content-Length"),
        (b"", 0, b"99999", "Inference-Header-Content-Length"),
    ],
)
def test_binary_data_that_does_not_fit_is_refused(
    tail: bytes, size: object, json_length: bytes | None, param: str
) -> None:
    """Never read beyond its end, never guessed at."""
    tensor = text(shape=[1], parameters={"binary_data_size": size})
    del tensor["data"]
    head = body(tensor)
    with pytest.raises(HttpError) as refused:
        parse_infer(head + tail, TEXT, SCORES, LIMITS, json_length or b"%d" % len(head))
    assert (refused.value.status, refused.value.param) == (400, param)


def test_binary_numbers_must_fill_the_shape() -> None:
    """16 bytes are four FP32; 12 are not."""
    tensor = image(parameters={"binary_data_size": 12})
    del tensor["data"]
    head = body(tensor)
    with pytest.raises(HttpError, match=r"inputs\[0\]\.shape: 12 bytes"):
        parse_infer(head + bytes(12), IMAGE, SCORES, LIMITS, b"%d" % len(head))


def test_unknown_outputs_and_more_inputs_are_refused() -> None:
    """A wish that cannot be met is not ignored."""
    with pytest.raises(HttpError, match=r"outputs\[0\]\.name"):
        parse_infer(body(text(), outputs=[{"name": "logits"}]), TEXT, SCORES, LIMITS)
    with pytest.raises(HttpError, match="2 tensors"):
        parse_infer(json.dumps({"inputs": [text(), text()]}).encode(), TEXT, SCORES, LIMITS)


def test_the_reply_has_name_type_shape_and_data() -> None:
    """With the request's id, where it had one."""
    request = parse_infer(body(text(), id="42"), TEXT, SCORES, LIMITS)
    values = [np.array([1, 2, 3], np.float32), np.array([4, 5, 6], np.float32)]
    reply = infer_reply(request, values, endpoint="e", version=7, gives=SCORES, source="engine")
    assert json.loads(reply.body) == {
        "model_name": "e",
        "model_version": "7",
        "id": "42",
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}
        ],
    }


def test_metadata_says_what_the_model_takes() -> None:
    """-1 stands for the number of items."""
    described = metadata("e", 7, "p", IMAGE, SCORES)
    assert described.inputs == [TensorMetadata("x", "FP32", [-1, 2, 2])]
    assert described.outputs == [TensorMetadata("scores", "FP32", [-1, 3])]


@pytest.mark.parametrize("shape", [[1], [1, 1_000_000_000]])
def test_more_binary_texts_than_the_shape_counts_are_not_read(shape: list[int]) -> None:
    """Two million empty ones would hold up everybody else; the second tells enough."""
    tensor = text(shape=shape, parameters={"binary_data_size": 8_000_000})
    del tensor["data"]
    head = body(tensor)
    with pytest.raises(HttpError) as refused:
        parse_infer(head + bytes(8_000_000), TEXT, SCORES, LIMITS, b"%d" % len(head))
    assert (refused.value.status, refused.value.param) == (400, "inputs[0].shape")
    assert "does not fit 2 texts" in refused.value.message
