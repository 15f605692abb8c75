"""A build's inputs and outputs, read from its model file without loading an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from headgate.errors import InputError
from headgate.objects import CASCADE, Build, parts_of
from headgate.quantization.facts import TensorSpec
from headgate.quantization.optional import load_openvino

__all__ = ["model_inputs", "onnx_spec"]


def model_inputs(build: Build, path_of: Callable[[str], Path]) -> tuple[TensorSpec, ...]:
    """The model's inputs in its own order; of a cascade the teacher's, which its student shares.

    Raises ``InputError``, ``MissingExtra``.
    """
    if build.engine == CASCADE:
        return model_inputs(parts_of(build).teacher, path_of)
    if "model.xml" in build.files:
        openvino = load_openvino("an OpenVINO model")
        xml, weights = path_of(build.files["model.xml"]), path_of(build.files["model.bin"])
        try:
            model = openvino.Core().read_model(str(xml), str(weights))
        except RuntimeError as error:
            raise InputError(f"not an OpenVINO model: {error}", where=str(xml)) from error
        return tuple(
            TensorSpec(
                i.any_name,
                i.element_type.to_dtype().name,
                tuple(d.get_length() if d.is_static else None for d in i.partial_shape),
            )
            for i in model.inputs
        )
    import onnx

    path = path_of(build.files["model.onnx"])
    try:
        graph = onnx.load_model(path, load_external_data=False).graph
    except Exception as error:  # protobuf's error type is not part of onnx's interface
        raise InputError(f"not an ONNX model: {error}", where=str(path)) from error
    weights_too = {w.name for w in graph.initializer}
    return tuple(onnx_spec(i) for i in graph.input if i.name not in weights_too)


def onnx_spec(value: Any) -> TensorSpec:
    """A tensor's ``onnx.ValueInfoProto`` as a spec; a dimension without a number is dynamic."""
    import onnx

    tensor = value.type.tensor_type
    return TensorSpec(
        value.name,
        "str"
        if tensor.elem_type == onnx.TensorProto.STRING
        else str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)),
        tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim),
    )
