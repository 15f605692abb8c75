"""A static student as an ONNX graph: texts' tokens in, unit-length embeddings out, no layer.

``normalise((mask @ table[ids]) @ basis)``: a token weighs as much as its row is long, and what a
mean would divide by is lost in the normalisation. Inputs and output are those of ``export_torch``,
so whatever serves an encoder serves this.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.encoder import read_weights
from headgate.engines.export_torch import EXPORT_TOLERANCE, OUTPUT_NAME
from headgate.errors import EngineError, InputError

if TYPE_CHECKING:
    import onnx

__all__ = ["export_table"]

_OPSET, _IR = 18, 10
_LEAST_LENGTH = 1e-12
_LENGTHS = (1, 2, 3, 5, 8, 13)


def export_table(state: Path, out: Path, *, seed: int = 0) -> float:
    """Writes ``out``, the ONNX model of the static student in ``state``; how far off it is.

    ``state`` is the safetensors file of ``train_student``: ``table`` (vocabulary, k) and ``basis``
    (k, d). Inputs ``input_ids`` and ``attention_mask`` are int64 (batch, length); the output
    ``sentence_embedding`` is float32 (batch, d). The check runs a padded batch of random texts
    (``seed``) through ONNX Runtime and computes each of them alone in numpy.

    Raises ``InputError`` for another file, ``EngineError`` where the graph differs; nothing is
    written then.
    """
    tensors = read_weights(state)
    if tensors.keys() != {"table", "basis"}:
        raise InputError(
            f"holds {', '.join(sorted(tensors)[:3])}, not table and basis",
            where=str(state),
            fix="give the state of a static student",
        )
    table, basis = tensors["table"].numpy(), tensors["basis"].numpy()
    content = _graph(table, basis).SerializeToString(deterministic=True)
    worst = _compare(content, table, basis, np.random.default_rng(seed))
    if not worst <= EXPORT_TOLERANCE:
        raise EngineError(
            f"the exported table differs from numpy by {worst:.2g} (allowed: {EXPORT_TOLERANCE:g})",
            where=str(state),
            fix="try the onnxruntime of the constraints file",
        )
    partial = out.with_name(out.name + ".partial")
    partial.write_bytes(content)
    partial.replace(out)
    return worst


def _graph(table: NDArray[np.float32], basis: NDArray[np.float32]) -> onnx.ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    constants: dict[str, NDArray[np.generic]] = {
        "table": table,
        "basis": basis,
        "axis_1": np.array([1], np.int64),
        "least_length": np.array([_LEAST_LENGTH], np.float32),
    }
    graph = helper.make_graph(
        [
            node("Gather", ["table", "input_ids"], ["rows"], axis=0),
            node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["mask", "axis_1"], ["weights"]),
            node("MatMul", ["weights", "rows"], ["sums"]),
            node("Squeeze", ["sums", "axis_1"], ["sum"]),
            node("MatMul", ["sum", "basis"], ["answer"]),
            node("ReduceL2", ["answer", "axis_1"], ["length"], keepdims=1),
            node("Max", ["length", "least_length"], ["divisor"]),
            node("Div", ["answer", "divisor"], [OUTPUT_NAME]),
        ],
        "static_student",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["batch", basis.shape[1]])],
        [numpy_helper.from_array(np.ascontiguousarray(v), n) for n, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def _compare(
    content: bytes,
    table: NDArray[np.float32],
    basis: NDArray[np.float32],
    rng: np.random.Generator,
) -> float:
    """The largest difference in any component; NaN where either has one."""
    import onnxruntime

    texts = [rng.integers(0, len(table), length) for length in _LENGTHS]
    ids = np.zeros((len(texts), max(_LENGTHS)), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    got = session.run([OUTPUT_NAME], {"input_ids": ids, "attention_mask": mask})[0]
    sums = np.stack([table[text].mean(axis=0) @ basis for text in texts])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return float(np.abs(got - sums / np.maximum(lengths, _LEAST_LENGTH)).max())
