"""Classifiers and students of them, made by the product's own code: BANKING77, and digits.

BANKING77 (Casanueva et al., 2020) lies in ``BANKING77``, or beside this project in
``shared/data/banking77``: train.csv and evaluate.csv of text, category.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.compression.subjects import minilm_files
from headgate.distillation.classifiers import HEADS, as_probabilities
from headgate.distillation.heads import train_head
from headgate.engines import codec_for, load
from headgate.engines.export_head import export_head, token_table
from headgate.engines.export_torch import OUTPUT_NAME
from headgate.engines.outputs import keep_output, scores_beside_labels
from headgate.engines.signature import model_inputs
from headgate.objects import Build
from headgate.optimize.answers import Answerer

__all__ = ["KEPT_FILES", "Classified", "Split", "banking77", "digits", "student_of"]

KEPT_FILES = Path(__file__).parents[1] / ".compression"
_ROOT = Path(__file__).parents[2]
_MAX_TOKENS = 128

Scores = NDArray[np.generic]


@dataclass(frozen=True)
class Split:
    """Items and the index of each one's class; of a predictor the value that is right."""

    items: list[object]
    labels: NDArray[np.int64] | NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.items)

    def of(self, places: NDArray[np.intp]) -> Split:
        return Split([self.items[i] for i in places], self.labels[places])


@dataclass(frozen=True)
class Classified:
    """A teacher, and three splits: it and its students learn from the first, thresholds from the
    second, and nothing from the third."""

    teacher: Build
    train: Split
    calibrate: Split
    evaluate: Split

    @cached_property
    def answers(self) -> Scores:
        """The teacher's, to what its students learn from."""
        return self.scores(self.teacher, self.train)

    def scores(self, build: Build, split: Split) -> Scores:
        """Of ``build``, (items, classes)."""
        answerer = Answerer(load(build, Path), codec_for(build, Path), truncate=True)
        try:
            return answerer.answer(split.items)
        finally:
            answerer.close()


def student_of(data: Classified, name: str, *, taught: bool) -> Build:
    """The student ``name`` of the teacher's answers, or of the labels alone: equal steps."""
    answers, already = as_probabilities(data.answers)
    targets = answers if taught else np.eye(answers.shape[1])[data.train.labels]
    codec = codec_for(data.teacher, Path)
    model = Path(data.teacher.files["model.onnx"])
    table = token_table(model) if data.teacher.tokenizer else None
    head = train_head(
        [e.content for e in codec.encode(data.train.items, truncate=True)],
        targets,
        vocabulary=None if table is None else len(table),
        table=table,
        recipe=HEADS[name],
        seed=0,
    )
    kind = "taught" if taught else "alone"
    out = model.with_name(f"{model.stem}-{name}-{kind}.onnx")
    export_head(head, model_inputs(data.teacher, Path), out, probabilities=already)
    return _build(f"{name}, {kind}", out, data.teacher.tokenizer)


def banking77() -> Classified | None:
    """77 intents of bank customers; None where the data are not there.

    The teacher is MiniLM-L6 with a linear head, logistic regression on its embeddings. Of the
    10,003 texts to train on 3,000 calibrate.
    """
    root = Path(os.environ.get("BANKING77", _ROOT.parent / "shared" / "data" / "banking77"))
    if not (root / "train.csv").is_file():
        return None
    from sklearn.linear_model import LogisticRegression

    names: dict[str, int] = {}
    whole, evaluate = (_read(root / f"{split}.csv", names) for split in ("train", "evaluate"))
    order = np.random.default_rng(0).permutation(len(whole))
    train, calibrate = whole.of(order[3000:]), whole.of(order[:3000])
    KEPT_FILES.mkdir(exist_ok=True)
    encoder, embedder = minilm_files()
    tokenizer = str(encoder / "tokenizer.json")
    build = Build(
        "minilm", "embed", "onnxruntime", "fp32", {"model.onnx": str(embedder)}, tokenizer,
        _MAX_TOKENS, 1,
    )  # fmt: skip
    answerer = Answerer(load(build, Path), codec_for(build, Path), truncate=True)
    vectors = answerer.answer(train.items)
    answerer.close()
    fitted = LogisticRegression(C=30.0, max_iter=300).fit(vectors, train.labels)
    model = KEPT_FILES / "banking77.onnx"
    _with_head(embedder, fitted.coef_.T, fitted.intercept_, model)
    return Classified(_build("teacher", model, tokenizer), train, calibrate, evaluate)


def digits() -> Classified:
    """scikit-learn's digits, 8 x 8; the teacher is a random forest of 200 trees, through ONNX."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    data, target = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(data))
    whole = Split(list(data), target.astype(np.int64))
    train, calibrate, evaluate = (
        whole.of(part) for part in (order[:800], order[800:1300], order[1300:])
    )
    forest = RandomForestClassifier(200, random_state=0, n_jobs=1)
    forest.fit(np.array(train.items), train.labels)
    graph = to_onnx(
        forest,
        initial_types=[("input", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset=18,
    )
    KEPT_FILES.mkdir(exist_ok=True)
    both, model = KEPT_FILES / "digits-both.onnx", KEPT_FILES / "digits.onnx"
    both.write_bytes(graph.SerializeToString(deterministic=True))
    keep_output(both, scores_beside_labels(both) or "", model)
    return Classified(_build("teacher", model, None), train, calibrate, evaluate)


def _build(name: str, model: Path, tokenizer: str | None) -> Build:
    longest = _MAX_TOKENS if tokenizer else 1
    files = {"model.onnx": str(model)}
    return Build(name, "classify", "onnxruntime", "fp32", files, tokenizer, longest, 1)


def _read(path: Path, names: dict[str, int]) -> Split:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [names.setdefault(row["category"], len(names)) for row in rows]
    return Split([row["text"] for row in rows], np.array(labels))


def _with_head(
    embedder: Path, weight: NDArray[np.float64], bias: NDArray[np.float64], out: Path
) -> None:
    """``softmax(embedding @ weight + bias)`` behind the encoder."""
    model = onnx.load(embedder)
    graph = model.graph
    named = {"head.weight": weight, "head.bias": bias}
    graph.initializer.extend(
        numpy_helper.from_array(value.astype(np.float32), name) for name, value in named.items()
    )
    graph.node.extend(
        (
            helper.make_node("Gemm", [OUTPUT_NAME, *named], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=-1),
        )
    )
    del graph.output[:]
    shape = ["batch", len(bias)]
    graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape))
    out.write_bytes(model.SerializeToString(deterministic=True))
