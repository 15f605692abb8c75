"""Endpoints whose models int8 may break: drawn as they are, or with outliers planted in them.

*Natural*: small and deep networks, wide and narrow, and cuts of MiniLM that nobody trained on.
*Planted*: some channels of what a product reads are multiplied by a number, and the rows of its
weight that read them are divided by it (the reverse of SmoothQuant, arXiv 2211.10438). In exact
arithmetic the answers are the same; one grid for the whole tensor then has no room left for the
other channels, as in encoders that have such channels by nature (Bondarenko et al., 2021, arXiv
2109.12948). What is planted sits in one or two tensors, which suits whoever looks for few layers:
so what becomes of the two kinds is told apart.

Which network, and which outliers, is drawn from a seed (``draw``), and nothing of it is chosen by
what int8 or a repair made of it. Whether int8 breaks a draw, only trying tells.
"""

from __future__ import annotations

import csv
import re
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.compression.previewed import write_rows
from benchmarks.compression.subjects import BANKING77, minilm
from benchmarks.compression.worth import MARGIN
from headgate.engines.export_torch import export_embedder
from headgate.quantization.products import weighted_products

__all__ = ["Chain", "Draw", "Kind", "Trap", "bases", "chain", "draw", "endpoint", "trapped"]

Floats = NDArray[np.floating]
Rows = tuple[Floats, NDArray[np.int64]]
"""Inputs (items, width) and classes."""
Kind = Literal["natural", "planted"]

_YAML = """\
endpoint: drawn
task: {task}
owner: {{team: benchmark, escalate: "command:true"}}
model: {model}
data: {{evaluate: evaluate.jsonl, holdout: holdout.jsonl, calibrate: calibrate.jsonl}}
workload: {{rate_per_s: 20, requests: 200}}
candidates: [int8_static]
contracts:
  {metric}: {{not_below_current_by: {margin}, why: "a benchmark's margin", on_breach: rollback}}
"""


@dataclass(frozen=True)
class Trap:
    """Outliers: how large, of how many tensors, in how many channels, and which."""

    strength: float
    tensors: int
    channels: int
    seed: int


@dataclass(frozen=True)
class Draw:
    """A network, and its outliers if it has any."""

    seed: int
    base: str
    """What it has learnt: one of ``bases``."""
    shape: tuple[int, ...]
    """Widths of a chain's hidden layers; which layers of MiniLM are left."""
    trap: Trap | None

    @property
    def name(self) -> str:
        encoder = self.base == _ENCODER
        network = (
            f"{self.base}, {len(self.shape) + (not encoder)} {'layers' if encoder else 'products'}"
        )
        if self.trap is None:
            return f"{self.seed}: {network}"
        trap = self.trap
        outliers = f"{trap.tensors} x {trap.channels} channels x {trap.strength:.0f}"
        return f"{self.seed}: {network}, {outliers}"


@dataclass(frozen=True)
class Chain:
    """A trained chain of products, and rows that it did not learn from but for ``calibrate``."""

    model: Path
    calibrate: Rows
    evaluate: Rows
    holdout: Rows


_ENCODER = "MiniLM"
_LAYERS = 6
_WIDTHS = {"planted": (128, 256, 384), "natural": (16, 32, 64, 128, 256)}
_HIDDEN = {"planted": (15, 28), "natural": (2, 28)}
"""Fewest hidden layers of a chain, and one more than the most."""


def bases() -> tuple[str, ...]:
    """What there is here to draw from."""
    return ("digits", *(("BANKING77",) if BANKING77.exists() else ()), _ENCODER)


