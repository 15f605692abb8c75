"""How fast is every scheme, and what does it lose? Kernels by turns in one run, on MiniLM.

Which int8 is the best is told by one measurement, by its speed alone, among those that the product
would offer: not with a scale for the whole batch, which it calls dependent by construction. Then
the best is timed anew beside both fp32 engines, at 32 texts of 16 and of 128 tokens, the faster of
them twice. What its answers are worth, and whether they depend on the batch, is measured.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.alternating import Ratio, over_loads, ratio
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
from headgate.workload import Engine, Tensors

__all__ = ["build_of", "kernels"]

_SHAPES = ((32, 16), (32, 128))
_PLAIN = (FP32.name, FP32_OPENVINO.name)
_AGAIN = "fp32 again"
"""The faster fp32 engine in a second place of the rotation."""
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
    scaled = [name for name, build in builds.items() if batch_scaled(build, Path)]
    first = {s: _seconds(subject, builds, s, loads=2, rounds=2 if quick else 4) for s in _SHAPES}
    best = _best(schemes, first, refused=scaled)
    print("chosen by speed:", best, flush=True)  # the quality of all takes minutes
    loads, rounds = (2, 3) if quick else (8, 5)
    threads = len(os.sched_getaffinity(0))
    chosen = {name: builds[name] for name in (*_PLAIN, best)}
    timed = {s: _timed(subject, chosen, first[s], s, loads, rounds) for s in _SHAPES}
    shared = {s: _timed(subject, chosen, first[s], s, 2, rounds, threads) for s in _SHAPES}
    ratios = _ratios(best, timed)
    data = _part(subject.evaluate, 150) if quick else subject.evaluate
    worth = {name: _worth(build, data) for name, build in builds.items()}
    plain = worth[FP32.name]
    targets: dict[str, Target] = {}
    for label, found in ratios.items():
        targets[f"{best}, times as fast as the faster fp32 engine, {label}"] = at_least(
            found.value, 3.0
        )
        targets[f"the same, lower 95 % bound, {label}"] = at_least(found.lower, 2.7)
    targets["recall@10 that it loses"] = at_most(plain.recall() - worth[best].recall(), 0.01)
    targets["its largest cosine distance to the same item in other batches"] = at_most(
        worth[best].largest_difference, EPSILON
    )
    return targets, {
        "loads": loads,
        "rounds of a load": rounds,
        "flags": list(flags),
        "on one thread": {k: _said(r) for k, r in ratios.items()},
        "fp32 beside itself": {k: _said(r) for k, r in _ratios(_AGAIN, timed).items()},
        f"on {threads} threads": {k: _said(r) for k, r in _ratios(best, shared).items()},
        "all, measured to choose": {
            name: {
                "times as fast": {k: _said(r) for k, r in _ratios(name, first).items()},
                "ms": {_label(s): round(1e3 * _median(first[s][name]), 2) for s in _SHAPES},
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
        "a scale for the whole batch, never the best": scaled,
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


def _loaded(build: Build, threads: int = 1) -> Engine:
    return load(replace(build, threads=threads), Path)


def _seconds(
    subject: Subject,
    builds: Mapping[str, Build],
    shape: tuple[int, int],
    *,
    loads: int,
    rounds: int,
    threads: int = 1,
) -> dict[str, NDArray[np.float64]]:
    """Seconds of each build, (loads, rounds), on the same real tokens of one shape."""
    load = {name: partial(_loaded, build, threads) for name, build in builds.items()}
    batches: dict[str, Tensors] = {}
    for name, build in builds.items():
        codec = codec_for(build, Path)
        sample = codec.encode(subject.calibrate, truncate=True)
        batches[name] = sample_batches(codec, sample, np.random.default_rng(0))(*shape)
    return over_loads(load, batches, loads=loads, rounds=rounds)


def _timed(
    subject: Subject,
    builds: Mapping[str, Build],
    before: Mapping[str, NDArray[np.float64]],
    shape: tuple[int, int],
    loads: int,
    rounds: int,
    threads: int = 1,
) -> dict[str, NDArray[np.float64]]:
    """``_seconds``, with the fp32 engine that was faster ``before`` in two places."""
    twice = {**builds, _AGAIN: builds[_faster(before)]}
    return _seconds(subject, twice, shape, loads=loads, rounds=rounds, threads=threads)


def _ratios(
    name: str, seconds: Mapping[tuple[int, int], Mapping[str, NDArray[np.float64]]]
) -> dict[str, Ratio]:
    """Against the fp32 engine that is the faster one at that shape; no bound is narrower than that
    engine beside itself, where it was."""
    found = {}
    for shape, by_name in seconds.items():
        plain = by_name[_faster(by_name)]
        same = (plain, by_name[_AGAIN]) if _AGAIN in by_name and name != _AGAIN else None
        found[_label(shape)] = ratio(plain, by_name[name], same=same)
    return found


def _faster(by_name: Mapping[str, NDArray[np.float64]]) -> str:
    return min(_PLAIN, key=lambda plain: _median(by_name[plain]))


def _median(seconds: NDArray[np.float64]) -> float:
    return float(np.median(seconds))


def _label(shape: tuple[int, int]) -> str:
    return "x".join(map(str, shape))


def _said(found: Ratio) -> list[float]:
    """Value, lower and upper bound."""
    return [round(found.value, 3), round(found.lower, 3), round(found.upper, 3)]


def _best(
    schemes: Sequence[Scheme],
    seconds: Mapping[tuple[int, int], Mapping[str, NDArray[np.float64]]],
    *,
    refused: Collection[str],
) -> str:
    """The int8 scheme that took least at the larger shape, but for what is refused as it is made.

    By nothing else: what it loses and what it depends on is held against the targets.
    """
    candidates = [s.name for s in schemes if s.weight_bits == 8 and s.name not in refused]
    return min(candidates, key=lambda name: _median(seconds[_SHAPES[-1]][name]))


def _worth(build: Build, data: RetrievalSet) -> _Worth:
    engine, codec = _loaded(build), codec_for(build, Path)
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
