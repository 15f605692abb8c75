"""The products of a graph that have a weight: which they are, what they read, what they join.

Knows the ONNX format as it lies in memory; reads no file and runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.quantization.facts import PRODUCTS

__all__ = [
    "WeightedProduct",
    "named",
    "product_name",
    "weight_at",
    "weighted_nodes",
    "weighted_products",
]


@dataclass(frozen=True, slots=True)
class WeightedProduct:
    """One ``x @ weight`` of a graph."""

    name: str
    """Of its node, by which both engines' quantizers can be told to leave it alone."""
    reads: str
    """The tensor x, shape (..., inputs)."""
    joins: str
    """The tensor that it is a part of once all has been added to it that is added: a bias, and in
    a residual network the stream that the branch returns to. Shape (..., outputs)."""
    weight: NDArray[np.float32]
    """Shape (inputs, outputs)."""


def product_name(node: Any) -> str:
    """The node's name; of one that has none the tensor that it makes, as OpenVINO calls it."""
    name: str = node.name or node.output[0]
    return name


def named(model: Any) -> Any:
    """``model``, in which every node that had no name now has its ``product_name``."""
    for node in model.graph.node:
        node.name = product_name(node)
    return model


def weight_at(node: Any) -> int:
    """The place of the weight among a node's inputs: the second, of a table (Gather) the first."""
    return 0 if node.op_type == "Gather" else 1


def weighted_nodes(graph: Any, operators: Sequence[str] = PRODUCTS) -> list[Any]:
    """The nodes of ``operators`` that read a float32 weight of the model, in graph order: what can
    be quantized. Products of two activations are not among them."""
    import onnx

    weights = {w.name for w in graph.initializer if w.data_type == onnx.TensorProto.FLOAT}
    return [n for n in graph.node if n.op_type in operators and n.input[weight_at(n)] in weights]


def weighted_products(model: Any) -> tuple[WeightedProduct, ...]:
    """Those of an ``onnx.ModelProto``'s weighted nodes that are ``x @ weight``, in graph order.

    ``MatMul`` and plain ``Gemm`` with a matrix; what convolutions lose is not a product's.
    """
    import onnx

    graph = model.graph
    weights = {w.name: w for w in graph.initializer if len(w.dims) == 2}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for node in weighted_nodes(graph):
        transposed = _transposed(node)
        if transposed is None or node.input[1] not in weights:
            continue
        weight = onnx.numpy_helper.to_array(weights[node.input[1]])
        found.append(
            WeightedProduct(
                name=product_name(node),
                reads=node.input[0],
                joins=_joined(node.output[0], readers),
                weight=weight.T if transposed else weight,
            )
        )
    return tuple(found)


def _transposed(node: Any) -> bool | None:
    """Whether the product takes its right side transposed; None where it is no plain product."""
    if node.op_type == "MatMul":
        return False
    if node.op_type != "Gemm":
        return None
    said = {a.name: (a.f if a.name in ("alpha", "beta") else a.i) for a in node.attribute}
    if said.get("alpha", 1.0) != 1.0 or said.get("transA", 0):
        return None
    return bool(said.get("transB", 0))


def _joined(tensor: str, readers: dict[str, list[Any]]) -> str:
    """Follows ``tensor`` through additions as long as nothing else reads it."""
    while True:
        following = readers.get(tensor, [])
        if len(following) != 1 or following[0].op_type != "Add":
            return tensor
        tensor = following[0].output[0]
