"""A small student as ONNX: what ``distillation.heads`` trained, with its teacher's inputs and its
teacher's kind of scores, or of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from headgate.distillation.heads import Head, ValueHead
from headgate.distillation.values import Doubt
from headgate.quantization.facts import TensorSpec

__all__ = ["export_head", "export_value_head", "token_table"]

_OPSET = 18
_IR_VERSION = 10
_IDS, _MASK = "input_ids", "attention_mask"


def export_head(
    head: Head, inputs: Sequence[TensorSpec], out: Path, *, probabilities: bool
) -> None:
    """Writes ``out``: scores (batch, classes), probabilities or logits.

    ``inputs`` are the teacher's; the student has those that it uses, of the same name, type and
    shape. Of texts it takes the mean over all tokens that are no padding.
    """
    graph = _Graph()
    scores = _answers(graph, head, _features(graph, head, inputs))
    graph.add("Softmax" if probabilities else "Identity", scores, to_name="scores")
    classes = len(head.layers[-1][1])
    _write(graph, head, inputs, TensorSpec("scores", "float32", (None, classes)), out)


def export_value_head(
    made: ValueHead, inputs: Sequence[TensorSpec], out: Path, *, dtype: str, doubts: bool
) -> None:
    """Writes ``out``: values (batch, values) of ``dtype``, the teacher's; where it ``doubts`` with
    one column more, the logarithm of how far off they may be (``Doubt.of``). ``inputs`` as of
    ``export_head``."""
    graph, standard = _Graph(), made.standard
    wide = np.promote_types(dtype, np.float32)
    x = _features(graph, made.head, inputs)
    scaled, width = _answers(graph, made.head, x), len(standard.mean)
    said = graph.add("Cast", scaled, to=_onnx_type(wide.name))
    said = graph.add("Mul", said, graph.constant(standard.deviation.astype(wide)))
    said = graph.add("Add", said, graph.constant(standard.mean.astype(wide)))
    if doubts:
        far_off = graph.add("Cast", _doubt(graph, made.doubt, x), to=_onnx_type(wide.name))
        said = graph.add("Concat", said, far_off, axis=1)
        width += 1
    graph.add("Cast", said, to_name="values", to=_onnx_type(dtype))
    _write(graph, made.head, inputs, TensorSpec("values", dtype, (None, width)), out)


def token_table(path: Path) -> NDArray[np.float32] | None:
    """The vectors (vocabulary, dimensions) that a model of texts looks its tokens up in: the
    weights that are gathered by ``input_ids``. None where there are none of floats."""
    graph = onnx.load_model(path, load_external_data=False).graph
    weights = {w.name: w for w in graph.initializer}
    ids = {_IDS}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in ids:
            ids.add(node.output[0])
        if node.op_type == "Gather" and node.input[1] in ids and node.input[0] in weights:
            table = numpy_helper.to_array(weights[node.input[0]])
            if table.ndim == 2 and table.dtype.kind == "f":
                vectors: NDArray[np.float32] = table.astype(np.float32)
                return vectors
    return None


def _used(head: Head, inputs: Sequence[TensorSpec]) -> Sequence[TensorSpec]:
    """Those of the teacher's inputs that the student has too."""
    if head.table is None:
        return inputs[:1]
    return [i for i in inputs if i.name in (_IDS, _MASK)]


def _features(graph: _Graph, head: Head, inputs: Sequence[TensorSpec]) -> str:
    """What the layers take: the mean of an item's tokens, or its numbers on their scale."""
    if head.table is not None:
        return _mean_of_tokens(graph, head.table, masked=_MASK in [i.name for i in inputs])
    assert head.mean is not None
    assert head.scale is not None
    x = graph.add("Cast", inputs[0].name, to=TensorProto.FLOAT)
    x = graph.add("Flatten", x, axis=1)
    x = graph.add("Sub", x, graph.constant(head.mean))
    return graph.add("Div", x, graph.constant(head.scale))


def _answers(graph: _Graph, head: Head, x: str) -> str:
    for i, (weight, bias) in enumerate(head.layers):
        x = graph.add("Gemm", x, graph.constant(weight), graph.constant(bias))
        if i + 1 < len(head.layers):
            x = graph.add("Relu", x)
    return x


def _doubt(graph: _Graph, doubt: Doubt, x: str) -> str:
    """``doubt.of(x)``, (items, 1). NaN lies neither above the low end nor below the high one."""
    both = graph.add("Concat", x, graph.add("Mul", x, x), axis=1)
    far_off = graph.add("Gemm", both, graph.constant(doubt.weight), graph.constant(doubt.bias))
    far_off = graph.add("Max", far_off, graph.constant(doubt.least))
    above = graph.add("GreaterOrEqual", x, graph.constant(doubt.low))
    below = graph.add("LessOrEqual", x, graph.constant(doubt.high))
    inside = graph.add("Cast", graph.add("And", above, below), to=TensorProto.FLOAT)
    inside = graph.add("ReduceMin", inside, graph.constant(np.array([1])), keepdims=1)
    inside = graph.add("Cast", inside, to=TensorProto.BOOL)
    return graph.add("Where", inside, far_off, graph.constant(np.array([np.inf], np.float32)))


def _write(
    graph: _Graph, head: Head, inputs: Sequence[TensorSpec], output: TensorSpec, out: Path
) -> None:
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "student",
            [_value(i) for i in _used(head, inputs)],
            [_value(output, rows="batch")],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    onnx.checker.check_model(model)
    out.write_bytes(model.SerializeToString(deterministic=True))


def _mean_of_tokens(graph: _Graph, table: NDArray[np.float32], *, masked: bool) -> str:
    vectors = graph.add("Gather", graph.constant(table), _IDS)
    axis = graph.constant(np.array([1]))
    if not masked:
        return graph.add("ReduceMean", vectors, axis, keepdims=0)
    mask = graph.add("Cast", _MASK, to=TensorProto.FLOAT)
    mask = graph.add("Unsqueeze", mask, graph.constant(np.array([-1])))
    total = graph.add("ReduceSum", graph.add("Mul", vectors, mask), axis, keepdims=0)
    return graph.add("Div", total, graph.add("ReduceSum", mask, axis, keepdims=0))


class _Graph:
    """Nodes and weights, named as they come."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, to_name: str | None = None, **given: Any) -> str:
        output = to_name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **given))
        return output

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _value(spec: TensorSpec, *, rows: str = "d0") -> onnx.ValueInfoProto:
    """``rows`` is the name of the first dimension, where that is free."""
    shape = [(f"d{i}" if i else rows) if d is None else d for i, d in enumerate(spec.shape)]
    return helper.make_tensor_value_info(spec.name, _onnx_type(spec.dtype), shape)


def _onnx_type(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
