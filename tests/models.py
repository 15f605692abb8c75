"""Tiny models for tests: built in milliseconds, small enough to check by hand.

They have what real ones have where it matters: dynamic batch and length, an attention mask, a
matrix product for the quantizers, pooling and normalisation in the graph.
"""

from __future__ import annotations

import string
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = [
    "TINY_VOCAB",
    "bent_predictor",
    "outlier_chain",
    "tiny_classifier",
    "tiny_cross_encoder",
    "tiny_embedder",
    "tiny_tokenizer",
]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
PIECES = string.ascii_lowercase + string.digits
TINY_VOCAB = len(SPECIAL) + 2 * len(PIECES)


def tiny_embedder(
    path: Path, *, vocab: int = TINY_VOCAB, dim: int = 8, hidden: int = 16, seed: int = 0
) -> Path:
    """ids, mask -> normalised mean over unmasked tokens of tanh(embedding @ weight)."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "weight"], ["projected"]),
        helper.make_node("Tanh", ["projected"], ["hidden"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["hidden", "mask3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "length_axis"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["mask3", "length_axis"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("ReduceL2", ["mean", "last"], ["norm"], keepdims=1),
        helper.make_node("Div", ["mean", "norm"], ["sentence_embedding"]),
    ]
    tokens = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "length"])
        for n in ("input_ids", "attention_mask")
    ]
    weights = {
        "embedding": rng.normal(size=(vocab, hidden)).astype(np.float32),
        "weight": rng.normal(size=(hidden, dim)).astype(np.float32),
        "last": np.array([-1]),
        "length_axis": np.array([1]),
    }
    return _save(
        path, "tiny_embedder", nodes, tokens, "sentence_embedding", ["batch", dim], weights
    )


def tiny_classifier(path: Path, *, features: int = 4, classes: int = 3, seed: int = 0) -> Path:
    """x (batch, features) -> softmax(x @ weight), shape (batch, classes)."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", features])
    weights = {"weight": rng.normal(size=(features, classes)).astype(np.float32)}
    return _save(path, "tiny_classifier", nodes, [x], "probabilities", ["batch", classes], weights)


def bent_predictor(path: Path, *, bend: float = 6.0) -> Path:
    """x (batch, 4) -> x1 + x2 + x3 + x4 + bend * relu(x1 - 1), shape (batch, 1): a line, but for
    one item in six."""
    nodes = [
        helper.make_node("MatMul", ["x", "sum"], ["line"]),
        helper.make_node("MatMul", ["x", "first"], ["x1"]),
        helper.make_node("Sub", ["x1", "one"], ["over"]),
        helper.make_node("Relu", ["over"], ["above"]),
        helper.make_node("Mul", ["above", "bend"], ["bent"]),
        helper.make_node("Add", ["line", "bent"], ["y"]),
    ]
    weights: dict[str, NDArray[np.generic]] = {
        "sum": np.ones((4, 1), np.float32),
        "first": np.array([[1], [0], [0], [0]], np.float32),
        "one": np.ones(1, np.float32),
        "bend": np.full(1, bend, np.float32),
    }
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    return _save(path, "bent_predictor", nodes, [x], "y", ["batch", 1], weights)


def outlier_chain(
    path: Path, *, widths: tuple[int, ...], before: int, strength: float = 1000.0
) -> Path:
    """x -> relu(x @ w0) -> ... -> y, products named ``product0`` and so on.

    What ``product{before}`` reads has a channel that is ``strength`` times as large, which its
    weight divides out again: fp32 answers as if there were none, and int8 cannot.
    """
    rng, last = np.random.default_rng(0), len(widths) - 2
    nodes, weights = [], {}
    for i, shape in enumerate(pairwise(widths)):
        weight = rng.normal(size=shape) * np.sqrt(2 / shape[0])
        if i == before:
            weight[0] /= strength
        if i == before - 1:
            weight[:, 0] *= strength
        weights[f"w{i}"] = weight.astype(np.float32)
        read, made = f"h{i}" if i else "x", "y" if i == last else f"a{i}"
        nodes.append(helper.make_node("MatMul", [read, f"w{i}"], [made], f"product{i}"))
        if i < last:
            nodes.append(helper.make_node("Relu", [made], [f"h{i + 1}"], f"relu{i}"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", widths[0]])
    return _save(path, "chain", nodes, [x], "y", ["batch", widths[-1]], weights)


def tiny_cross_encoder(
    path: Path, *, vocab: int = TINY_VOCAB, hidden: int = 16, scores: int = 1, seed: int = 0
) -> Path:
    """ids, mask, segments -> logits (batch, scores).

    Mean over unmasked tokens of tanh((token + segment embedding) @ weight), times a head: the same
    tokens split elsewhere score differently.
    """
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["tokens"]),
        helper.make_node("Gather", ["segment", "token_type_ids"], ["segments"]),
        helper.make_node("Add", ["tokens", "segments"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "weight"], ["projected"]),
        helper.make_node("Tanh", ["projected"], ["hidden"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["hidden", "mask3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "length_axis"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["mask3", "length_axis"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    tokens = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "length"])
        for n in ("input_ids", "attention_mask", "token_type_ids")
    ]
    weights = {
        "embedding": rng.normal(size=(vocab, hidden)).astype(np.float32),
        "segment": rng.normal(size=(2, hidden)).astype(np.float32),
        "weight": rng.normal(size=(hidden, hidden)).astype(np.float32),
        "head": rng.normal(size=(hidden, scores)).astype(np.float32),
        "last": np.array([-1]),
        "length_axis": np.array([1]),
    }
    return _save(path, "tiny_cross_encoder", nodes, tokens, "logits", ["batch", scores], weights)


def tiny_tokenizer(path: Path) -> Path:
    """One token a character, [CLS] and [SEP] around; packaged, as many are, to pad and truncate.

    A codec must undo that: the padding to 128 here is the trap that real tokenizers set.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocab = {t: i for i, t in enumerate([*SPECIAL, *PIECES, *("##" + p for p in PIECES)])}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(max_length=128)
    tokenizer.save(str(path))
    return path


def _save(
    path: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    output: str,
    output_shape: list[str | int],
    weights: dict[str, NDArray[np.generic]],
) -> Path:
    graph = helper.make_graph(
        nodes,
        name,
        inputs,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path