def draw(seed: int, among: Sequence[str], kind: Kind) -> Draw:
    """The network and the outliers that ``seed`` stands for.

    A chain of drawn widths or, every fifth time, MiniLM. Planted: of 16 to 28 products or all of
    MiniLM, with outliers in one or two tensors, 1 to 8 channels each, 30 to 1,000 times as large as
    they were. Natural: of 3 to 28 products, narrower ones too, or one to five layers of MiniLM.
    """
    rng = np.random.default_rng(seed)
    chains = [base for base in among if base != _ENCODER]
    encoder = _ENCODER in among and rng.random() < 0.2
    base = _ENCODER if encoder else str(rng.choice(chains))
    widths = tuple(map(int, rng.choice(_WIDTHS[kind], rng.integers(*_HIDDEN[kind]))))
    if kind == "natural":
        left = rng.choice(_LAYERS, rng.integers(1, _LAYERS), replace=False)
        return Draw(seed, base, tuple(sorted(map(int, left))) if encoder else widths, None)
    strength = float(np.exp(rng.uniform(np.log(30), np.log(1000))))
    tensors, channels, where = rng.integers((1, 1, 0), (3, 9, 2**31))
    trap = Trap(strength, int(tensors), int(channels), int(where))
    return Draw(seed, base, tuple(range(_LAYERS)) if encoder else widths, trap)


def endpoint(drawn: Draw, here: Path) -> Path:
    """Its headgate.yaml in ``here``, with the model and the data beside it; a chain trains for some
    seconds. Nothing is made again that is whole."""
    config = here / "headgate.yaml"
    if not config.exists():
        here.mkdir(parents=True, exist_ok=True)
        text = _encoder(drawn, here) if drawn.base == _ENCODER else _classifier(drawn, here)
        config.write_text(text, encoding="utf-8")
    return config


def _trapped_file(path: Path, trap: Trap | None) -> None:
    if trap is not None:
        onnx.save_model(trapped(onnx.load_model(path), trap), path)


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


def _labelled(name: str) -> tuple[Floats, NDArray[np.int64]]:
    """Features (items, width) and classes."""
    from sklearn.datasets import load_digits

    if name == "BANKING77":
        return _intents(BANKING77)
    pixels, digits = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32), digits.astype(np.int64)


def _classifier(drawn: Draw, here: Path) -> str:
    made = chain(drawn, here)
    rows = {"evaluate": made.evaluate, "holdout": made.holdout, "calibrate": made.calibrate}
    for role, (x, y) in rows.items():
        write_rows(here / f"{role}.jsonl", x, y)
    return _YAML.format(
        task="classify", model="{onnx: model.onnx}", metric="accuracy", margin=MARGIN
    )


def chain(drawn: Draw, here: Path) -> Chain:
    """Trained on a third, mended by another, judged by the last."""
    x, y = _labelled(drawn.base)
    _, once = np.unique(x, axis=0, return_index=True)  # no row is in two of them
    order = np.random.default_rng(drawn.seed).permutation(once)
    train, first, second = np.array_split(order, 3)
    path = here / "model.onnx"
    _train(x[train], y[train], widths=drawn.shape, seed=drawn.seed, path=path)
    _trapped_file(path, drawn.trap)
    few = train[:150]
    return Chain(path, (x[few], y[few]), (x[first], y[first]), (x[second], y[second]))


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


def _encoder(drawn: Draw, here: Path) -> str:
    """MiniLM on Python's documentation: an item is a query, and whether its passage is found."""
    subject, path = minilm(), here / "model.onnx"
    for role in ("evaluate", "holdout", "calibrate"):
        shutil.copy(subject.data / f"{role}.jsonl", here)
    shutil.copy(subject.encoder / "tokenizer.json", here)
    if len(drawn.shape) == _LAYERS:
        shutil.copy(subject.onnx, path)
    else:
        export_embedder(subject.encoder, path, layers=drawn.shape)
    _trapped_file(path, drawn.trap)
    tokens = f"tokenizer: tokenizer.json, max_tokens: {subject.max_tokens}, truncate: true"
    return _YAML.format(
        task="embed", model=f"{{onnx: model.onnx, {tokens}}}", metric="recall@10", margin=MARGIN
    )
