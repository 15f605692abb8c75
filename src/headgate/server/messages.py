"""The protobuf messages that are spoken over gRPC, made from their text when this is imported.

No generated code: it would tie the package to one version of protobuf, and say in thousands of
bytes what stands here in a page. The descriptors live in a pool of their own, because a process
may hold somebody else's of the same names (Triton's client does).

Only names, numbers and types of fields go over the wire. So messages that the standards nest in
others stand by themselves here, a map is the repeated entry that it is on the wire, and what
nobody reads is left out: protobuf skips it.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["INFERENCE", "RPC"]

_INFERENCE = """
message ServerLiveRequest {}
message ServerLiveResponse { bool live = 1; }
message ServerReadyRequest {}
message ServerReadyResponse { bool ready = 1; }
message ModelReadyRequest { string name = 1; string version = 2; }
message ModelReadyResponse { bool ready = 1; }
message ServerMetadataRequest {}
message ServerMetadataResponse {
  string name = 1;
  string version = 2;
  repeated string extensions = 3;
}
message ModelMetadataRequest { string name = 1; string version = 2; }
message TensorMetadata { string name = 1; string datatype = 2; repeated int64 shape = 3; }
message ModelMetadataResponse {
  string name = 1;
  repeated string versions = 2;
  string platform = 3;
  repeated TensorMetadata inputs = 4;
  repeated TensorMetadata outputs = 5;
}
message InferParameter {
  bool bool_param = 1;
  int64 int64_param = 2;
  string string_param = 3;
  double double_param = 4;
  uint64 uint64_param = 5;
}
message InferParameterEntry { string key = 1; InferParameter value = 2; }
message InferTensorContents {
  repeated bool bool_contents = 1;
  repeated int32 int_contents = 2;
  repeated int64 int64_contents = 3;
  repeated uint32 uint_contents = 4;
  repeated uint64 uint64_contents = 5;
  repeated float fp32_contents = 6;
  repeated double fp64_contents = 7;
  repeated bytes bytes_contents = 8;
}
message InferInputTensor {
  string name = 1;
  string datatype = 2;
  repeated int64 shape = 3;
  InferTensorContents contents = 5;
}
message InferRequestedOutputTensor { string name = 1; repeated InferParameterEntry parameters = 2; }
message ModelInferRequest {
  string model_name = 1;
  string model_version = 2;
  string id = 3;
  repeated InferParameterEntry parameters = 4;
  repeated InferInputTensor inputs = 5;
  repeated InferRequestedOutputTensor outputs = 6;
  repeated bytes raw_input_contents = 7;
}
message InferOutputTensor {
  string name = 1;
  string datatype = 2;
  repeated int64 shape = 3;
  InferTensorContents contents = 5;
}
message ModelInferResponse {
  string model_name = 1;
  string model_version = 2;
  string id = 3;
  repeated InferOutputTensor outputs = 5;
  repeated bytes raw_output_contents = 6;
}
"""

_RPC = """
message Any { string type_url = 1; bytes value = 2; }
message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
message ErrorInfo { string reason = 1; string domain = 2; }
message FieldViolation { string field = 1; string description = 2; }
message BadRequest { repeated FieldViolation field_violations = 1; }
message Duration { int64 seconds = 1; int32 nanos = 2; }
message RetryInfo { Duration retry_delay = 1; }
"""

_MESSAGE = re.compile(r"message (\w+) \{([^}]*)\}")
_FIELD = re.compile(r"(repeated )?(\w+) (\w+) = (\d+);")
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64")


def _messages(package: str, text: str) -> dict[str, Any]:
    """Message classes by name."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"headgate/{package}", package=package, syntax="proto3"
    )
    for name, body in _MESSAGE.findall(text):
        message = file.message_type.add(name=name)
        for repeated, kind, field, number in _FIELD.findall(body):
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            made = message.field.add(name=field, number=int(number), label=label)
            if kind in _SCALARS:
                made.type = _Field.Type.Value(f"TYPE_{kind.upper()}")
            else:
                made.type, made.type_name = _Field.TYPE_MESSAGE, f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{package}.{message.name}")
        )
        for message in file.message_type
    }


INFERENCE = _messages("inference", _INFERENCE)
"""Of the Open Inference Protocol:
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

RPC = _messages("google.rpc", _RPC)
"""Of gRPC's richer error model, google.rpc.Status in the trailer ``grpc-status-details-bin``:
https://grpc.io/docs/guides/error/#richer-error-model"""
