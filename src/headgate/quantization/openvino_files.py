"""Quantized models in OpenVINO's format, made with NNCF, which takes its statistics itself.

It passes over NaN without a word, so items and answers are looked at here.
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
from headgate.quantization.products import product_name, weighted_nodes
from headgate.quantization.schemes import Scheme
from headgate.workload import Tensors

__all__ = ["MASK", "static_int8", "unchanged", "watched", "weights_by_group"]

MASK = "attention_mask"
_PRODUCTS = ("Convolution", "GroupConvolution", "MatMul")
"""What OpenVINO makes of ``facts.PRODUCTS``, with biases and factors behind them."""
_KERNELS = 100
"""A small encoder has about as many nodes that take one."""


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
    if not transformer:
        calibration = calibration.without_mask()
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
    with _explained(nncf, source), watched(openvino, graph):
        quantized = nncf.quantize(
            graph,
            nncf.Dataset(items),
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=_counted(items),
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

    Its own names are the same but for nodes that make an output of the model, and for a product
    with a bias, which becomes two nodes. Tensors keep their names: a node is found by what it
    makes. Raises ``InputError`` for one that is not found: a model must not keep less than it says.
    """
    if not keep:
        return []
    import onnx

    model = onnx.load_model(source).graph
    made = {name: product_name(node) for node in model.node for name in node.output}
    wanted = {name for name, by in made.items() if by in keep}
    found: dict[str, str] = {}
    for node in graph.get_ops():
        tensors = {name for output in node.outputs() for name in output.get_names()}
        for tensor in wanted & tensors:
            found[made[tensor]] = _product_behind(node).get_friendly_name()
    missing = sorted(set(keep) - found.keys())
    if missing:
        known = ", ".join(product_name(node) for node in weighted_nodes(model))
        raise InputError(
            f"OpenVINO's reading of the model has no node {missing[0]!r} to keep as it is",
            where=str(source),
            fix=f"name others of its products: {known}",
        )
    return sorted(found.values())


def _product_behind(node: Any) -> Any:
    """The product whose bias and factors end in ``node``; ``node`` itself where there is none.

    alpha (x @ w) + beta b, and a convolution's bias: what lies between has no tensor of the model.
    """
    behind = node
    while behind.get_type_name() in ("Add", "Multiply"):
        behind = behind.input_value(0).get_node()
        if behind.output(0).get_names():
            return node
        if behind.get_type_name() in _PRODUCTS:
            return behind
    return node


def _quantiles(nncf: Any, share: float) -> Any:
    """The mean over items of each item's quantiles: NNCF has none over all values."""
    ranges = nncf.quantization.range_estimator
    one = ranges.StatisticsCollectorParameters(
        statistics_type=ranges.StatisticsType.QUANTILE,
        aggregator_type=ranges.AggregatorType.MEAN,
        quantile_outlier_prob=(1 - share) / 2,
    )
    return ranges.RangeEstimatorParameters(min=one, max=one)


@contextlib.contextmanager
def watched(openvino: Any, graph: Any) -> Iterator[None]:
    """Inside it NNCF takes no NaN for an answer of ``graph``, and remembers in bounded memory.

    Its mean over items keeps what it saw of every item, for every tensor (30 KB an item of a small
    encoder): here it is a running one, in float64. And its engine keeps kernels for every length of
    text that it met (half a megabyte each): here for a few. ``InputError`` for NaN or infinity in
    the answer to an item.
    """
    answers = [output.any_name for output in graph.outputs]

    from nncf.common.tensor_statistics import collectors
    from nncf.openvino import engine
    from nncf.quantization.range_estimator import AggregatorType
    from nncf.tensor.definitions import TensorDataType

    class RunningMean(collectors.MeanAggregator):  # type: ignore[misc]  # NNCF is loaded untyped
        """Of arrays of one shape, since each item is reduced alone."""

        _container: list[Any]
        """The sum of all items."""

        def _register_reduced_input_impl(self, x: Any) -> None:
            wide = x.astype(TensorDataType.float64)
            self._container = [self._container[0] + wide if self._container else wide]

        def _aggregate_impl(self) -> Any:
            mean = self._container[0] / self._collected_samples
            return mean.astype(TensorDataType.float32)

    class FewKernels(engine.OVNativeEngine):  # type: ignore[misc]  # NNCF is loaded untyped
        def __init__(self, model: Any, use_fp32_precision: bool = True) -> None:
            stateful = engine.model_has_state(model)
            compiled = _compiled(openvino, model, fp32=use_fp32_precision)
            self.engine = engine.OVCompiledModelEngine(compiled, stateful)
            self._items = 0

        def infer(self, input_data: Tensors) -> Any:
            self._items += 1
            found = super().infer(input_data)
            for name in answers:
                refuse_non_finite(name, found[name], item=self._items)
            return found

    mean, native = collectors.AGGREGATORS_MAP[AggregatorType.MEAN], engine.OVNativeEngine
    collectors.AGGREGATORS_MAP[AggregatorType.MEAN] = RunningMean
    engine.OVNativeEngine = FewKernels
    try:
        yield
    finally:
        collectors.AGGREGATORS_MAP[AggregatorType.MEAN] = mean
        engine.OVNativeEngine = native


def _compiled(openvino: Any, model: Any, *, fp32: bool) -> Any:
    """For items of many shapes, each run once: kernels are kept for the last few only.

    On one thread, as ONNX Runtime here: sums then do not depend on how many cores there are, and
    neither does what is made of them.
    """
    options: dict[str, object] = {
        "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS,
        "INFERENCE_NUM_THREADS": 1,
    }
    if fp32:
        options["INFERENCE_PRECISION_HINT"] = "f32"
    return openvino.Core().compile_model(model, "CPU", options)


def _counted(items: Iterable[Tensors]) -> int:
    """How many there are. ``InputError`` for NaN or infinity in one of them."""
    count = 0
    for count, item in enumerate(items, 1):
        for name, values in item.items():
            refuse_non_finite(name, values, item=count)
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
