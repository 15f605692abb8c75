"""Does noise that one pass sees rank layers as quantizing each of them alone does?

Rank correlations with how far a model's outputs move where one product alone is int8, on ONNX
Runtime; of the product's formula, and of others that were considered (decision 38). It was chosen
on MiniLM: the other models are what it is held to.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.compression.failing import Draw, bases, chain, draw
from benchmarks.compression.pieces import Pieces
from benchmarks.compression.subjects import Subject, minilm
from benchmarks.convention import Target, at_least
from headgate.engines import codec_for
from headgate.engines.export_torch import export_embedder
from headgate.engines.onnxruntime_engine import OnnxRuntimeEngine
from headgate.quantization import INT8_STATIC_QDQ, Calibration
from headgate.quantization.grids import affine_grid, symmetric_grid
from headgate.quantization.onnx_files import observe
from headgate.quantization.produce import measure_sensitivity, quantize
from headgate.quantization.products import WeightedProduct, weighted_products
from headgate.quantization.sensitivity import RowSample
from headgate.workload import Tensors

__all__ = ["sensitivity"]

Floats = NDArray[np.float64]

_INT8 = replace(INT8_STATIC_QDQ, calibration=Calibration("min_max"))
_CALIBRATION, _SHOWN = 100, 44
"""Texts that are calibrated on, and others whose answers are looked at."""
_HALF = (0, 2, 5)
"""Layers of the second encoder: every second one, and the last."""
_OURS = "the product's"
_SEEDS = (3000, 3001, 3002)
"""Of drawn chains with outliers."""


@dataclass(frozen=True)
class _Model:
    path: Path
    calibration: Sequence[Tensors]
    shown: Tensors


def sensitivity(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Spearman's rank correlation on each model, and beside it what a repair lives by."""
    minilm()  # made before anything is measured
    pieces = Pieces("sensitivity", quick=quick)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, make in _models(quick=quick).items():
        found[name] = pieces.of(name, partial(_compared, make))
        print(name, found[name], flush=True)
    targets = {
        f"rank correlation, {name}": at_least(compared["rank correlation"][_OURS], 0.8)
        for name, compared in found.items()
    }
    return targets, {"by formula": found}


def _compared(make: Callable[[Path], _Model]) -> dict[str, dict[str, float]]:
    """Each formula with what quantizing each product alone does.

    Where one product does all the harm, the ranks of the others are luck. So beside the correlation
    stands how much of the harm that its worst quarter of the products does, the quarter that the
    formula puts first does: these are what a repair leaves out first.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        model = make(scratch)
        moved = np.array(_moved(model, scratch))
        layers = measure_sensitivity(_INT8, model.path, model.calibration, scratch=scratch)
        ranked = {_OURS: [layer.noise for layer in layers], **_others(model, scratch)}
    quarter = -(-len(moved) // 4)
    worst = np.sort(moved)[-quarter:].sum()
    return {
        "rank correlation": {
            name: round(float(spearmanr(noise, moved)[0]), 3) for name, noise in ranked.items()
        },
        "harm of the first quarter, over the worst quarter's": {
            name: round(float(moved[np.argsort(noise)[-quarter:]].sum() / worst), 3)
            for name, noise in ranked.items()
        },
    }


def _models(*, quick: bool) -> Mapping[str, Callable[[Path], _Model]]:
    """Name -> what makes it, in a directory."""
    chains = [base for base in bases() if base != "MiniLM"]
    drawn = [draw(seed, chains, "planted") for seed in (_SEEDS[:1] if quick else _SEEDS)]
    encoders = {"MiniLM": _whole, "three of its layers": _half}
    return {**({} if quick else encoders), **{d.name: partial(_chain, d) for d in drawn}}


def _whole(scratch: Path) -> _Model:
    return _encoder(minilm())


def _half(scratch: Path) -> _Model:
    half = scratch / "half.onnx"
    export_embedder(minilm().encoder, half, layers=_HALF)
    return _encoder(replace(minilm(), onnx=half))


def _chain(drawn: Draw, scratch: Path) -> _Model:
    made = chain(drawn, scratch)
    calibration = [{"x": row[None]} for row in made.calibrate[0]]
    return _Model(made.model, calibration, {"x": made.evaluate[0][:32]})


def _encoder(subject: Subject) -> _Model:
    build = subject.build("fp32", "onnxruntime", {"model.onnx": subject.onnx}, threads=1)
    codec = codec_for(build, Path)
    encoded = codec.encode(subject.calibrate[: _CALIBRATION + _SHOWN], truncate=True)
    calibration = [codec.collate([e]) for e in encoded[:_CALIBRATION]]
    return _Model(subject.onnx, calibration, codec.collate(encoded[_CALIBRATION:]))


def _moved(model: _Model, scratch: Path) -> list[float]:
    """How far outputs move, for each product that alone is int8: squares, over fp32's."""
    exact = _answers(model.path, model.shown)
    names = [p.name for p in weighted_products(onnx.load_model(model.path))]
    tables = [n.name for n in onnx.load_model(model.path).graph.node if n.op_type == "Gather"]
    made = scratch / "alone"  # not beside the model, which may be called as what is made
    made.mkdir()
    moved = []
    for name in names:
        keep = tuple({*names, *filter(None, tables)} - {name})
        alone = quantize(replace(_INT8, keep=keep), model.path, made, calibration=model.calibration)
        outputs = _answers(alone["model.onnx"], model.shown)
        moved.append(float(np.square(outputs - exact).sum() / np.square(exact).sum()))
    return moved


def _answers(path: Path, batch: Tensors) -> Floats:
    return OnnxRuntimeEngine(path, threads=1).run(batch).astype(np.float64)


def _others(model: _Model, scratch: Path) -> dict[str, list[float]]:
    """Noise by formulas that were considered, for each product."""
    products = weighted_products(onnx.load_model(model.path))
    read = {p.reads: RowSample() for p in products}
    joined = {p.joins: RowSample() for p in products}
    for seen in observe(model.path, {*read, *joined}, model.calibration, scratch=scratch):
        for name, sample in [*read.items(), *joined.items()]:
            sample.add(seen[name].reshape(-1, seen[name].shape[-1]))
    rows = [_rows(p, read[p.reads], joined[p.joins]) for p in products]
    return {
        "product, sum": [lost.sum() / own.sum() for lost, own, _ in rows],
        "product, median": [float(np.median(lost / own)) for lost, own, _ in rows],
        "stream, sum": [lost.sum() / stream.sum() for lost, _, stream in rows],
        "stream, mean": [float(np.mean(lost / stream)) for lost, _, stream in rows],
        "stream, median": [float(np.median(lost / stream)) for lost, _, stream in rows],
    }


def _rows(
    product: WeightedProduct, read: RowSample, joined: RowSample
) -> tuple[Floats, Floats, Floats]:
    """Squares of each row: what int8 loses, what the product is, what it joins. Rows of zeros, of
    which there is nothing to lose, are left out."""
    x, weight = read.rows.astype(np.float64), product.weight.astype(np.float64)
    grid = affine_grid(min(read.lows.min(), 0.0), max(read.highs.max(), 0.0), bits=8)
    columns = symmetric_grid(np.abs(weight).max(axis=0), bits=8)
    exact = x @ weight
    lost = np.square(exact - grid.round(x) @ columns.round(weight)).sum(axis=1)
    own, stream = (np.square(v.astype(np.float64)).sum(axis=1) for v in (exact, joined.rows))
    known = (own > 0) & (stream > 0)
    return lost[known], own[known], stream[known]
