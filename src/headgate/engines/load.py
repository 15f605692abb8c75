"""From a build to what runs it: its engine and its codec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headgate.engines.cascade_engine import CascadeEngine, CascadePart
from headgate.engines.codec import TensorCodec, TextCodec
from headgate.engines.http_engine import SERVER_FILE, ForeignServer, HttpEngine
from headgate.engines.onnxruntime_engine import OnnxRuntimeEngine
from headgate.engines.openvino_engine import OpenVinoEngine
from headgate.engines.pair_codec import PairCodec
from headgate.engines.signature import model_inputs
from headgate.errors import ConfigError
from headgate.objects import CASCADE, Build, parts_of
from headgate.workload import Codec, Engine

__all__ = ["codec_for", "load", "load_part", "token_codec"]


def load(build: Build, path_of: Callable[[str], Path]) -> Engine:
    """The build, loaded: of a cascade both parts. ``path_of`` maps an artifact version to a file,
    whatever its name.

    Raises ``EngineError``, ``MissingExtra``, or ``ConfigError`` for an engine that does not exist.
    """
    if build.engine == CASCADE:
        return _cascade(build, path_of)
    files = {name: path_of(version) for name, version in build.files.items()}
    if build.engine == "onnxruntime" and "model.onnx" in files:
        return OnnxRuntimeEngine(files["model.onnx"], threads=build.threads, options=build.options)
    if build.engine == "openvino" and ("model.xml" in files or "model.onnx" in files):
        return OpenVinoEngine(
            files.get("model.xml") or files["model.onnx"],
            files.get("model.bin"),
            threads=build.threads,
            compute=_compute(build.precision),
            options=build.options,
        )
    if build.foreign and SERVER_FILE in files:
        return HttpEngine(ForeignServer.read(files[SERVER_FILE]))
    raise ConfigError(
        f"no engine {build.engine!r} for {', '.join(files) or 'no files'}",
        where=build.name,
        fix="onnxruntime takes model.onnx; openvino takes model.onnx, or model.xml and model.bin",
    )


def _compute(precision: str) -> str:
    """What a build computes in that is not quantized.

    >>> _compute("int8_bf16"), _compute("bf16"), _compute("int8")
    ('bf16', 'bf16', 'fp32')
    """
    rest = precision.rpartition("_")[2]
    return rest if rest in ("bf16", "fp16") else "fp32"


def load_part(part: Build, path_of: Callable[[str], Path]) -> CascadePart:
    """A part of a cascade, which takes of its batches what its model has inputs for."""
    inputs = frozenset(spec.name for spec in model_inputs(part, path_of))
    return CascadePart(load(part, path_of), inputs)


def _cascade(build: Build, path_of: Callable[[str], Path]) -> CascadeEngine:
    parts = parts_of(build)
    student, teacher = (load_part(part, path_of) for part in (parts.student, parts.teacher))
    lacking = sorted(student.inputs - teacher.inputs)
    if lacking:
        student.close()
        teacher.close()
        raise ConfigError(
            f"its student takes {', '.join(lacking)}, which its teacher does not",
            where=build.name,
            reason="unlike_parts",
            fix="make the student from this teacher",
        )
    return CascadeEngine(student, teacher, threshold=parts.threshold, task=build.task)


def codec_for(build: Build, path_of: Callable[[str], Path]) -> Codec:
    """The build's codec: texts where it has a tokenizer, pairs of them where it reranks, tensors
    of a fixed shape where it has none; a foreign server's own.

    Raises ``InputError`` where the model's inputs do not fit, ``ConfigError`` for a cross-encoder
    without a tokenizer.
    """
    if build.foreign:
        return ForeignServer.read(path_of(build.files[SERVER_FILE])).codec()
    inputs = model_inputs(build, path_of)
    if build.tokenizer is None:
        if build.task == "rerank":
            raise ConfigError(
                "a cross-encoder without a tokenizer takes no pairs",
                where=build.name,
                fix="give the tokenizer.json that it was trained with",
            )
        return TensorCodec(inputs)
    return token_codec(build.task)(
        path_of(build.tokenizer),
        inputs,
        max_tokens=build.max_tokens,
        pad_to_multiple=build.pad_to_multiple,
    )


def token_codec(task: str) -> type[TextCodec] | type[PairCodec]:
    """What makes tokens of what callers of ``task`` send: pairs of texts, or texts."""
    return PairCodec if task == "rerank" else TextCodec
