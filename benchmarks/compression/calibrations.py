"""Which way to find the ranges of activations loses least, of those that an engine has?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.kernels import build_of
from benchmarks.compression.pieces import Pieces
from benchmarks.compression.subjects import minilm
from benchmarks.convention import Target, at_most
from headgate.engines import codec_for, load
from headgate.objects import Build
from headgate.optimize.answers import Answerer
from headgate.quantization import FP32, INT8_STATIC, INT8_STATIC_QDQ, Scheme
from headgate.quantization.schemes import Method

__all__ = ["calibrations"]

Floats = NDArray[np.float64]

_PASSAGES = 300
_NEIGHBOURS = 10
_METHODS: Mapping[Scheme, tuple[Method, ...]] = {
    INT8_STATIC_QDQ: ("mse", "mean_min_max", "percentile", "min_max", "entropy"),
    INT8_STATIC: ("mean_min_max", "mse", "percentile", "min_max"),
}


def calibrations(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Mean cosine to fp32's answers, and the share of ten neighbours that stay; by what the scheme
    takes, and by the others. Each scheme's own is to be as good as the best of them."""
    subject = minilm()
    passages = subject.evaluate.passages[: 100 if quick else _PASSAGES]
    exact = cache(partial(_answers, build_of(subject, FP32), passages))

    def beside_exact(scheme: Scheme) -> tuple[float, float]:
        return _beside(_answers(build_of(subject, scheme), passages), exact())

    pieces = Pieces("calibrations", quick=quick)
    targets: dict[str, Target] = {}
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for scheme, methods in _METHODS.items():
        for method in methods[:2] if quick else methods:
            by = _by(method, scheme)
            kept = pieces.of([by.name, len(passages)], partial(beside_exact, by))
            found.setdefault(scheme.name, {})[method] = kept
            print(by.name, kept, flush=True)
        own, *_ = cosines = [cosine for cosine, _ in found[scheme.name].values()]
        targets[f"{scheme.name}: mean cosine, the best less its own"] = at_most(
            max(cosines) - own, 0.001
        )
    return targets, {"mean cosine and overlap": found}


def _by(method: Method, scheme: Scheme) -> Scheme:
    assert scheme.calibration is not None
    calibration = replace(scheme.calibration, method=method)
    return replace(scheme, name=f"{scheme.name}_{method}", calibration=calibration)


def _answers(build: Build, passages: Sequence[str]) -> Floats:
    """Shape (passages, dimensions), of length 1."""
    with closing(Answerer(load(build, Path), codec_for(build, Path), truncate=True)) as answerer:
        return answerer.answer(passages).astype(np.float64)


def _beside(ours: Floats, exact: Floats) -> tuple[float, float]:
    cosine = float((ours * exact).sum(axis=1).mean())
    return round(cosine, 5), round(_overlap(_nearest(ours), _nearest(exact)), 4)


def _nearest(answers: Floats) -> NDArray[np.intp]:
    """Shape (passages, neighbours), of each the others that are nearest."""
    near = answers @ answers.T
    np.fill_diagonal(near, -np.inf)
    return np.argsort(-near, axis=1)[:, :_NEIGHBOURS]


def _overlap(ours: NDArray[np.intp], theirs: NDArray[np.intp]) -> float:
    shared = [len({*a} & {*b}) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]
    return float(np.mean(shared)) / _NEIGHBOURS
