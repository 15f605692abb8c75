"""Models that int8 breaks, and that fp32 does not: outliers are put where they change nothing.

Some channels of what a product reads are multiplied by a number, and the rows of its weight that
read them are divided by it (the reverse of SmoothQuant, arXiv 2211.10438). In exact arithmetic the
answers are the same; one grid for the whole tensor then has no room left for the other channels,
as in encoders that have such channels by nature (Bondarenko et al., 2021, arXiv 2109.12948).
"""

from __future__ import annotations

import csv
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.compression.subjects import ROOT, minilm
from headgate.engines import codec_for
from headgate.optimize.answers import Answerer
from headgate.optimize.quality import evaluate
from headgate.quantization.products import weighted_products
from headgate.workload import Engine, Tensors

__all__ = ["Load", "Subject", "Trap", "population", "trapped"]

Floats = NDArray[np.floating]
Load = Callable[[], Engine]
Correct = Callable[[Load], tuple[float, ...]]
"""What loads a build -> how good each item's answer is, 0 to 1."""


@dataclass(frozen=True)
class Trap:
    """Outliers: how large, of how many tensors, in how many channels, and which."""

    strength: float
    tensors: int
    channels: int
    seed: int


@dataclass(frozen=True)
class Subject:
    """A model, what it is calibrated on, what judges it, and the shapes that it is timed on."""

    name: str
    model: Path
    calibration: Sequence[Tensors]
    evaluate: Correct
    holdout: Correct
    timed: Sequence[Tensors]


def population(scratch: Path, *, quick: bool) -> Iterator[Subject]:
    """Subjects with outliers of many kinds; whether int8 breaks them, only trying tells.

    Outliers are in up to a twelfth of the layers. At three times the speed an eighth of the work is
    all that can be left out without losing a fifth of it, so nobody could mend many more.
    """
    for base in _classifiers(scratch, quick=quick):
        many = range(1, len(weighted_products(onnx.load_model(base.model))) // 12 + 1)
        kinds = [*product((100.0, 300.0, 1_000.0), many, (2, 8))]
        for seed, kind in enumerate(kinds[3:5] if quick else kinds):
            yield trapped(base, Trap(*kind, seed), scratch)
    if not quick:
        encoder = _encoder()
        yield encoder
        for seed, kind in enumerate([(30.0, 1, 4), (30.0, 2, 1), (100.0, 3, 2), (100.0, 1, 1)]):
            yield trapped(encoder, Trap(*kind, seed), scratch)


def trapped(subject: Subject, trap: Trap, scratch: Path) -> Subject:
    """``subject`` with outliers; its answers in fp32 are what they were, but for rounding."""
    model = onnx.load_model(subject.model)
    rng = np.random.default_rng(trap.seed)
    products = weighted_products(model)
    tensors = list(dict.fromkeys(p.reads for p in products))
    for tensor in rng.choice(tensors, min(trap.tensors, len(tensors)), replace=False):
        width = next(len(p.weight) for p in products if p.reads == tensor)
        scale = np.ones(width, dtype=np.float32)
        scale[rng.choice(width, trap.channels, replace=False)] = trap.strength
        _scale(model.graph, str(tensor), scale)
    name = f"{subject.name}, {trap.tensors} x {trap.channels} channels x {trap.strength:g}"
    path = scratch / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{trap.seed}.onnx"
    onnx.save_model(model, path)
    return replace(subject, name=name, model=path)


def _scale(graph: onnx.GraphProto, tensor: str, scale: Floats) -> None:
    """Products read ``tensor * scale``, and their weights make up for it."""
    weights = {w.name: w for w in graph.initializer}
    scaled = f"{tensor}_scaled"
    readers = [n for n in graph.node if n.op_type == "MatMul" and n.input[0] == tensor]
    for node in readers:
        stored = weights[node.input[1]]
        stored.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(stored) / scale[:, None], stored.name)
        )
        node.input[0] = scaled
    graph.initializer.append(numpy_helper.from_array(scale, f"{scaled}_by"))
    first = next(i for i, n in enumerate(graph.node) if n is readers[0] or n == readers[0])
    graph.node.insert(first, helper.make_node("Mul", [tensor, f"{scaled}_by"], [scaled], scaled))


