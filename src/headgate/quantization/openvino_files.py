"""Quantized models in OpenVINO's format, made with NNCF, which takes its statistics itself.

It passes over NaN without a word, so the model answers every item first.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from headgate.errors import EngineError, InputError
from headgate.quantization.calibration import refuse_non_finite
from headgate.quantization.optional import load_nncf, load_openvino, without_torch
from headgate.quantization.products import product_name
from headgate.quantization.schemes import Scheme
from headgate.workload import Tensors

__all__ = ["MASK", "static_int8", "unchanged", "weights_by_group"]

MASK = "attention_mask"


def static_int8(scheme: Scheme, source: Path, out: Path, items: Iterable[Tensors]) -> None:
    """int8 weights and activations with fixed scales.

    A model with a mask is taken for a transformer: NNCF leaves more of it in floats, and smooths
    where the scheme says so.
    """
    openvino, nncf = load_openvino(scheme.name), load_nncf(scheme.name)
    graph = _read(openvino, source)
    calibration = scheme.calibration
    assert calibration is not None
    transformer = any(i.any_name == MASK for i in graph.inputs)
    smoothing = calibration.smoothing if calibration.smoothing is not None else -1.0
    estimators = nncf.quantization.range_estimator.RangeEstimatorParametersSet
    ranges = {
        "min_max": estimators.MINMAX,
        "mean_min_max": estimators.MEAN_MINMAX,
        "percentile": _quantiles(nncf, calibration.share),
        "mse": estimators.HISTOGRAM,
    }
    if calibration.method not in ranges:
        raise InputError(
            f"NNCF has no calibration by {calibration.method}",
            where=scheme.name,
            fix=f"take one of {', '.join(ranges)}",
        )
    with _explained(nncf, source):
        quantized = nncf.quantize(
            graph,
            nncf.Dataset(items),
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=_answered(openvino, graph, items),
            ignored_scope=nncf.IgnoredScope(names=_named(graph, source, scheme.keep)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE if scheme.reduced_weights else None,
                # It keeps a mean of every channel of every item, and brought nothing (decision 37).
                disable_bias_correction=True,
                activations_range_estimator_params=ranges[calibration.method],
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=smoothing),
            ),
        )
    _save(openvino, quantized, out)


def weights_by_group(scheme: Scheme, source: Path, out: Path) -> None:
    """Weights of 4 bits with a scale for every ``group`` of a column, or of 8 for each column.

    Embedding tables, and the last product, take 8 bits.
    """
    openvino, nncf = load_openvino(scheme.name), load_nncf(scheme.name)
    graph = _read(openvino, source)
    modes = nncf.CompressWeightsMode
    with _explained(nncf, source):
        compressed = nncf.compress_weights(
            graph,
            mode=modes.INT4_SYM if scheme.weight_bits == 4 else modes.INT8_SYM,
            group_size=scheme.group if scheme.weight_bits == 4 else None,
            ignored_scope=nncf.IgnoredScope(names=_named(graph, source, scheme.keep)),
        )
    _save(openvino, compressed, out)


def unchanged(source: Path, out: Path) -> None:
    """The same model in OpenVINO's format, weights as they are."""
    openvino = load_openvino("OpenVINO's model format")
    _save(openvino, _read(openvino, source), out)


def _named(graph: Any, source: Path, keep: Sequence[str]) -> list[str]:
    """What OpenVINO calls the nodes of the ONNX model ``source`` that are called ``keep`` there.

    Its own names are the same but for nodes that make an output of the model, and for a Gemm, which
    becomes a product and an addition. Tensors keep their names: a node is found by what it makes.
    """
    import onnx

    kept = set(keep)
    nodes = onnx.load_model(source).graph.node if kept else ()
    made = {name for node in nodes if product_name(node) in kept for name in node.output}
    found = []
    for node in graph.get_ops():
        if not any(made & set(output.get_names()) for output in node.outputs()):
            continue
        # alpha (x @ w) + beta b, where the product has no tensor of its own
        product = node
        while product.get_type_name() in ("Add", "Multiply"):
            product = product.input_value(0).get_node()
        is_gemm = product.get_type_name() == "MatMul" and not product.output(0).get_names()
        found.append((product if is_gemm else node).get_friendly_name())
    return sorted(found)


def _quantiles(nncf: Any, share: float) -> Any:
    """The mean over items of each item's quantiles: NNCF has none over all values."""
    ranges = nncf.quantization.range_estimator
    one = ranges.StatisticsCollectorParameters(
        statistics_type=ranges.StatisticsType.QUANTILE,
        aggregator_type=ranges.AggregatorType.MEAN,
        quantile_outlier_prob=(1 - share) / 2,
    )
    return ranges.RangeEstimatorParameters(min=one, max=one)


def _answered(openvino: Any, graph: Any, items: Iterable[Tensors]) -> int:
    """How many items there are. ``InputError`` for NaN in one of them, or in the answer to it."""
    answers = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_NUM_THREADS": 1})
    count = 0
    for item in items:
        count += 1
        for name, values in item.items():
            refuse_non_finite(name, values, item=count)
        for output, values in answers(dict(item)).items():
            refuse_non_finite(output.any_name, values, item=count)
    return count


@contextlib.contextmanager
def _explained(nncf: Any, source: Path) -> Iterator[None]:
    """NNCF's errors as ours, and its progress bars off stdout, where results go."""
    try:
        with without_torch(), contextlib.redirect_stdout(io.StringIO()):
            yield
    except InputError:
        raise
    except (RuntimeError, ValueError, KeyError, nncf.ValidationError) as error:
        raise EngineError(f"NNCF cannot quantize it: {error}", where=str(source)) from error


def _read(openvino: Any, source: Path) -> Any:
    try:
        return openvino.Core().read_model(str(source))
    except RuntimeError as error:
        # Where in its source it stopped comes first; what the model has that it has not, last.
        lines = [line.strip("- ") for line in str(error).splitlines() if line.strip()]
        what = lines[-1] if lines else "it does not say why"
        raise EngineError(f"OpenVINO cannot read it: {what}", where=str(source)) from error


def _save(openvino: Any, model: Any, xml: Path) -> None:
    openvino.save_model(model, str(xml), compress_to_fp16=False)
    xml.write_text(_canonical_names(xml.read_text(encoding="utf-8")), encoding="utf-8")


def _canonical_names(xml: str) -> str:
    """Layers that OpenVINO named by a counter of the process (``Constant_4711``) by their id.

    The counter goes on from one conversion to the next, and with it the digest would change.
    """
    return re.sub(
        r'(<layer id="(\d+)" name=")([A-Za-z]+)_\d+(?=" type="(?!Parameter|Result))',
        lambda m: f"{m[1]}{m[3]}_{m[2]}",
        xml,
    )
