"""Our int8 beside that of others, by their defaults, on the same encoder: quality, speed, and
whether an answer depends on the batch.

Olive takes our fp32 graph and our calibration texts; sentence-transformers exports the encoder
itself, without pooling, which is added here outside of the engine. Their files are made anew each
time: none is there that a peer of another version has left behind.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.alternating import Ratio, over_loads, ratio
from benchmarks.compression.kernels import build_of
from benchmarks.compression.pieces import Pieces
from benchmarks.compression.subjects import ROOT, Subject, minilm
from benchmarks.compression.worth import MARGIN, Dependence, dependence, lost
from benchmarks.convention import Target, at_least, at_most
from benchmarks.serving.install import PEERS, python_of
from headgate.engines import codec_for, load
from headgate.engines.measure import sample_batches
from headgate.objects import Build
from headgate.optimize.answers import Answerer
from headgate.optimize.making.quantized import CALIBRATION_ITEMS
from headgate.optimize.quality import evaluate
from headgate.quantization import INT8_BF16, INT8_STATIC
from headgate.workload import Codec, Engine, Tensors

__all__ = ["against_peers"]

_SCRIPTS = Path(__file__).parent / "peers"
_SHAPES = ((32, 16), (32, 128))
_PLAIN = ("fp32_onnxruntime", "fp32_openvino")
_FILES = {
    "olive_dynamic": "dynamic.onnx",
    "olive_static": "static.onnx",
    "sbert_dynamic": "sbert.onnx",
}
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
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
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
    made = {name: out / file for name, file in _FILES.items()}
    return {name: path for name, path in made.items() if path.exists()}, missing


def _versions(peers: Mapping[str, Path]) -> dict[str, str]:
    """What a peer's answers and its speed follow from: its file, its script, what is installed."""
    texts = {
        **{f"{name}'s file": path.read_bytes() for name, path in peers.items()},
        **{script.name: script.read_bytes() for script in _SCRIPTS.glob("*.py")},
        "peers.txt": PEERS.read_bytes(),
    }
    return {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}


def against_peers(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Targets and details: recall@10, the speed beside the faster fp32 engine, and the class."""
    subject = minilm()
    cores = len(os.sched_getaffinity(0))
    peers, missing = _of_peers(subject, ROOT / ("peers.quick" if quick else "peers"))
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
    ours = f"headgate_{INT8_STATIC.name}"
    pieces, made_of = Pieces("against_peers", quick=quick), [_versions(peers), cores]
    targets: dict[str, Target] = {"peers measured": at_least(len(peers), len(_FILES))}
    rows: dict[str, dict[str, object]] = {name: {} for name in [*builds, _AGAIN]}
    for shape in _SHAPES:
        label = "x".join(map(str, shape))
        seconds = pieces.arrays_of(
            ["seconds", list(builds), shape, *made_of],
            partial(_seconds, builds, subject, shape, quick=quick),
        )
        for name, times in _beside_fp32(seconds).items():
            rows[name][f"times fp32, {label}"] = _said(times)
        beside = beside_fastest(seconds, ours, peers)
        targets[f"our int8 beside the fastest of the peers', {label}, lower 95 % bound"] = at_least(
            beside.lower if beside is not None else float("nan"), 1.0
        )
        rows[ours][f"times the fastest peer, {label}"] = _said(beside) if beside else None
    right: dict[str, list[float | None]] = {}
    classes: dict[str, Dependence] = {}
    for name, build in builds.items():
        right[name], found = pieces.of(
            ["worth", name, *made_of], partial(_worth, name, build, subject, quick=quick)
        )
        classes[name] = Dependence.of(found)
        rows[name] |= classes[name].said
        print(name, rows[name], flush=True)
    if not quick:
        recall = {name: float(np.mean([s or 0.0 for s in right[name]])) for name in builds}
        for name in builds:
            rows[name]["recall@10"] = round(recall[name], 4)
        against = max(peers, key=recall.__getitem__, default=None)
        loss = lost(right[ours], right[against]) if against is not None else None
        targets[
            "recall@10 that our int8 loses against the best of the peers', upper 95 % bound"
        ] = at_most(loss.at_most if loss is not None else float("nan"), MARGIN)
        rows[ours]["recall@10 lost against the best of the peers'"] = loss.said if loss else None
    targets["our answers are the same in any batch, exact or within epsilon"] = at_least(
        float(classes[ours].same_answers), 1
    )
    return targets, {
        "threads": cores,
        "builds": rows,
        "peers whose answers depend on the batch": [
            name for name in peers if not classes[name].same_answers
        ],
        "peers missing": missing,
    }


def beside_fastest(
    seconds: Mapping[str, NDArray[np.float64]], ours: str, peers: Iterable[str]
) -> Ratio | None:
    """How many times as fast as whoever of ``peers`` took least, with bounds; None without one."""
    fastest = min(peers, key=lambda n: float(np.median(seconds[n])), default=None)
    if fastest is None:
        return None
    return ratio(seconds[fastest], seconds[ours], same=(seconds[_PLAIN[1]], seconds[_AGAIN]))


def _said(times: Ratio) -> list[float]:
    return [round(v, 3) for v in (times.value, times.lower, times.upper)]


def _loaded(name: str, build: Build) -> Engine:
    engine = load(build, Path)
    return _MeanPooled(engine) if name.startswith("sbert") else engine


def _seconds(
    builds: Mapping[str, Build], subject: Subject, shape: tuple[int, int], *, quick: bool
) -> dict[str, NDArray[np.float64]]:
    """Seconds of each build, (loads, rounds), and of one fp32 engine once more."""
    every = {**builds, _AGAIN: builds[_PLAIN[1]]}
    load: dict[str, Callable[[], Engine]] = {n: partial(_loaded, n, b) for n, b in every.items()}
    batches = {n: _batch(codec_for(b, Path), subject, *shape) for n, b in every.items()}
    loads, rounds = (2, 2) if quick else (8, 5)
    return over_loads(load, batches, loads=loads, rounds=rounds)


def _beside_fp32(seconds: Mapping[str, NDArray[np.float64]]) -> dict[str, Ratio]:
    """Build -> times as fast as the faster of the fp32 engines, with bounds."""
    plain = min(_PLAIN, key=lambda n: float(np.median(seconds[n])))
    same = (seconds[_PLAIN[1]], seconds[_AGAIN])
    return {
        name: ratio(same[0], same[1])
        if name == _AGAIN
        else ratio(seconds[plain], seconds[name], same=same)
        for name in seconds
    }


def _worth(name: str, build: Build, subject: Subject, *, quick: bool) -> list[Any]:
    """Of each query whether its passage is found, and whether answers depend on the batch."""
    queries = subject.evaluate.queries[: 40 if quick else 200]
    with closing(_loaded(name, build)) as engine:
        codec = codec_for(build, Path)
        right = () if quick else _right(engine, codec, subject)
        return [right, astuple(dependence(build, engine, codec, queries))]


def _batch(codec: Codec, subject: Subject, size: int, length: int) -> Tensors:
    """Tokens of the passages, laid end to end and cut to ``length``."""
    sample = codec.encode(subject.evaluate.passages[:256], truncate=True)
    return sample_batches(codec, sample, np.random.default_rng(0))(size, length)


def _right(engine: Engine, codec: Codec, subject: Subject) -> Sequence[float | None]:
    answerer = Answerer(engine, codec, truncate=True)
    return evaluate(answerer, subject.evaluate, task="embed").scores["recall@10"]
