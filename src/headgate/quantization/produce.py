"""Makes quantized models: a scheme and a file in, files out. The effects of ``quantization``.

The same source, scheme, calibration data and library versions give the same bytes, so that a digest
names what was made and a second run finds it made already. Nothing is left behind but the outputs,
and an output appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from headgate.errors import EngineError, HeadgateError, InputError
from headgate.quantization import onnx_files, openvino_files
from headgate.quantization.calibration import by_item
from headgate.quantization.products import product_name, weighted_nodes, weighted_products
from headgate.quantization.schemes import Scheme
from headgate.quantization.sensitivity import Layer, Sensitivity
from headgate.workload import Tensors

__all__ = ["measure_sensitivity", "openvino_ir", "quantize"]

_ONNX = ("model.onnx",)
_OPENVINO = ("model.bin", "model.xml")
"""Weights first: a reader that sees the xml finds what it points at."""
_PROTOBUF_LIMIT_BYTES = 2**31


def quantize(
    scheme: Scheme,
    source: Path,
    out_dir: Path,
    *,
    calibration: Iterable[Tensors] | None = None,
) -> dict[str, Path]:
    """``source``, an fp32 ONNX model, under ``scheme``: name in ``Build.files`` -> path.

    A scheme that the engine carries out when it loads (bf16) makes none: ``source`` is its file.
    ``calibration`` is read several times, batch by batch; padded or not, each item counts alone,
    without its padding.

    Raises ``InputError`` for calibration data that are missing, empty, not finite, can be read only
    once, or lack one of the model's inputs (a dropped mask), for a name in ``scheme.keep`` that the
    model does not have, and for a model of 2 GiB; ``EngineError`` for what the engine does not
    support, and where memory ran out; ``MissingExtra``; ``OSError`` from the disk. Nothing is left
    in ``out_dir`` then.
    """
    if not scheme.makes_files:
        return {"model.onnx": source}
    graph = _graph(source)
    _check_kept(scheme, graph, source)
    if scheme.needs_calibration:
        _check_calibration(calibration, graph, source)
    del graph  # as large as the model
    items = _Items(calibration or ())
    names = _ONNX if scheme.engine == "onnxruntime" else _OPENVINO
    with _whole(out_dir, names, source) as made:
        if scheme.engine == "openvino" and scheme.activations == "static":
            openvino_files.static_int8(scheme, source, made, items)
        elif scheme.engine == "openvino":
            openvino_files.weights_by_group(scheme, source, made)
        elif scheme.activations == "static":
            onnx_files.static_int8(scheme, source, made, items)
        elif scheme.activations == "dynamic":
            onnx_files.dynamic_int8(scheme, source, made)
        else:
            onnx_files.weights_by_group(scheme, source, made)
    return {name: out_dir / name for name in sorted(names)}


def measure_sensitivity(
    scheme: Scheme, source: Path, calibration: Iterable[Tensors], *, scratch: Path
) -> tuple[Layer, ...]:
    """How much ``scheme``, static int8, disturbs each weighted product of ``source``: one pass.

    Items count as for ``quantize``, which says what is raised. A copy of the model lies in the
    directory ``scratch`` meanwhile.
    """
    import onnx

    items = _Items(calibration)
    _check_calibration(calibration, _graph(source), source)
    model, ranges = onnx.load_model(source), scheme.calibration
    assert ranges is not None
    if not any(i.name == openvino_files.MASK for i in model.graph.input):
        ranges = ranges.without_mask()
    sensitivity = Sensitivity(weighted_products(model), ranges)
    for observed in onnx_files.observe(source, sensitivity.tensors, items, scratch=scratch):
        sensitivity.add(observed)
    return sensitivity.layers()


def openvino_ir(source: Path, out_dir: Path) -> tuple[Path, Path]:
    """The same model in OpenVINO's format, weights unchanged: ``out_dir``/model.xml and .bin.

    Raises ``EngineError``, ``MissingExtra``.
    """
    with _whole(out_dir, _OPENVINO, source) as made:
        openvino_files.unchanged(source, made)
    return out_dir / "model.xml", out_dir / "model.bin"


class _Items:
    """The items of calibration data, one at a time, as often as they are asked for."""

    def __init__(self, batches: Iterable[Tensors]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Tensors]:
        return by_item(self._batches)


def _graph(source: Path) -> Any:
    import onnx

    if source.stat().st_size >= _PROTOBUF_LIMIT_BYTES:
        raise InputError(
            "an ONNX file cannot hold 2 GiB, and the quantizers take one file",
            where=str(source),
            fix="export a smaller precision",
        )
    try:
        return onnx.load_model(source, load_external_data=False).graph
    except Exception as error:  # protobuf's error type is not part of onnx's interface
        raise EngineError(
            f"it is not an ONNX model: {error}", where=str(source), fix="export it again"
        ) from error


def _check_kept(scheme: Scheme, graph: Any, source: Path) -> None:
    # The dynamic quantizer reads the file itself, and can spare only what is named there.
    called = (lambda n: n.name) if scheme.activations == "dynamic" else product_name
    unknown = set(scheme.keep) - {called(node) for node in graph.node}
    if unknown:
        known = [called(node) for node in weighted_nodes(graph) if called(node)]
        raise InputError(
            f"the model has no node {min(unknown)!r} to keep as it is",
            where=str(source),
            fix=f"name some of its products: {', '.join(known)}",
        )


def _check_calibration(calibration: Iterable[Tensors] | None, graph: Any, source: Path) -> None:
    if calibration is not None and iter(calibration) is calibration:
        raise InputError(
            "calibration data that can be read only once",
            where=str(source),
            fix="pass a list, or an object whose __iter__ starts anew",
        )
    item = next(by_item(calibration or ()), None)
    if item is None:
        raise InputError("no calibration data", where=str(source), fix="declare data: calibrate")
    weights = {weight.name for weight in graph.initializer}
    missing = [i.name for i in graph.input if i.name not in weights and i.name not in item]
    if missing:
        raise InputError(
            f"calibration data without {', '.join(missing)}",
            where=str(source),
            fix="calibrate on what the codec makes of texts or tensors",
        )


@contextlib.contextmanager
def _whole(out_dir: Path, names: tuple[str, ...], source: Path) -> Iterator[Path]:
    """Where to make the last of ``names`` and those beside it, which are moved into ``out_dir``.

    The place is on the same file system, so that moving is atomic, and is removed whatever happens.
    What the makers' helpers raise becomes an ``EngineError``; what the disk says stays as it is.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".making-") as scratch:
        try:
            yield Path(scratch) / names[-1]
        except (HeadgateError, OSError):
            raise
        except MemoryError as error:
            raise EngineError(
                "memory ran out while it was quantized",
                where=str(source),
                fix="free some, or calibrate on shorter items",
            ) from error
        except Exception as error:  # the quantizers raise what their helpers raise
            raise EngineError(f"it cannot be quantized: {error}", where=str(source)) from error
        for name in names:
            (Path(scratch) / name).replace(out_dir / name)
