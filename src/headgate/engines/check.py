"""Is this file a model that can be served? Read before anything is spent on it.

Knows the ONNX format and nothing of engines: a model that passes may still hold an operator that
an engine does not have, which loading it will tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headgate.engines.signature import onnx_spec
from headgate.errors import InputError
from headgate.quantization.facts import PRODUCTS, ModelFacts

__all__ = ["ONNX_LIMIT_BYTES", "check_onnx"]

ONNX_LIMIT_BYTES = 2**31
"""Of protobuf: no ONNX file holds as much."""
_SAME_ELEMENTS = ("Identity", "Transpose", "Cast", "Reshape", "DequantizeLinear")


def check_onnx(path: Path) -> ModelFacts:
    """The facts of an ONNX model in one file.

    Raises ``InputError``, naming the file and where it applies the weight, for a file that is
    missing, truncated, not ONNX, over 2 GiB, invalid, with weights in other files, with an input
    that is no tensor, or with NaN or infinite weights. A single infinity is allowed: it is how
    attention masks are written. Of the outputs, the tensors are listed.
    """
    import onnx

    where = str(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=where, fix="check model: in headgate.yaml"
        ) from error
    if size >= ONNX_LIMIT_BYTES:
        raise InputError(
            f"{size} bytes; an ONNX file cannot hold 2 GiB",
            where=where,
            fix="export a smaller precision",
        )
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
        tensors = list(_tensors(model.graph))
        external = [t.name for t in tensors if t.data_location == t.EXTERNAL]
        if not external:
            onnx.checker.check_model(model)
    except Exception as error:  # protobuf's error type is not part of onnx's interface
        raise InputError(
            f"truncated, or not a valid ONNX model: {_first_line(error)}",
            where=where,
            fix="export or copy the file again",
        ) from error
    if external:
        whole_bytes = sum(_bytes(t) for t in tensors)
        if whole_bytes >= ONNX_LIMIT_BYTES:
            raise InputError(
                f"its weights take {whole_bytes / 1e9:.1f} GB, in other files, and one ONNX file, "
                "which is all that a digest can name, cannot hold 2 GiB",
                where=where,
                fix="export a smaller precision, such as fp16, or a smaller model",
            )
        raise InputError(
            f"keeps {len(external)} weights in other files, such as {external[0]!r}",
            where=where,
            fix="save it as one file (onnx.save_model without external data)",
        )
    for tensor in tensors:
        _check_finite(tensor, where)
    weights = {w.name: w for w in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    for each in inputs:
        if not each.type.HasField("tensor_type"):
            raise InputError(
                f"its input {each.name!r} is no tensor",
                where=where,
                fix="export it so that it takes tensors only",
            )
    sizes = {n: int(np.prod(w.dims, dtype=np.int64)) for n, w in weights.items()}
    counted = {n: s for n, s in sizes.items() if _is_weight(weights[n])}
    by_operator, weighted_products = _by_operator(model.graph, counted)
    return ModelFacts(
        inputs=tuple(map(onnx_spec, inputs)),
        outputs=tuple(onnx_spec(o) for o in model.graph.output if o.type.HasField("tensor_type")),
        parameters=sum(counted.values()),
        weight_bytes=sum(_bytes(weights[n]) for n in counted),
        opset=next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0),
        operators=dict(sorted(Counter(n.op_type for n in _nodes(model.graph)).items())),
        parameters_by_operator=by_operator,
        weighted_products=weighted_products,
    )


def _by_operator(graph: Any, sizes: dict[str, int]) -> tuple[dict[str, int], int]:
    """Weight elements by the operator that reads them, and products with a weight matrix."""
    # A weight's size travels with it through the operators that keep its elements.
    carried = dict(sizes)
    total: Counter[str] = Counter()
    weighted_products = 0
    for node in graph.node:  # ONNX requires topological order
        read = [carried[i] for i in node.input if i in carried]
        if node.op_type in _SAME_ELEMENTS and node.input and node.input[0] in carried:
            carried[node.output[0]] = carried[node.input[0]]
        elif read:
            total[node.op_type] += sum(read)
            weighted_products += node.op_type in PRODUCTS
    return dict(sorted(total.items())), weighted_products


def _check_finite(tensor: Any, where: str) -> None:
    import onnx

    if not _is_weight(tensor):
        return
    values = onnx.numpy_helper.to_array(tensor)
    if values.dtype.kind in "iu" or np.isfinite(values).all():
        return
    if values.size == 1 and not np.isnan(values).any():
        return
    what = "NaN" if np.isnan(values).any() else "infinite values"
    raise InputError(
        f"the weight {tensor.name!r} holds {what}",
        where=where,
        fix="the training or the export went wrong; use an earlier checkpoint",
    )


def _bytes(tensor: Any) -> int:
    """By its shape and type, wherever its content lies."""
    import onnx

    width: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(np.prod(tensor.dims, dtype=np.int64)) * width


def _is_weight(tensor: Any) -> bool:
    """Floating-point or quantized; int64 tensors are shapes and indices."""
    return tensor.data_type not in (tensor.INT64, tensor.INT32, tensor.BOOL, tensor.STRING)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
