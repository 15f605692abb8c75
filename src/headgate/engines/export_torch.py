"""A transformers encoder as one ONNX graph: texts' tokens in, unit-length embeddings out.

Mean pooling and normalisation are part of the graph, so that every engine gives the same answer.
The same model gives the same bytes in every process, and no export leaves here that was not held
against transformers.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.encoder import count_weights, load_encoder, max_tokens, pooled
from headgate.engines.check import ONNX_LIMIT_BYTES
from headgate.errors import EngineError, InputError, MissingExtra

if TYPE_CHECKING:
    import torch

__all__ = ["EXPORT_TOLERANCE", "OUTPUT_NAME", "ExportFacts", "check_exportable", "export_embedder"]

OUTPUT_NAME = "sentence_embedding"
EXPORT_TOLERANCE = 1e-4
"""Largest difference from transformers, in any component of an embedding of length 1."""

_MASKED = -1e9
"""Added to a masked score: its softmax is exactly 0, and it stays finite in bfloat16."""
_BATCH_SIZES = (1, 2, 3, 5, 8, 13)
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """What was exported, and how it was checked."""

    sha256: str
    max_tokens: int
    """The longest input, special tokens included."""
    dimension: int
    """Components of an embedding."""
    max_abs_difference: float
    """From transformers, in any component; at most ``EXPORT_TOLERANCE``."""
    n: int
    """Random texts that were compared."""
    opset: int


def export_embedder(
    model_dir: Path,
    out: Path,
    *,
    layers: Sequence[int] | None = None,
    feed_forward: int | None = None,
    state: Path | None = None,
    seed: int = 0,
) -> ExportFacts:
    """Writes ``out``, the ONNX model of the encoder in ``model_dir`` (or of its student).

    Inputs ``input_ids`` and ``attention_mask`` are int64 (batch, length), both dynamic; the output
    ``sentence_embedding`` is float32 (batch, d). ``layers``, ``feed_forward`` and
    ``state`` as for ``load_encoder``.
    The check runs random texts of random lengths in padded batches of random sizes (``seed``)
    through ONNX Runtime, and each of them alone through transformers.

    Raises ``InputError`` for a damaged model, ``MissingExtra`` without torch, ``EngineError``
    where the exporter fails or the graph differs; nothing is written then.
    """
    model = load_encoder(model_dir, layers=layers, feed_forward=feed_forward, state=state)
    longest = max_tokens(model_dir)
    proto = _trace(model, longest)
    content: bytes = proto.SerializeToString(deterministic=True)
    worst, n, dimension = _compare(model, content, longest, np.random.default_rng(seed))
    if not worst <= EXPORT_TOLERANCE:
        raise EngineError(
            f"the exported graph differs from transformers by {worst:.2g} "
            f"(allowed: {EXPORT_TOLERANCE:g}) on {n} random texts",
            where=str(model_dir),
            fix="try the torch and transformers of the constraints file",
        )
    partial = out.with_name(out.name + ".partial")
    partial.write_bytes(content)
    partial.replace(out)
    return ExportFacts(
        sha256=hashlib.sha256(content).hexdigest(),
        max_tokens=longest,
        dimension=dimension,
        max_abs_difference=worst,
        n=n,
        opset=max(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")),
    )


def check_exportable(model_dir: Path) -> None:
    """That the encoder in ``model_dir`` fits an ONNX file, before any of it is read.

    Raises ``InputError``; also where its weights are cut off, or no safetensors.
    """
    path = model_dir / "model.safetensors"
    weights, most = count_weights(path), ONNX_LIMIT_BYTES // _FLOAT_BYTES
    if weights >= most:
        raise InputError(
            f"its {weights:,} weights take {weights * _FLOAT_BYTES / 1e9:.1f} GB in float32, and "
            "an ONNX file cannot hold 2 GiB",
            where=str(path),
            fix=f"give a smaller encoder, of less than {most:,} weights",
        )


def _trace(model: torch.nn.Module, longest: int) -> Any:
    """The ONNX proto of pooling over ``model``, without what varies from run to run."""
    try:
        import onnxscript  # noqa: F401  # what torch.onnx needs, and says so only by failing
        import torch
    except ImportError as error:
        raise MissingExtra.of("train", needed_for="exporting a model") from error

    class Embedder(torch.nn.Module):  # type: ignore[misc]  # torch is untyped to mypy here
        def __init__(self) -> None:
            super().__init__()
            self.encoder = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            # The additive mask, ready made: what transformers would build for it indexes the mask
            # by a grid of positions, dozens of operators that every request would pay for.
            penalty = (1.0 - attention_mask[:, None, None, :].float()) * _MASKED
            hidden = self.encoder(input_ids=input_ids, attention_mask=penalty)
            return pooled(hidden.last_hidden_state, attention_mask)

    # Two tensors, never one twice: the tracer tells inputs apart by identity.
    example = tuple(torch.ones(2, 8, dtype=torch.int64) for _ in range(2))
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=longest)}
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                Embedder(),
                example,
                input_names=["input_ids", "attention_mask"],
                output_names=[OUTPUT_NAME],
                dynamic_shapes={"input_ids": shape, "attention_mask": shape},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter's own errors share no root
            raise EngineError(
                f"torch cannot export a {type(model).__name__}: {error}",
                where="export",
                fix="give an ONNX file instead: model: {onnx: model.onnx}",
            ) from error
    assert program is not None
    return _without_origin(program.model_proto)


def _without_origin(proto: Any) -> Any:
    """Drops doc strings, metadata and producers: they hold paths, stack traces and versions."""
    proto.ClearField("producer_name")
    proto.ClearField("producer_version")
    proto.ClearField("doc_string")
    del proto.metadata_props[:]
    graph = proto.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info):
        part.ClearField("doc_string")
        del part.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.ClearField("doc_string")
        del value.metadata_props[:]
    return proto


def _compare(
    model: torch.nn.Module, content: bytes, longest: int, rng: np.random.Generator
) -> tuple[float, int, int]:
    """Largest difference, texts compared, and components of an embedding."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    vocabulary: int = model.config.vocab_size
    worst, n, dimension = 0.0, 0, 0
    for size in _BATCH_SIZES:
        lengths = rng.integers(1, min(48, longest) + 1, size)
        if size == 1:
            lengths[0] = longest
        ids = np.zeros((size, int(lengths.max())), np.int64)
        mask = np.zeros_like(ids)
        alone = []
        for row, length in enumerate(lengths):
            text = rng.integers(1, vocabulary, length)
            ids[row, :length], mask[row, :length] = text, 1
            alone.append(_reference(model, torch.from_numpy(text)))
        expected = np.stack(alone)
        got = session.run([OUTPUT_NAME], {"input_ids": ids, "attention_mask": mask})[0]
        # max() of a NaN would hide it; NaN here must fail the comparison.
        worst = float(np.maximum(worst, np.abs(got - expected).max()))
        n, dimension = n + size, expected.shape[1]
    return worst, n, dimension


def _reference(model: torch.nn.Module, text: torch.Tensor) -> NDArray[np.float32]:
    """One text, unpadded, through transformers; pooled in numpy, not by the code under test."""
    import torch

    with torch.inference_mode():
        hidden = model(
            input_ids=text[None], attention_mask=torch.ones_like(text[None])
        ).last_hidden_state[0]
    mean = hidden.numpy().mean(axis=0)
    result: NDArray[np.float32] = mean / np.linalg.norm(mean)
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's chatter from the caller's terminal."""
    loggers = [logging.getLogger(n) for n in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w", encoding="utf-8") as nothing,
            contextlib.redirect_stdout(nothing),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
