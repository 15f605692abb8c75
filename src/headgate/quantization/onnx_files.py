"""Quantized ONNX models, made with ONNX Runtime's quantizers; ranges of activations are our own.

Its calibrators keep what they see of every item in memory and know no masks, so activations are
observed here (``calibration``), one item at a time, and its QDQ quantizer is handed the ranges.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headgate.errors import EngineError
from headgate.quantization.calibration import Interval, Observed, refuse_non_finite
from headgate.quantization.facts import PRODUCTS
from headgate.quantization.products import named, product_name, weight_at, weighted_nodes
from headgate.quantization.schemes import Calibration, Scheme
from headgate.workload import Tensors

__all__ = ["dynamic_int8", "observe", "ranges", "static_int8", "weights_by_group"]

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
            # It makes a MatMul of every Gemm first, under this name.
            nodes_to_exclude=[*scheme.keep, *(f"{name}_MatMul" for name in scheme.keep)],
        )
    link.unlink()


def static_int8(scheme: Scheme, source: Path, out: Path, items: Iterable[Tensors]) -> None:
    """QDQ: products with a weight take int8 by fixed scales; what they give stays as it is."""
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType, TensorData, TensorsData
    from onnxruntime.quantization.calibrate import CalibrationMethod

    assert scheme.calibration is not None
    given = [n.input[0] for n in _chosen(onnx.load_model(source).graph, PRODUCTS, scheme.keep)]
    seen = ranges(source, given, items, scheme.calibration, scratch=out.parent)
    model = named(onnx.load_model(source))  # the quantizer goes by names
    chosen = _chosen(model.graph, (*PRODUCTS, _TABLES), scheme.keep)
    if not chosen:  # the quantizer takes an empty list for all nodes
        out.write_bytes(source.read_bytes())
        return
    own = _apart(model.graph, chosen)
    found = {own[name]: ends for name, ends in seen.items()}
    # It wants types, and would infer all shapes on two copies of the model, but for this mark.
    floating = found.keys() | {n.output[0] for n in chosen if n.op_type == _TABLES}
    model.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in sorted(floating - {i.name for i in model.graph.input})
    )
    model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
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
            nodes_to_quantize=[n.name for n in chosen],
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
    """Weights of 8 or 4 bits with a scale for every ``group`` of a column: MatMulNBits.

    Tables too in 4 bits, where ONNX Runtime has a kernel for them.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with _quiet():
        quantizer = MatMulNBitsQuantizer(
            named(onnx.load_model(source)),
            bits=scheme.weight_bits,
            block_size=scheme.group or 128,
            is_symmetric=False,
            accuracy_level=scheme.accuracy_level,
            op_types_to_quantize=("MatMul", _TABLES) if scheme.weight_bits == 4 else ("MatMul",),
            nodes_to_exclude=list(scheme.keep),
        )
        quantizer.process()
    out.write_bytes(quantizer.model.model.SerializeToString(deterministic=True))


def ranges(
    source: Path,
    tensors: Collection[str],
    items: Iterable[Tensors],
    calibration: Calibration,
    *,
    scratch: Path,
) -> Mapping[str, Interval]:
    """The range of each of ``tensors`` of the model, over all items, one in memory at a time.

    Raises ``InputError`` for NaN and infinity, with the names of the tensor and the item, and
    ``EngineError`` where the model cannot run.
    """
    observed = {name: Observed(calibration) for name in tensors}
    for seen in observe(source, observed, items, scratch=scratch) if observed else ():
        for name, each in observed.items():
            each.add(seen[name])
    return {name: each.range for name, each in observed.items()}


def observe(
    source: Path, tensors: Collection[str], items: Iterable[Tensors], *, scratch: Path
) -> Iterator[Mapping[str, Any]]:
    """Name -> values of each item's inputs, of the model's outputs and of ``tensors``; finite."""
    shown = scratch / "observed.onnx"
    _show(source, tensors, shown)
    yield from _run(shown, items, source)
    shown.unlink()


def _show(source: Path, tensors: Collection[str], out: Path) -> None:
    """The same model with ``tensors`` as further outputs.

    Two messages one after the other are one message with the lists of both (protobuf's encoding,
    "last one wins"), so nothing of the weights has to pass through memory.
    """
    import onnx

    graph = onnx.load_model(source).graph
    known = {each.name for each in (*graph.output, *graph.input)}
    more = onnx.ModelProto()
    more.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in tensors if name not in known
    )
    shutil.copyfile(source, out)
    with out.open("ab") as file:
        file.write(more.SerializeToString())


def _run(model: Path, items: Iterable[Tensors], source: Path) -> Iterator[Mapping[str, Any]]:
    """Name -> values of each item's inputs and of all that the model gives; all of it finite."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exception classes share no root below Exception
        raise EngineError(f"ONNX Runtime cannot run it: {error}", where=str(source)) from error
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


def _apart(graph: Any, chosen: Sequence[Any]) -> Mapping[str, str]:
    """Lets the nodes ``chosen`` read what nobody else does: tensor -> what they read in its place.

    The quantizer rounds a tensor for all who read it. A residual sum, or a layer that is to be
    kept, would get what was rounded for another; and it forgets a Gemm's beta beside a float bias.
    """
    import onnx

    names = {node.name for node in chosen}
    stored = {w.name: w for w in graph.initializer}
    others = {name for n in graph.node if n.name not in names for name in n.input}
    own: dict[str, str] = {}
    nodes: list[Any] = []
    for node in graph.node:
        if node.name not in names:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            if name in own:
                node.input[place] = own[name]
            elif place == weight_at(node) and name in others:
                own[name] = node.input[place] = f"{name}_quantized"
                copy = graph.initializer.add()
                copy.CopyFrom(stored[name])
                copy.name = own[name]
            elif place == 0 and node.op_type in PRODUCTS:
                own[name] = node.input[place] = f"{name}_quantized"
                nodes.append(onnx.helper.make_node("Identity", [name], [own[name]], own[name]))
        nodes += _beta_in_bias(graph, node)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return own


def _beta_in_bias(graph: Any, node: Any) -> list[Any]:
    """What multiplies a Gemm's bias by its beta, which is 1 from then on; nothing where it is."""
    import onnx

    beta = next((a for a in node.attribute if node.op_type == "Gemm" and a.name == "beta"), None)
    if beta is None or beta.f == 1 or len(node.input) < 3:
        return []
    scale, bias = f"{node.name}_beta", f"{node.name}_bias"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(beta.f, np.float32), scale))
    product = onnx.helper.make_node("Mul", [node.input[2], scale], [bias], bias)
    beta.f, node.input[2] = 1.0, bias
    return [product]


def _chosen(graph: Any, operators: Sequence[str], keep: Collection[str]) -> list[Any]:
    """The weighted nodes of ``operators``, but for those to keep."""
    return [n for n in weighted_nodes(graph, operators) if product_name(n) not in keep]


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
