"""How fast is every scheme, and what does it lose? Kernels by turns in one run, on MiniLM.

Throughput of the best int8 build against the faster of the two fp32 engines, at 32 texts of 16 and
of 128 tokens; beside each scheme its quality and whether its answers depend on the batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.alternating import Ratio, alternate, ratio
from benchmarks.compression.subjects import ROOT, Subject, minilm
from benchmarks.convention import Target, at_least, at_most
from headgate.config import RetrievalSet
from headgate.engines import codec_for, load
from headgate.engines.check import check_onnx
from headgate.engines.invariance import EPSILON, batch_invariance, cosine_distance
from headgate.engines.measure import sample_batches
from headgate.engines.outputs import batch_scaled
from headgate.engines.probe import read_profile
from headgate.objects import BatchInvariance, Build
from headgate.optimize.answers import Answerer
from headgate.optimize.making.quantized import CALIBRATION_ITEMS
from headgate.optimize.quality import QualitySamples, agreement, evaluate
from headgate.quantization import (
    FP32,
    FP32_OPENVINO,
    INT8_BF16,
    INT8_DYNAMIC,
    INT8_STATIC,
    SCHEMES,
    Scheme,
    applies_to,
    suited_to,
)
from headgate.quantization.produce import quantize
from headgate.workload import Codec, Engine, Tensors

__all__ = ["build_of", "kernels"]

_SHAPES = ((32, 16), (32, 128))
_PLAIN = (FP32.name, FP32_OPENVINO.name)
_QUICK = (FP32, FP32_OPENVINO, INT8_DYNAMIC, INT8_STATIC, INT8_BF16)


@dataclass(frozen=True)
class _Worth:
    """What a build's answers are worth, beside fp32's."""

    answers: QualitySamples
    embeddings: NDArray[np.float64]
    invariance: str
    largest_difference: float

    def recall(self) -> float:
        return float(np.mean(self.answers.scores["recall@10"]))


def kernels(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Measures every scheme that applies here; targets of the best int8 build."""
    subject = minilm()
    facts, flags = check_onnx(subject.onnx), read_profile().flags
    answers = {s.name: applies_to(s, facts, flags) for s in (_QUICK if quick else SCHEMES)}
    schemes = [suited_to(s, flags) for s in SCHEMES if answers.get(s.name)]
    builds = {s.name: build_of(subject, s) for s in schemes}
    rounds = 4 if quick else 24
    seconds = {shape: _seconds(subject, builds, shape, rounds) for shape in _SHAPES}
    ratios = {name: _ratios(name, seconds) for name in builds}
    data = _part(subject.evaluate, 150) if quick else subject.evaluate
    worth = {name: _worth(build, data) for name, build in builds.items()}
    plain = worth[FP32.name]
    best = _best(schemes, worth, seconds)
    lost = plain.recall() - worth[best].recall()
    targets: dict[str, Target] = {}
    for shape in _SHAPES:
        label = "x".join(map(str, shape))
        found = ratios[best][label]
        targets[f"{best}, times as fast as the faster fp32 engine, {label}"] = at_least(
            found.value, 3.0
        )
        targets[f"the same, lower 95 % bound, {label}"] = at_least(found.lower, 2.7)
    targets["recall@10 that it loses"] = at_most(lost, 0.01)
    targets["its largest cosine distance to the same item in other batches"] = at_most(
        worth[best].largest_difference, EPSILON
    )
    threads = len(os.sched_getaffinity(0))
    chosen = {n: builds[n] for n in (*_PLAIN, best)}
    side = {s: _seconds(subject, chosen, s, rounds // 2, threads=threads) for s in _SHAPES}
    return targets, {
        "threads": 1,
        "rounds": rounds,
        "flags": list(flags),
        "schemes": {
            name: {
                "times as fast": {k: _said(r) for k, r in ratios[name].items()},
                "ms": {
                    "x".join(map(str, s)): round(1e3 * float(np.median(seconds[s][name])), 2)
                    for s in _SHAPES
                },
                "file MB": round(sum(Path(f).stat().st_size for f in b.files.values()) / 1e6, 1),
                "recall@10": round(worth[name].recall(), 4),
                "agreement@10": round(
                    float(np.mean(agreement(worth[name].answers, plain.answers))), 4
                ),
                "mean cosine": round(
                    float((worth[name].embeddings * plain.embeddings).sum(1).mean()), 5
                ),
                "class": worth[name].invariance,
                "largest difference": float(f"{worth[name].largest_difference:.2g}"),
            }
            for name, b in builds.items()
        },
        f"{best} on {threads} threads": {k: _said(r) for k, r in _ratios(best, side).items()},
        "not applicable": {name: a.reason for name, a in answers.items() if not a},
    }


def build_of(subject: Subject, scheme: Scheme, *, items: int = CALIBRATION_ITEMS) -> Build:
    """The build under ``scheme``, made once; its files are paths."""
    source = subject.build("fp32", "onnxruntime", {"model.onnx": subject.onnx}, threads=1)
    codec = codec_for(source, Path)
    folder = ROOT / "schemes" / scheme.name
    texts = subject.calibrate[:items] if scheme.needs_calibration else ()
    encoded = codec.encode(texts, truncate=True)
    made = quantize(scheme, subject.onnx, folder, calibration=[codec.collate([e]) for e in encoded])
    return Build(
        name=scheme.name,
        task="embed",
        engine=scheme.engine,
        precision=scheme.precision,
        files={name: str(path) for name, path in made.items()},
        tokenizer=source.tokenizer,
        max_tokens=source.max_tokens,
        threads=1,
        pad_to_multiple=4 if scheme.engine == "openvino" else 1,
    )


def _part(data: RetrievalSet, n: int) -> RetrievalSet:
    """The first ``n`` passages, and the queries that they answer."""
    assert data.relevant is not None
    kept = [i for i, wanted in enumerate(data.relevant) if max(wanted) < n]
    return replace(
        data,
        query_ids=tuple(data.query_ids[i] for i in kept),
        queries=tuple(data.queries[i] for i in kept),
        relevant=tuple(data.relevant[i] for i in kept),
        passage_ids=data.passage_ids[:n],
        passages=data.passages[:n],
        slices=tuple(data.slices[i] for i in kept),
        rows=tuple(data.rows[i] for i in kept),
    )


def _engine(build: Build, *, threads: int = 1) -> tuple[Engine, Codec]:
    return load(replace(build, threads=threads), Path), codec_for(build, Path)


def _seconds(
    subject: Subject,
    builds: Mapping[str, Build],
    shape: tuple[int, int],
    rounds: int,
    *,
    threads: int = 1,
) -> dict[str, NDArray[np.float64]]:
    """Seconds of each build on the same real tokens of one shape."""
    engines: dict[str, Engine] = {}
    batches: dict[str, Tensors] = {}
    for name, build in builds.items():
        engines[name], codec = _engine(build, threads=threads)
        sample = codec.encode(subject.calibrate, truncate=True)
        batches[name] = sample_batches(codec, sample, np.random.default_rng(0))(*shape)
    seconds = alternate(engines, batches, rounds=rounds)
    for engine in engines.values():
        engine.close()
    return seconds


def _ratios(
    name: str, seconds: Mapping[tuple[int, int], Mapping[str, NDArray[np.float64]]]
) -> dict[str, Ratio]:
    """Against the fp32 engine that is the faster one at that shape."""
    found = {}
    for shape, by_name in seconds.items():
        faster = min(_PLAIN, key=lambda plain: float(np.median(by_name[plain])))
        found["x".join(map(str, shape))] = ratio(by_name[faster], by_name[name])
    return found


def _said(found: Ratio) -> list[float]:
    return [round(found.value, 2), round(found.lower, 2)]


def _best(
    schemes: Sequence[Scheme],
    worth: Mapping[str, _Worth],
    seconds: Mapping[tuple[int, int], Mapping[str, NDArray[np.float64]]],
) -> str:
    """The int8 scheme, not dependent on the batch, that took least at the larger shape."""
    candidates = [
        s.name
        for s in schemes
        if s.weight_bits == 8 and worth[s.name].invariance != BatchInvariance.DEPENDENT
    ]
    return min(candidates, key=lambda name: float(np.median(seconds[_SHAPES[-1]][name])))


def _worth(build: Build, data: RetrievalSet) -> _Worth:
    engine, codec = _engine(build)
    answerer = Answerer(engine, codec, truncate=True)
    answers = evaluate(answerer, data, task="embed")
    embeddings = answerer.answer(data.passages[:300]).astype(np.float64)
    report = batch_invariance(
        engine,
        codec,
        data.queries[:200],
        rng=np.random.default_rng(0),
        epsilon=EPSILON,
        sizes=(8, 32),
        difference=cosine_distance,
    )
    answerer.close()
    invariance = BatchInvariance.DEPENDENT if batch_scaled(build, Path) else report.invariance
    return _Worth(answers, embeddings, invariance.value, report.max_difference)
