"""Makes quantized models: files in, files out. The effectful half of ``quantization``.

The same source, calibration data and library versions give the same bytes, so that a digest names
what was made and a second run finds it made already. Nothing is left behind but the outputs, and
an output appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from headgate.errors import EngineError, InputError
from headgate.quantization.optional import load_nncf, load_openvino
from headgate.workload import Tensors

__all__ = ["dynamic_int8", "openvino_ir", "static_int8"]


def dynamic_int8(source: Path, out: Path, *, reduce_range: bool = False) -> Path:
    """int8 weights per channel, activations quantized at run time, one scale *per batch*.

    That scale is why an answer then depends on its neighbours: measure the batch invariance.
    ``reduce_range`` takes 7 bits for weights; CPUs without VNNI need it, since their 16-bit
    accumulators saturate. Raises ``EngineError``.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _scratch(out.parent) as scratch:
        # The quantizer writes beside its input, which may be a read-only store: give it a link.
        link = scratch / "source.onnx"
        link.symlink_to(source.resolve())
        made = scratch / "int8.onnx"
        try:
            with _without_preprocessing_advice():
                quantize_dynamic(
                    link,
                    made,
                    per_channel=True,
                    reduce_range=reduce_range,
                    weight_type=QuantType.QInt8,
                )
        except Exception as error:  # the quantizer raises what its helpers raise
            raise EngineError(
                f"ONNX Runtime cannot quantize it: {error}", where=str(source)
            ) from error
        return made.replace(out)


def static_int8(
    source: Path,
    calibration: Iterable[Tensors],
    out_dir: Path,
    *,
    samples: int = 300,
    transformer: bool = True,
) -> tuple[Path, Path]:
    """int8 weights and activations with fixed scales (NNCF): ``out_dir``/model.xml and model.bin.

    ``calibration`` is read several times, one batch in memory at a time, up to ``samples``
    batches of it. Give single items: what padding activates is calibrated with the rest, even
    where the mask hides it from the answer. ``transformer`` smooths activation outliers into the
    weights before quantizing (SmoothQuant, arXiv 2211.10438). Raises ``InputError`` for calibration
    data that is empty, lacks one of the model's inputs (a dropped attention mask goes unnoticed
    otherwise), or can be read only once; ``EngineError``; ``MissingExtra``.
    """
    openvino, nncf = load_openvino("static int8"), load_nncf("static int8")
    first = iter(calibration)
    if first is calibration:
        raise InputError(
            "calibration data that can be read only once",
            where=str(source),
            fix="pass a list, or an object whose __iter__ starts anew",
        )
    batch = next(first, None)
    if batch is None:
        raise InputError("no calibration data", where=str(source), fix="declare data: calibrate")
    graph = _read(openvino, source)
    missing = [i.any_name for i in graph.inputs if i.any_name not in batch]
    if missing:
        raise InputError(
            f"calibration data without {', '.join(missing)}",
            where=str(source),
            fix="calibrate on what the codec makes of texts or tensors",
        )
    try:
        # NNCF draws progress bars on stdout, where the result of --json belongs.
        with contextlib.redirect_stdout(io.StringIO()):
            quantized = nncf.quantize(
                graph,
                nncf.Dataset(calibration),
                model_type=nncf.ModelType.TRANSFORMER if transformer else None,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=samples,
            )
    except (RuntimeError, ValueError, KeyError, nncf.ValidationError) as error:
        raise EngineError(f"NNCF cannot quantize it: {error}", where=str(source)) from error
    return _save(openvino, quantized, out_dir)


def openvino_ir(source: Path, out_dir: Path) -> tuple[Path, Path]:
    """The same model in OpenVINO's format, weights unchanged: ``out_dir``/model.xml and .bin.

    Raises ``EngineError``, ``MissingExtra``.
    """
    openvino = load_openvino("OpenVINO's model format")
    return _save(openvino, _read(openvino, source), out_dir)


def _read(openvino: Any, source: Path) -> Any:
    try:
        return openvino.Core().read_model(str(source))
    except RuntimeError as error:
        # Where in its source it stopped comes first; what the model has that it has not, last.
        lines = [line.strip("- ") for line in str(error).splitlines() if line.strip()]
        what = lines[-1] if lines else "it does not say why"
        raise EngineError(f"OpenVINO cannot read it: {what}", where=str(source)) from error


def _save(openvino: Any, model: Any, out_dir: Path) -> tuple[Path, Path]:
    with _scratch(out_dir) as scratch:
        made = scratch / "model.xml"
        openvino.save_model(model, str(made), compress_to_fp16=False)
        made.write_text(_canonical_names(made.read_text(encoding="utf-8")), encoding="utf-8")
        # Weights first: a reader that sees the xml finds what it points at.
        weights = made.with_suffix(".bin").replace(out_dir / "model.bin")
        return made.replace(out_dir / "model.xml"), weights


def _canonical_names(xml: str) -> str:
    """Layers that OpenVINO named by a counter of the process (``Constant_4711``) by their id.

    The counter goes on from one conversion to the next, and with it the digest would change.
    """
    return re.sub(
        r'(<layer id="(\d+)" name=")([A-Za-z]+)_\d+(?=" type="(?!Parameter|Result))',
        lambda m: f"{m[1]}{m[3]}_{m[2]}",
        xml,
    )


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A folder on the output's own file system, so that moving out of it is atomic."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".making-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _without_preprocessing_advice() -> Iterator[None]:
    """Drops one warning, and the handler that the root logger would grow to print it."""

    def keep(record: logging.LogRecord) -> bool:
        return "run pre-processing before quantization" not in record.getMessage()

    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    root.addFilter(keep)
    try:
        yield
    finally:
        root.removeFilter(keep)
        root.removeHandler(handler)
