"""What a model answers with, read from its graph: which output are the scores, and whether an
answer depends on the batch by construction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headgate.errors import InputError
from headgate.objects import CASCADE, Build, parts_of

__all__ = ["batch_scaled", "check_answer", "class_labels", "keep_output", "scores_beside_labels"]

_CLASSES = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")


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


def check_answer(path: Path, task: str) -> None:
    """Raises ``InputError`` where no output holds what ``task`` answers with, because it is no
    tensor: skl2onnx packs a classifier's scores into a sequence of maps unless it is told not to.
    """
    import onnx

    outputs = onnx.load_model(path, load_external_data=False).graph.output
    packed = [o.name for o in outputs if not o.type.HasField("tensor_type")]
    if not packed:
        return
    if task == "classify" and scores_beside_labels(path) is None:
        raise InputError(
            f"its output {packed[0]!r} is no tensor, and no other holds the scores of the classes",
            where=str(path),
            reason="no_scores",
            fix='export it with `options={id(model): {"zipmap": False}}`, or name a function that '
            "returns the estimator: `model: {sklearn: ...}`",
        )
    if task != "classify" and outputs[0].name in packed:
        raise InputError(
            f"its first output, {packed[0]!r}, is no tensor",
            where=str(path),
            reason="no_answer",
            fix="export it with the tensor to be answered with as its first output",
        )


def class_labels(path: Path) -> tuple[str, ...]:
    """The names of the classes, in the order of the scores: those that an operator of a classifier
    lists (ai.onnx.ml: linear, trees, support vectors), or the list that the index of the largest
    score picks the label from, as skl2onnx writes other classifiers. None where there is neither.
    """
    import onnx

    graph = onnx.load_model(path, load_external_data=False).graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in _CLASSES and (attribute.ints or attribute.strings):
                names = (name.decode(errors="replace") for name in attribute.strings)
                return (*names, *map(str, attribute.ints))
    lists = {each.name: each for each in graph.initializer}
    largest = {n.output[0] for n in graph.node if n.op_type == "ArgMax"}
    for node in graph.node:
        if node.op_type != "ArrayFeatureExtractor":
            continue
        source, index = node.input
        if source in lists and index in largest:
            values = onnx.numpy_helper.to_array(lists[source]).ravel().tolist()
            return tuple(v.decode() if isinstance(v, bytes) else str(v) for v in values)
    return ()


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
    a scale for each tensor, not for each row). A cascade does where a part of it does."""
    if build.engine == CASCADE:
        parts = parts_of(build)
        return batch_scaled(parts.student, path_of) or batch_scaled(parts.teacher, path_of)
    if "model.onnx" not in build.files:
        return False
    import onnx

    graph = onnx.load_model(path_of(build.files["model.onnx"]), load_external_data=False).graph
    return any(node.op_type == "DynamicQuantizeLinear" for node in graph.node)
