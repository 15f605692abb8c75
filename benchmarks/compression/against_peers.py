"""Our int8 beside that of others, by their defaults, on the same encoder: quality, speed, and
whether an answer depends on the batch.

Olive takes our fp32 graph and our calibration texts; sentence-transformers exports the encoder
itself, without pooling, which is added here outside of the engine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.alternating import alternate, ratio
from benchmarks.compression.kernels import build_of
from benchmarks.compression.subjects import ROOT, Subject, minilm
from benchmarks.convention import Target, at_least
from benchmarks.serving.install import python_of
from headgate.engines import codec_for, load
from headgate.engines.invariance import EPSILON, batch_invariance, cosine_distance
from headgate.engines.measure import sample_batches
from headgate.engines.outputs import batch_scaled
from headgate.objects import BatchInvariance, Build
from headgate.optimize.answers import Answerer
from headgate.optimize.making.quantized import CALIBRATION_ITEMS
from headgate.optimize.quality import evaluate
from headgate.quantization import INT8_BF16, INT8_STATIC
from headgate.workload import Codec, Engine, Tensors

__all__ = ["against_peers"]

_SCRIPTS = Path(__file__).parent / "peers"
_SHAPES = ((32, 16), (32, 128))


class _MeanPooled:
    """A graph that ends in token vectors, with pooling and normalisation behind it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        mask = tensors["attention_mask"][:, :, None].astype(np.float32)
        hidden = self._engine.run(tensors)
        mean = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
        result: NDArray[np.generic] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return result

    def close(self) -> None:
        self._engine.close()


def _quiet(command: list[str]) -> str:
    """Runs it; why it failed, in a line, or nothing."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def _of_peers(subject: Subject, out: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Files by name, and why one is not there."""
    out.mkdir(parents=True, exist_ok=True)
    build = subject.build("fp32", "onnxruntime", {"model.onnx": subject.onnx}, threads=1)
    encoded = codec_for(build, Path).encode(subject.calibrate[:CALIBRATION_ITEMS], truncate=True)
    ids = np.zeros((len(encoded), max(e.length for e in encoded)), np.int64)
    for row, item in zip(ids, encoded, strict=True):
        row[: item.length] = item.content
    np.savez(out / "calibrate.npz", input_ids=ids)
    commands = {
        "olive": [str(subject.onnx), str(out / "calibrate.npz"), str(out)],
        "sbert": [str(subject.encoder), str(out / "sbert.onnx")],
    }
    missing: dict[str, str] = {}
    for peer, arguments in commands.items():
        if not python_of(peer).exists():
            missing[peer] = f"make peers installs it: {peer}"
            continue
        why = _quiet([str(python_of(peer)), str(_SCRIPTS / f"{peer}_int8.py"), *arguments])
        if why:
            missing[peer] = why
    names = {
        "olive_dynamic": out / "dynamic.onnx",
        "olive_static": out / "static.onnx",
        "sbert_dynamic": out / "sbert.onnx",
    }
    return {name: path for name, path in names.items() if path.exists()}, missing


def against_peers(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Targets and details: recall@10, the speed beside the faster fp32 engine, and the class."""
    subject = minilm()
    cores = len(os.sched_getaffinity(0))
    peers, missing = _of_peers(subject, ROOT / "peers")
    fp32 = {"model.onnx": subject.onnx}
    builds = {
        "fp32_onnxruntime": subject.build("fp32", "onnxruntime", fp32, threads=cores),
        "fp32_openvino": subject.build("fp32", "openvino", fp32, threads=cores),
        **{
            f"headgate_{scheme.name}": replace(build_of(subject, scheme), threads=cores)
            for scheme in (INT8_STATIC, INT8_BF16)
        },
        **{
            name: subject.build(name, "onnxruntime", {"model.onnx": path}, threads=cores)
            for name, path in peers.items()
        },
    }
    engines = {
        name: _MeanPooled(load(b, Path)) if name.startswith("sbert") else load(b, Path)
        for name, b in builds.items()
    }
    codecs = {name: codec_for(b, Path) for name, b in builds.items()}
    speed = _speed(engines, codecs, subject, rounds=5 if quick else 40)
    rows = {
        name: {
            **({} if quick else {"recall@10": _recall(engines[name], codecs[name], subject)}),
            **speed[name],
            **_dependence(builds[name], engines[name], codecs[name], subject, quick=quick),
        }
        for name in engines
    }
    for engine in engines.values():
        engine.close()
    best_peer = max(
        (float(rows[n]["times_fp32_32x16"]) for n in peers),  # type: ignore[arg-type]  # floats
        default=float("nan"),
    )
    ours = rows[f"headgate_{INT8_STATIC.name}"]
    independent = ours["batch_invariance"] != BatchInvariance.DEPENDENT
    return (
        {
            "our int8 beside the fastest of the peers', 32x16, times": at_least(
                float(ours["times_fp32_32x16"]) / best_peer,  # type: ignore[arg-type]  # a float
                1.0,
            ),
            "our int8's answers do not depend on the batch": at_least(float(independent), 1.0),
        },
        {"builds": rows, "not installed": missing},
    )


def _speed(
    engines: Mapping[str, Engine], codecs: Mapping[str, Codec], subject: Subject, *, rounds: int
) -> dict[str, dict[str, float]]:
    """Times the faster of the fp32 engines, by shape, with lower bounds."""
    found: dict[str, dict[str, float]] = {name: {} for name in engines}
    for size, length in _SHAPES:
        batches = {name: _batch(codecs[name], subject, size, length) for name in engines}
        seconds = alternate(engines, batches, rounds=rounds)
        plain = min(
            ("fp32_onnxruntime", "fp32_openvino"), key=lambda n: float(np.median(seconds[n]))
        )
        for name in engines:
            times = ratio(seconds[plain], seconds[name])
            found[name][f"times_fp32_{size}x{length}"] = times.value
            found[name][f"times_fp32_{size}x{length}_lower"] = times.lower
    return found


def _batch(codec: Codec, subject: Subject, size: int, length: int) -> Tensors:
    """Tokens of the passages, laid end to end and cut to ``length``."""
    sample = codec.encode(subject.evaluate.passages[:256], truncate=True)
    return sample_batches(codec, sample, np.random.default_rng(0))(size, length)


def _recall(engine: Engine, codec: Codec, subject: Subject) -> float:
    samples = evaluate(Answerer(engine, codec, truncate=True), subject.evaluate, task="embed")
    return float(np.mean([s for s in samples.scores["recall@10"] if s is not None]))


def _dependence(
    build: Build, engine: Engine, codec: Codec, subject: Subject, *, quick: bool
) -> dict[str, object]:
    report = batch_invariance(
        engine,
        codec,
        subject.evaluate.queries[: 40 if quick else 200],
        rng=np.random.default_rng(0),
        epsilon=EPSILON,
        difference=cosine_distance,
    )
    by_construction = batch_scaled(build, Path)
    return {
        "batch_invariance": BatchInvariance.DEPENDENT if by_construction else report.invariance,
        "max_difference": max(report.max_difference, report.max_neighbour_difference),
    }
