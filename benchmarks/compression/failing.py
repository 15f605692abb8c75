"""Models that int8 breaks, and that fp32 does not: drawn, with outliers where they change nothing.

Some channels of what a product reads are multiplied by a number, and the rows of its weight that
read them are divided by it (the reverse of SmoothQuant, arXiv 2211.10438). In exact arithmetic the
answers are the same; one grid for the whole tensor then has no room left for the other channels,
as in encoders that have such channels by nature (Bondarenko et al., 2021, arXiv 2109.12948).

Which network, which layers, how many and how strong is drawn from a seed (``draw``), and nothing
of it is chosen by what int8 or a repair made of it. Whether int8 breaks a draw, only trying tells.
"""

from __future__ import annotations

import csv
import os
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
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

__all__ = ["Draw", "Load", "Subject", "Trap", "bases", "draw", "made", "trapped"]

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


@dataclass(frozen=True)
class Draw:
    """A network and its outliers."""

    seed: int
    base: str
    """What it has learnt: one of ``bases``."""
    widths: tuple[int, ...]
    """Of its hidden layers; MiniLM is what it is."""
    trap: Trap

    @property
    def name(self) -> str:
        trap = self.trap
        network = self.base if self.base == _ENCODER else f"{self.base}, {len(self.widths) + 1}"
        outliers = f"{trap.tensors} x {trap.channels} channels x {trap.strength:.0f}"
        return f"{self.seed}: {network}, {outliers}"


_ENCODER = "MiniLM"
_WIDTHS = (128, 256, 384)


def bases() -> tuple[str, ...]:
    """What there is here to draw from."""
    return ("digits", *(("BANKING77",) if _banking().exists() else ()), _ENCODER)


def draw(seed: int, among: Sequence[str]) -> Draw:
    """The network and the outliers that ``seed`` stands for.

    A chain of 16 to 28 products of drawn widths, or, every fifth time, MiniLM with its 36; outliers
    in one or two tensors of it, 1 to 8 channels each, 30 to 1,000 times as large as they were.
    """
    rng = np.random.default_rng(seed)
    chains = [base for base in among if base != _ENCODER]
    encoder = _ENCODER in among and rng.random() < 0.2
    base = _ENCODER if encoder else str(rng.choice(chains))
    widths = rng.choice(_WIDTHS, rng.integers(15, 28))
    strength = float(np.exp(rng.uniform(np.log(30), np.log(1000))))
    tensors, channels, where = rng.integers((1, 1, 0), (3, 9, 2**31))
    trap = Trap(strength, int(tensors), int(channels), int(where))
    return Draw(seed, base, tuple(map(int, widths)), trap)


def made(drawn: Draw, scratch: Path) -> Subject:
    """The network, trained for some seconds where it is a chain, with its outliers."""
    base = _encoder() if drawn.base == _ENCODER else _classifier(drawn, scratch)
    path = scratch / f"drawn-{drawn.seed}.onnx"
    onnx.save_model(trapped(onnx.load_model(base.model), drawn.trap), path)
    return replace(base, name=drawn.name, model=path)


def trapped(model: onnx.ModelProto, trap: Trap) -> onnx.ModelProto:
    """``model`` with outliers; its answers in fp32 are what they were, but for rounding."""
    rng = np.random.default_rng(trap.seed)
    products = weighted_products(model)
    tensors = list(dict.fromkeys(p.reads for p in products))
    for tensor in rng.choice(tensors, min(trap.tensors, len(tensors)), replace=False):
        width = next(len(p.weight) for p in products if p.reads == tensor)
        scale = np.ones(width, dtype=np.float32)
        scale[rng.choice(width, trap.channels, replace=False)] = trap.strength
        _scale(model.graph, str(tensor), scale)
    return model


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


def _banking() -> Path:
    return Path(os.environ.get("BANKING77", ROOT.parents[2] / "shared" / "data" / "banking77"))


def _labelled(name: str) -> tuple[Floats, NDArray[np.int64]]:
    """Features (items, width) and classes."""
    from sklearn.datasets import load_digits

    if name == "BANKING77":
        return _intents(_banking())
    pixels, digits = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32), digits.astype(np.int64)


def _classifier(drawn: Draw, scratch: Path) -> Subject:
    """The chain: trained on a third, repaired by another, judged by the last."""
    x, y = _labelled(drawn.base)
    order = np.random.default_rng(drawn.seed).permutation(len(x))
    train, first, second = np.array_split(order, 3)
    path = scratch / f"chain-{drawn.seed}.onnx"
    _train(x[train], y[train], widths=drawn.widths, seed=drawn.seed, path=path)
    return Subject(
        drawn.name,
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


def _train(
    x: Floats, y: NDArray[np.int64], *, widths: Sequence[int], seed: int, path: Path
) -> None:
    """relu(x @ w0), relu(... @ w1) and so on; a product more than ``widths``, and no bias."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    sizes = [x.shape[1], *widths, int(y.max()) + 1]
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
        _ENCODER,
        subject.onnx,
        [codec.collate([e]) for e in encoded],
        recall(subject.evaluate),
        recall(subject.holdout),
        [codec.collate(encoded[:32])],
    )
