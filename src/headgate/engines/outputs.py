"""What a model answers with, read from its graph: which output are the scores, and whether an
answer depends on the batch by construction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headgate.objects import Build

__all__ = ["batch_scaled", "keep_output", "scores_beside_labels"]


def scores_beside_labels(path: Path) -> str | None:
    """The output that holds a classifier's scores where its first is labels, as skl2onnx writes
    it: the first of floats, one row an item. None where there is nothing to choose."""
    import onnx

    graph = onnx.load_model(path, load_external_data=False).graph
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)

    def scores(value: onnx.ValueInfoProto) -> bool:
        tensor = value.type.tensor_type
        return tensor.elem_type in floats and len(tensor.shape.dim) == 2

    if len(graph.output) < 2 or scores(graph.output[0]):
        return None
    return next((o.name for o in graph.output if scores(o)), None)


def keep_output(path: Path, output: str, out: Path) -> None:
    """Writes the part of the model that computes ``output``, its only one then."""
    import onnx
    from onnx.utils import Extractor

    model = onnx.load_model(path)
    inputs = [i.name for i in model.graph.input]
    kept = Extractor(model).extract_model(inputs, [output])
    out.write_bytes(kept.SerializeToString(deterministic=True))


def batch_scaled(build: Build, path_of: Callable[[str], Path]) -> bool:
    """Whether activations get one scale for the whole batch when they are run, so that an answer
    depends on its neighbours' content however few examples show it (ONNX's DynamicQuantizeLinear:
    a scale for each tensor, not for each row)."""
    if "model.onnx" not in build.files:
        return False
    import onnx

    graph = onnx.load_model(path_of(build.files["model.onnx"]), load_external_data=False).graph
    return any(node.op_type == "DynamicQuantizeLinear" for node in graph.node)
