"""Builds with fewer bits: a scheme applied to the endpoint's model, or to a student of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headgate.config import Item
from headgate.engines import codec_for
from headgate.objects import Build, canonical, parse
from headgate.optimize.making.maker import Maker
from headgate.optimize.recorder import Call, Output, transformation
from headgate.optimize.served import as_items, as_json
from headgate.quantization import Calibration, Layer, Scheme, suited_to
from headgate.runtime.servable import build_from_json
from headgate.workload import Codec, Encoded, Tensors

__all__ = ["CALIBRATION_ITEMS", "layers_of", "quantized"]

_OPENVINO_PADDING = 4
"""OpenVINO compiles for every new shape, about 6 ms and 2 MB each; lengths in fours keep the
shapes few. In eights a query of twenty tokens would be a sixth padding."""
CALIBRATION_ITEMS = 150
_SCHEMAS = {
    "model.onnx": "onnx, {}",
    "model.xml": "OpenVINO IR, {}",
    "model.bin": "OpenVINO IR weights, {}",
}


@transformation("quantize")
def quantize(call: Call) -> Mapping[str, Output]:
    """The model under a scheme; calibrated, where that needs it, on the items it is given."""
    from headgate.quantization import produce

    scheme = _scheme(call.c["scheme"])
    call.progress(0.0, f"quantizing, {scheme.name}")
    calibration = _Alone.of(call) if scheme.needs_calibration else None
    files = produce.quantize(
        scheme, call.path("model.onnx"), call.work_dir, calibration=calibration
    )
    return {
        name: Output(path, "model", _SCHEMAS[name].format(scheme.precision))
        for name, path in files.items()
    }


@transformation("quantize.sensitivity")
def sensitivity(call: Call) -> Mapping[str, Output]:
    """How much a static scheme disturbs each layer of the model, in one pass over the items."""
    from headgate.quantization import produce

    call.progress(0.0, "every layer's sensitivity")
    layers = produce.measure_sensitivity(
        _scheme(call.c["scheme"]), call.path("model.onnx"), _Alone.of(call), scratch=call.work_dir
    )
    return {"layers": Output(canonical(layers), "samples", "json [Layer]")}


class _Alone:
    """Items as the model takes them, one at a time, as often as they are asked for."""

    @classmethod
    def of(cls, call: Call) -> _Alone:
        """The calibration items that a transformation is given."""
        codec = codec_for(build_from_json(call.c["source"]), call.store.path_of)
        items = as_items(parse(call.store.read(call.u["calibrate"])))
        return cls(codec, codec.encode(items, truncate=True))

    def __init__(self, codec: Codec, encoded: Sequence[Encoded]) -> None:
        self._codec, self._encoded = codec, encoded

    def __iter__(self) -> Iterator[Tensors]:
        return (self._codec.collate([e]) for e in self._encoded)


def quantized(
    maker: Maker,
    source: Build,
    scheme: Scheme,
    *,
    name: str,
    calibrate: Sequence[Item] | None = None,
) -> Build:
    """``source``, an fp32 build, under ``scheme``, as this machine's CPU needs it.

    Calibrated on ``calibrate``, or else on the first of the endpoint's calibration items: texts
    that judge nothing. Raises ``MissingExtra``, ``EngineError`` or ``InputError``.
    """
    scheme = suited_to(scheme, maker.profile.flags)
    files = source.files
    if scheme.makes_files:
        given = {"model.onnx": source.files["model.onnx"]}
        config: dict[str, object] = {"scheme": scheme.in_files}
        if scheme.needs_calibration:
            given["calibrate"] = _artifact(maker, calibrate)
            config["source"] = source  # its codec makes the tensors
        files = maker.recorder.run(quantize, u=given, c=config, detail=name).outputs
    pads = scheme.engine == "openvino" and source.tokenizer is not None
    return replace(
        source,
        name=name,
        engine=scheme.engine,
        precision=scheme.precision,
        files=files,
        pad_to_multiple=_OPENVINO_PADDING if pads else source.pad_to_multiple,
    )


def layers_of(maker: Maker, source: Build, scheme: Scheme) -> tuple[Layer, ...]:
    """Every weighted product of ``source`` and what ``scheme``, static int8, does to it."""
    done = maker.recorder.run(
        sensitivity,
        u={"model.onnx": source.files["model.onnx"], "calibrate": _artifact(maker, None)},
        c={"scheme": scheme, "source": source},
        detail=scheme.name,
    )
    return tuple(Layer(**row) for row in parse(maker.recorder.store.read(done.outputs["layers"])))


def _artifact(maker: Maker, calibrate: Sequence[Item] | None) -> str:
    items = maker.inputs.calibrate[:CALIBRATION_ITEMS] if calibrate is None else calibrate
    lineage = maker.inputs.versions.get("calibrate")
    return maker.json_artifact(
        "calibrate/items", as_json(items), (lineage,) if lineage is not None else ()
    )


def _scheme(given: Mapping[str, Any]) -> Scheme:
    calibration = given["calibration"]
    made = None if calibration is None else Calibration(**calibration)
    return Scheme(**{**given, "keep": tuple(given["keep"]), "calibration": made})
