"""The messages made from their text are those of the standards, as other people's code has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from tritonclient.grpc import service_pb2

from headgate.server.messages import INFERENCE, RPC


def everything(messages: Any) -> Iterator[Any]:
    """Descriptors by depth: messages, and those that stand within them."""
    for message in messages:
        yield message
        yield from everything(message.nested_types)


def of(*modules: Any) -> dict[str, Any]:
    tops = [m for module in modules for m in module.DESCRIPTOR.message_types_by_name.values()]
    found = list(everything(tops))
    return {m.name: m for m in found} | {m.full_name: m for m in found}


THEIRS = {
    "inference": of(service_pb2),
    "google.rpc": of(status_pb2, error_details_pb2, any_pb2, duration_pb2),
}
# A map is on the wire what the repeated entry is.
SAME = {"InferParameterEntry": "inference.ModelInferRequest.ParametersEntry"}


def theirs_of(package: str, name: str) -> Any:
    return THEIRS[package][SAME.get(name, name)]


@pytest.mark.parametrize("ours", [*INFERENCE.values(), *RPC.values()], ids=lambda m: m.__name__)
def test_every_field_has_its_number_and_type(ours: Any) -> None:
    """Compared with the generated code of Triton's client and of googleapis."""
    package = ours.DESCRIPTOR.file.package
    for field in ours.DESCRIPTOR.fields:
        other = theirs_of(package, ours.DESCRIPTOR.name).fields_by_name[field.name]
        assert (field.number, field.type) == (other.number, other.type)
        assert field.is_repeated == other.is_repeated
        if field.message_type is not None:
            name = field.message_type.name
            assert theirs_of(package, name).name == other.message_type.name


def test_what_the_client_writes_is_read() -> None:
    """Every way to send values, and a parameter of each kind."""
    theirs = service_pb2.ModelInferRequest(model_name="m", model_version="2", id="7")
    tensor = theirs.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    tensor.contents.fp32_contents.extend([0.5, -1.0])
    tensor.parameters["unread"].bool_param = True
    theirs.outputs.add(name="y").parameters["classification"].int64_param = 3
    theirs.raw_input_contents.append(b"\x00\x01")
    ours = INFERENCE["ModelInferRequest"].FromString(theirs.SerializeToString())
    assert (ours.model_name, ours.model_version, ours.id) == ("m", "2", "7")
    assert list(ours.inputs[0].shape) == [1, 2]
    assert list(ours.inputs[0].contents.fp32_contents) == [0.5, -1.0]
    (entry,) = ours.outputs[0].parameters
    assert (entry.key, entry.value.int64_param) == ("classification", 3)
    assert list(ours.raw_input_contents) == [b"\x00\x01"]
