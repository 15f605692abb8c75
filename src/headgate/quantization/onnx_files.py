"""Quantized ONNX models, made with ONNX Runtime's quantizers; ranges of activations are our own.

Its calibrators keep what they see of every item in memory and know no masks, so activations are
observed here (``calibration``), one item at a time, and its QDQ quantizer is handed the ranges.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headgate.errors import EngineError
from headgate.quantization.calibration import Interval, Observed, refuse_non_finite
from headgate.quantization.facts import PRODUCTS
from headgate.quantization.products import named
from headgate.quantization.schemes import Calibration, Scheme
from headgate.workload import Tensors

__all__ = ["answered", "dynamic_int8", "observe", "ranges", "static_int8", "weights_by_group"]

_TABLES = "Gather"
"""Embedding tables are held in int8 too: nothing is multiplied, but they are half of the file."""


def dynamic_int8(scheme: Scheme, source: Path, out: Path) -> None:
    """Weights per column; activations quantized at run time, one scale *for the batch*."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The quantizer writes beside its input, which may be a read-only store: give it a link.
    link = out.with_name("source.onnx")
    link.symlink_to(source.resolve())
    with _quiet():
        quantize_dynamic(
            link,
            out,
            per_channel=True,
            reduce_range=scheme.reduced_weights,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(scheme.keep),
        )
    link.unlink()


def static_int8(scheme: Scheme, source: Path, out: Path, items: Iterable[Tensors]) -> None:
    """QDQ: products with a weight take int8 by fixed scales; what they give stays as it is."""
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType, TensorData, TensorsData
    from onnxruntime.quantization.calibrate import CalibrationMethod

    assert scheme.calibration is not None
    # The quantizer goes by names.
    model = named(onnx.shape_inference.infer_shapes(onnx.load_model(source)))
    products = [n for n in _weighted(model.graph, PRODUCTS) if n.name not in scheme.keep]
    tables = [n for n in _weighted(model.graph, (_TABLES,)) if n.name not in scheme.keep]
    if not products and not tables:  # the quantizer takes an empty list for all nodes
        out.write_bytes(source.read_bytes())
        return
    found = ranges(source, [n.input[0] for n in products], items, scheme.calibration)
    floats = {name: tuple(np.float32(end) for end in ends) for name, ends in found.items()}
    data = {n: TensorData(lowest=low, highest=high) for n, (low, high) in floats.items()}
    with _quiet():
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=scheme.reduced_weights,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=[n.name for n in (*products, *tables)],
            nodes_to_exclude=[],
            op_types_to_quantize=[*PRODUCTS, _TABLES],
            # A product that gives floats loses least, and the kernel adds the bias on the way.
            extra_options={
                "OpTypesToExcludeOutputQuantization": [*PRODUCTS, _TABLES],
                "QuantizeBias": False,
            },
        )
        quantizer.quantize_model()
    out.write_bytes(quantizer.model.model.SerializeToString(deterministic=True))


def weights_by_group(scheme: Scheme, source: Path, out: Path) -> None:
    """Weights of 8 or 4 bits with a scale for every ``group`` of a column: MatMulNBits."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with _quiet():
        quantizer = MatMulNBitsQuantizer(
            named(onnx.load_model(source)),
            bits=scheme.weight_bits,
            block_size=scheme.group or 128,
            is_symmetric=False,
            accuracy_level=scheme.accuracy_level,
            nodes_to_exclude=list(scheme.keep),
        )
        quantizer.process()
    out.write_bytes(quantizer.model.model.SerializeToString(deterministic=True))


def ranges(
    source: Path, tensors: Collection[str], items: Iterable[Tensors], calibration: Calibration
) -> Mapping[str, Interval]:
    """The range of each of ``tensors`` of the model, over all items, one in memory at a time.

    Raises ``InputError`` for NaN and infinity, with the names of the tensor and the item, and
    ``EngineError`` where the model cannot run.
    """
    observed = {name: Observed(calibration) for name in tensors}
    for seen in observe(source, tensors, items):
        for name, each in observed.items():
            each.add(seen[name])
    return {name: each.range for name, each in observed.items()}


def answered(source: Path, items: Iterable[Tensors]) -> int:
    """How many items there are. Raises as ``ranges`` does, of what the model answers to each."""
    return sum(1 for _ in observe(source, (), items))


def observe(
    source: Path, tensors: Collection[str], items: Iterable[Tensors]
) -> Iterator[Mapping[str, Any]]:
    """Name -> values of each item's inputs, of the model's outputs and of ``tensors``; finite."""
    import onnx
    import onnxruntime

    model = onnx.load_model(source)
    known = {each.name for each in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in dict.fromkeys(tensors) if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exception classes share no root below Exception
        raise EngineError(f"ONNX Runtime cannot run it: {error}", where=str(source)) from error
    del model
    inputs = [i.name for i in session.get_inputs()]
    outputs = [o.name for o in session.get_outputs()]
    for number, item in enumerate(items, 1):
        try:
            computed = session.run(outputs, {name: item[name] for name in inputs})
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {error}", where=str(source)) from error
        seen = {**item, **dict(zip(outputs, computed, strict=True))}
        for name, values in seen.items():
            refuse_non_finite(name, values, item=number)
        yield seen


def _weighted(graph: Any, operators: Sequence[str]) -> list[Any]:
    """The nodes of ``operators`` that read a float weight of the model."""
    import onnx

    weights = {w.name for w in graph.initializer if w.data_type == onnx.TensorProto.FLOAT}
    return [n for n in graph.node if n.op_type in operators and weights & set(n.input)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drops what the quantizers log of their own progress, and advice on preparing the model."""

    def keep(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root, handler = logging.getLogger(), logging.NullHandler()
    chatty = logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer")
    before = chatty.level
    root.addHandler(handler)
    root.addFilter(keep)
    chatty.setLevel(logging.ERROR)
    try:
        yield
    finally:
        chatty.setLevel(before)
        root.removeFilter(keep)
        root.removeHandler(handler)
