"""Our int8 beside that of others, by their defaults, on the same encoder: quality, speed, and
whether an answer depends on the batch.

Olive takes our fp32 graph and our calibration texts; sentence-transformers exports the encoder
itself, without pooling, which is added here outside of the engine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.alternating import over_loads, ratio
from benchmarks.compression.kernels import build_of
from benchmarks.compression.pieces import Pieces
from benchmarks.compression.subjects import ROOT, Subject, minilm
from benchmarks.convention import Target, at_least, at_most
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
_PLAIN = ("fp32_onnxruntime", "fp32_openvino")
_AGAIN = "fp32 again"
"""One of them in a second place of the rotation: what the method can tell apart."""


class _MeanPooled:
    """A graph that ends in token vectors, with pooling and normalisation behind it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        mask = tensors["attention_mask"][:, :, None].astype(np.float32)
        hidden = self._engine.run(tensors).astype(np.float32)
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
        **{n: subject.build("fp32", n.removeprefix("fp32_"), fp32, threads=cores) for n in _PLAIN},
        **{
            f"headgate_{scheme.name}": replace(build_of(subject, scheme), threads=cores)
            for scheme in (INT8_STATIC, INT8_BF16)
        },
        **{
            name: subject.build(name, "onnxruntime", {"model.onnx": path}, threads=cores)
            for name, path in peers.items()
        },
    }
    speed = _speed(builds, subject, loads=2 if quick else 8, rounds=2 if quick else 5)
    rows: dict[str, dict[str, object]] = {}
    for name, build in builds.items():
        rows[name] = {**speed[name], **_worth(name, build, subject, quick=quick)}
        print(name, rows[name], flush=True)
    ours = f"headgate_{INT8_STATIC.name}"
    targets: dict[str, Target] = {}
    for label in speed[_AGAIN]:
        fastest = max((speed[name][label][0] for name in peers), default=float("nan"))
        targets[f"our int8 beside the fastest of the peers', {label}, times"] = at_least(
            speed[ours][label][0] / fastest, 1.0
        )
    if not quick:
        most = max((float(str(rows[n]["recall@10"])) for n in peers), default=float("nan"))
        targets["recall@10 that our int8 loses against the best of the peers'"] = at_most(
            most - float(str(rows[ours]["recall@10"])), 0.01
        )
    targets["largest cosine distance of our int8 to the same item in other batches"] = at_most(
        float(str(rows[ours]["largest difference"])), EPSILON
    )
    return targets, {
        "threads": cores,
        "builds": rows,
        "an fp32 engine beside itself": speed[_AGAIN],
        "not installed": missing,
    }


def _loaded(name: str, build: Build) -> Engine:
    engine = load(build, Path)
    return _MeanPooled(engine) if name.startswith("sbert") else engine


def _speed(
    builds: Mapping[str, Build], subject: Subject, *, loads: int, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Build -> shape -> times as fast as the faster of the fp32 engines, with bounds."""
    load: dict[str, Callable[[], Engine]] = {n: partial(_loaded, n, b) for n, b in builds.items()}
    load[_AGAIN] = load[_PLAIN[1]]
    codecs = {name: codec_for(builds.get(name, builds[_PLAIN[1]]), Path) for name in load}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in load}
    for size, length in _SHAPES:
        batches = {name: _batch(codecs[name], subject, size, length) for name in load}
        seconds = Pieces("against_peers").arrays_of(
            ["seconds", list(load), size, length, loads, rounds],
            partial(over_loads, load, batches, loads=loads, rounds=rounds),
        )
        plain = min(_PLAIN, key=lambda n: float(np.median(seconds[n])))
        same = (seconds[_PLAIN[1]], seconds[_AGAIN])
        for name in load:
            against = same[0] if name == _AGAIN else seconds[plain]
            times = ratio(against, seconds[name], same=None if name == _AGAIN else same)
            found[name][f"times fp32, {size}x{length}"] = [
                round(v, 3) for v in (times.value, times.lower, times.upper)
            ]
    return found


def _worth(name: str, build: Build, subject: Subject, *, quick: bool) -> dict[str, object]:
    """Recall, and whether answers depend on the batch."""

    def measured() -> dict[str, object]:
        with closing(_loaded(name, build)) as engine:
            codec = codec_for(build, Path)
            dependence = _dependence(build, engine, codec, subject, quick=quick)
            recall = {} if quick else {"recall@10": _recall(engine, codec, subject)}
            return {**recall, **dependence}

    return Pieces("against_peers").of(["worth", name, quick], measured)


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
        "class": (BatchInvariance.DEPENDENT if by_construction else report.invariance).value,
        "largest difference": max(report.max_difference, report.max_neighbour_difference),
    }
