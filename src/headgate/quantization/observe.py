"""Runs a model and hands out what flows inside it, one batch at a time.

An effectful half of ``quantization``: it reads a model file and drives an engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from headgate.errors import EngineError, InputError
from headgate.quantization.products import weighted_products
from headgate.quantization.sensitivity import Layer, Sensitivity
from headgate.workload import Tensors

__all__ = ["measure_sensitivity", "observe"]


def measure_sensitivity(source: Path, calibration: Iterable[Tensors]) -> tuple[Layer, ...]:
    """How much int8 disturbs each weighted product of ``source``, in one pass over single items.

    Raises ``InputError`` (no calibration data, values that are not finite) and ``EngineError``.
    """
    model = _read(source)
    products = weighted_products(model)
    if not products:
        return ()
    sensitivity = Sensitivity(products)
    for observed in observe(model, sensitivity.tensors, calibration, where=str(source)):
        sensitivity.add(observed)
    return sensitivity.layers()


def observe(
    model: Any, tensors: Sequence[str], batches: Iterable[Tensors], *, where: str
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The values of ``tensors``, inner ones too, for each batch; one batch in memory at a time.

    ``model``: an ``onnx.ModelProto``, which is left as it was. One thread, so that sums are made in
    the same order on every machine. Raises ``EngineError``; ``InputError`` for a batch without one
    of the model's inputs: a dropped attention mask would go unnoticed.
    """
    import onnx
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    seen = {output.name for output in watched.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=t) for t in tensors if t not in seen)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            watched.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
        inputs = [i.name for i in session.get_inputs()]
        for batch in batches:
            missing = [name for name in inputs if name not in batch]
            if missing:
                raise InputError(
                    f"calibration data without {', '.join(missing)}",
                    where=where,
                    fix="calibrate on what the codec makes of texts or tensors",
                )
            values = session.run(list(tensors), {name: batch[name] for name in inputs})
            yield dict(zip(tensors, values, strict=True))
    except InputError:
        raise
    except Exception as error:  # its exception classes share no root below Exception
        raise EngineError(f"ONNX Runtime cannot run it: {error}", where=where) from error


def _read(source: Path) -> Any:
    import onnx

    try:
        return onnx.load_model(source, format="protobuf")
    except Exception as error:  # protobuf's error type is not part of onnx's interface
        raise EngineError(f"not an ONNX model: {error}", where=str(source)) from error