def _classifiers(scratch: Path, *, quick: bool) -> Iterator[Subject]:
    """Networks of several depths, on digits and, where it is there, on BANKING77."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    sets = [("digits", (pixels / 16).astype(np.float32), digits.astype(np.int64))]
    banking = Path(os.environ.get("BANKING77", ROOT.parents[2] / "shared" / "data" / "banking77"))
    if (banking / "train.csv").exists() and not quick:
        sets.append(("BANKING77", *_intents(banking)))
    for name, x, y in sets:
        order = np.random.default_rng(0).permutation(len(x))
        train, first, second = np.array_split(order, 3)
        for products in (16,) if quick else (16, 24):
            path = scratch / f"{name}-{products}.onnx"
            _train(x[train], y[train], products=products, path=path)
            yield Subject(
                f"{name}, {products} products",
                path,
                [{"x": row[None]} for row in x[train[:150]]],
                _accuracy(x[first], y[first]),
                _accuracy(x[second], y[second]),
                [{"x": x[first[:32]]}],
            )


def _intents(folder: Path) -> tuple[Floats, NDArray[np.int64]]:
    """Words of BANKING77's questions, hashed into 1,024 counts, and numbers of the intents."""
    rows = [
        row
        for name in ("train.csv", "evaluate.csv")
        for row in csv.DictReader((folder / name).open(encoding="utf-8"))
    ]
    intents = sorted({row["category"] for row in rows})
    x = np.zeros((len(rows), 1024), dtype=np.float32)
    for counts, row in zip(x, rows, strict=True):
        for word in re.findall(r"[a-z']+", row["text"].lower()):
            counts[zlib.crc32(word.encode()) % 1024] += 1
    return x, np.array([intents.index(row["category"]) for row in rows])


def _accuracy(x: Floats, y: NDArray[np.int64]) -> Correct:
    def correct(load: Load) -> tuple[float, ...]:
        return tuple((load().run({"x": x}).argmax(axis=1) == y).astype(float).tolist())

    return correct


def _train(x: Floats, y: NDArray[np.int64], *, products: int, path: Path, width: int = 256) -> None:
    """relu(x @ w0), relu(... @ w1) and so on, ``products`` in all; trained for a few seconds."""
    import torch

    torch.manual_seed(products)
    torch.set_num_threads(1)
    sizes = [x.shape[1], *[width] * (products - 1), int(y.max()) + 1]
    weights = [torch.nn.Parameter(torch.randn(a, b) * (2 / a) ** 0.5) for a, b in pairwise(sizes)]
    optimizer = torch.optim.AdamW(weights, lr=5e-4, weight_decay=0.01)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(1_000):
        rows = torch.randint(len(x), (64,))
        h = inputs[rows]
        for weight in weights[:-1]:
            h = torch.relu(h @ weight)
        loss = torch.nn.functional.cross_entropy(h @ weights[-1], labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _save(path, [w.detach().numpy() for w in weights])


def _save(path: Path, weights: Sequence[Floats]) -> None:
    last = len(weights) - 1
    nodes = []
    for i in range(last):
        nodes += [
            helper.make_node("MatMul", [f"h{i}" if i else "x", f"w{i}"], [f"a{i}"], f"product{i}"),
            helper.make_node("Relu", [f"a{i}"], [f"h{i + 1}"], f"relu{i}"),
        ]
    nodes.append(helper.make_node("MatMul", [f"h{last}", f"w{last}"], ["y"], f"product{last}"))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", len(weights[0])])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", weights[-1].shape[1]])],
        [numpy_helper.from_array(np.ascontiguousarray(w), f"w{i}") for i, w in enumerate(weights)],
    )
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path
    )


def _encoder() -> Subject:
    """MiniLM on Python's documentation: an item is a query, and whether its passage is found."""
    subject = minilm()
    build = subject.build("fp32", "openvino", {"model.onnx": subject.onnx}, threads=1)
    codec = codec_for(build, Path)
    encoded = codec.encode(subject.calibrate[:150], truncate=True)

    def recall(data: object) -> Correct:
        def correct(load: Load) -> tuple[float, ...]:
            answerer = Answerer(load(), codec, truncate=True, beside=[load()])
            scores = evaluate(answerer, data, task="embed").scores["recall@10"]
            return tuple(0.0 if s is None else s for s in scores)

        return correct

    return Subject(
        "MiniLM",
        subject.onnx,
        [codec.collate([e]) for e in encoded],
        recall(subject.evaluate),
        recall(subject.holdout),
        [codec.collate(encoded[:32])],
    )
