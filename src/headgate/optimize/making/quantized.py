"""Builds with fewer bits: a scheme applied to the endpoint's model, or to a student of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headgate.engines import codec_for
from headgate.objects import Build, parse
from headgate.optimize.making.maker import Maker
from headgate.optimize.recorder import Call, Output, transformation
from headgate.optimize.served import as_items, as_json
from headgate.quantization import INT8_DYNAMIC, Scheme
from headgate.runtime.servable import build_from_json
from headgate.workload import Tensors

__all__ = ["CALIBRATION_ITEMS", "quantized"]

_OPENVINO_PADDING = 4
"""OpenVINO compiles for every new shape, about 6 ms and 2 MB each; lengths in fours keep the
shapes few. In eights a query of twenty tokens would be a sixth padding."""
CALIBRATION_ITEMS = 150


@transformation("quantize.int8_dynamic")
def int8_dynamic(call: Call) -> Mapping[str, Output]:
    """int8 weights, activations quantized at run time (ONNX Runtime)."""
    from headgate.quantization.produce import dynamic_int8

    call.progress(0.0, "quantizing, dynamic int8")
    out = dynamic_int8(call.path("model.onnx"), call.work_dir / "model.onnx")
    return {"model.onnx": Output(out, "model", "onnx, int8 weights, dynamic activations")}


@transformation("quantize.int8_static")
def int8_static(call: Call) -> Mapping[str, Output]:
    """int8 weights and activations with calibrated scales (NNCF for OpenVINO)."""
    from headgate.quantization.produce import static_int8

    call.progress(0.0, "calibrating, static int8")
    source = build_from_json(call.c["source"])
    codec = codec_for(source, call.store.path_of)
    items = as_items(parse(call.store.read(call.u["calibrate"])))
    encoded = codec.encode(items, truncate=True)
    batches: list[Tensors] = [codec.collate([e]) for e in encoded]
    xml, weights = static_int8(
        call.path("model.onnx"),
        batches,
        call.work_dir,
        samples=len(batches),
        transformer=source.tokenizer is not None,
    )
    return {
        "model.xml": Output(xml, "model", "OpenVINO IR, int8"),
        "model.bin": Output(weights, "model", "OpenVINO IR weights"),
    }


def quantized(maker: Maker, source: Build, scheme: Scheme, *, name: str) -> Build:
    """``source``, an fp32 build, under ``scheme``. Calibrated on texts that judge nothing.

    Raises ``MissingExtra``, ``EngineError`` or ``InputError``.
    """
    if scheme.needs_calibration:
        files = _calibrated(maker, source, name)
    elif scheme == INT8_DYNAMIC:
        files = maker.recorder.run(int8_dynamic, u=source.files, c={}, detail=name).outputs
    else:  # the engine makes of fp32 weights what it computes in
        files = source.files
    pads = scheme.engine == "openvino" and source.tokenizer is not None
    return replace(
        source,
        name=name,
        engine=scheme.engine,
        precision=scheme.precision,
        files=files,
        pad_to_multiple=_OPENVINO_PADDING if pads else source.pad_to_multiple,
    )


def _calibrated(maker: Maker, source: Build, name: str) -> Mapping[str, str]:
    lineage = maker.inputs.versions.get("calibrate")
    items = as_json(maker.inputs.calibrate[:CALIBRATION_ITEMS])
    calibrate = maker.json_artifact(
        "calibrate/items", items, (lineage,) if lineage is not None else ()
    )
    done = maker.recorder.run(
        int8_static,
        u={**source.files, "calibrate": calibrate},
        c={"source": source},
        detail=name,
    )
    return done.outputs
