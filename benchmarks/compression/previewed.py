"""Endpoints whose candidates are forecast: encoders on Python's documentation, digits, banking.

Each is a directory with its headgate.yaml under ``benchmarks/.compression/preview``, made again,
empty but for its files, once the code that makes it is another.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.subjects import BANKING77, ROOT, made, minilm
from headgate.distillation import layers_for
from headgate.optimize.code import code_digest

__all__ = ["SUBJECTS", "endpoint", "is_there", "write_rows"]

_SCHEMES = (
    "bf16, int8_dynamic, int8_static, int8_bf16, int8_static_qdq, int8_weights, int4_weights, "
    "int4_weights_openvino"
)
_YAML = """\
endpoint: {name}
task: {task}
owner: {{team: benchmark, escalate: "command:true"}}
model: {model}
data: {{evaluate: evaluate.jsonl, calibrate: calibrate.jsonl}}
workload: {{rate_per_s: 20, requests: 400}}
prices: {{device_second: 0.00002}}
candidates: [{schemes}]
contracts:
  {metric}: {{not_below_current_by: 0.02, why: "a benchmark's margin", on_breach: rollback}}
"""

_HERE = "benchmarks.compression.previewed"

Numbers = NDArray[np.float32]


def endpoint(name: str) -> Path:
    """The directory of the subject ``name``, made if need be."""

    def make(here: Path) -> None:
        here.mkdir()
        task, model, metric = SUBJECTS[name](here)
        text = _YAML.format(name=name, task=task, model=model, metric=metric, schemes=_SCHEMES)
        (here / "headgate.yaml").write_text(text, encoding="utf-8")

    # With ``headgate``, what this imports of it counts too.
    return made(ROOT / "preview" / name, code_digest(_HERE, "headgate"), make)


def is_there(name: str) -> bool:
    """Whether what the subject ``name`` is made of is on this machine."""
    return SUBJECTS[name] is not _banking or (BANKING77 / "train.csv").exists()


def _python_help(layers: int) -> Callable[[Path], tuple[str, str, str]]:
    """MiniLM with so many of its six layers, untrained where it has fewer."""

    def make(here: Path) -> tuple[str, str, str]:
        from safetensors.numpy import load_file, save_file

        subject = minilm()
        for role in ("evaluate", "calibrate"):
            shutil.copy(subject.data / f"{role}.jsonl", here)
        encoder = here / "encoder"
        encoder.mkdir(exist_ok=True)
        for file in ("tokenizer.json", "sentence_bert_config.json"):
            if (subject.encoder / file).exists():
                shutil.copy(subject.encoder / file, encoder)
        config = json.loads((subject.encoder / "config.json").read_text(encoding="utf-8"))
        kept = layers_for(layers, config["num_hidden_layers"])
        weights = {}
        for key, value in load_file(subject.encoder / "model.safetensors").items():
            before, mark, rest = key.partition("encoder.layer.")
            if not mark:
                weights[key] = value
                continue
            layer, _, what = rest.partition(".")
            if int(layer) in kept:
                weights[f"{before}{mark}{kept.index(int(layer))}.{what}"] = value
        save_file(weights, encoder / "model.safetensors")
        config["num_hidden_layers"] = layers
        (encoder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return "embed", "{path: encoder}", "recall@10"

    return make


def write_rows(path: Path, items: Iterable[Any], labels: Iterable[int]) -> None:
    """A file of inputs and their classes, as an endpoint of ``classify`` has them."""
    lines = (
        json.dumps(
            {"id": f"i{k}", "input": [round(float(x), 5) for x in item], "label": int(label)}
        )
        for k, (item, label) in enumerate(zip(items, labels, strict=True))
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _digits() -> tuple[Numbers, Numbers, NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32)
    return train_test_split(  # type: ignore[no-any-return]  # scikit-learn has no types
        images, labels, test_size=0.5, random_state=0, stratify=labels
    )


def _trained(net: Callable[[], Any], *, seed: int) -> Callable[[Path], tuple[str, str, str]]:
    """A torch classifier of digits, trained to some 97 %."""

    def make(here: Path) -> tuple[str, str, str]:
        import torch

        learn, judge, of_learn, of_judge = _digits()
        write_rows(here / "evaluate.jsonl", judge, of_judge)
        write_rows(here / "calibrate.jsonl", learn[:200], of_learn[:200])
        _export(net, here, torch.tensor(learn), torch.tensor(of_learn), seed=seed, epochs=25)
        return "classify", "{onnx: model.onnx}", "accuracy"

    return make


def _export(
    net: Callable[[], Any], here: Path, items: Any, labels: Any, *, seed: int, epochs: int
) -> None:
    import warnings

    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(items)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(items[batch]), labels[batch]).backward()
            optimizer.step()
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(2, items.shape[1]),),
            here / "model.onnx",
            input_names=["x"],
            output_names=["scores"],
            dynamic_axes={"x": {0: "batch"}, "scores": {0: "batch"}},
            dynamo=False,
            opset_version=18,
        )


def _mlp(*widths: int) -> Callable[[], Any]:
    def net() -> Any:
        from torch import nn

        layers: list[Any] = []
        for a, b in zip((64, *widths), (*widths, 10), strict=True):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    return net


def _convolutional() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def _encoder() -> Any:
    """Two layers of attention over the eight rows of a digit."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            q, k, v = self.qkv(self.one(x)).chunk(3, dim=-1)
            weights = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1)
            x = x + self.out(weights @ v)
            return x + self.narrow(torch.relu(self.wide(self.two(x))))

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Linear(8, 96), nn.Parameter(0.1 * torch.randn(8, 96))
            self.blocks = nn.Sequential(Block(96), Block(96))
            self.head = nn.Linear(96, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.blocks(self.embed(x.reshape(-1, 8, 8)) + self.place).mean(1))

    return Rows()


def _sklearn(here: Path) -> tuple[str, str, str]:
    """A scikit-learn classifier through ONNX."""
    import warnings

    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier

    learn, judge, of_learn, of_judge = _digits()
    write_rows(here / "evaluate.jsonl", judge, of_judge)
    write_rows(here / "calibrate.jsonl", learn[:200], of_learn[:200])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stopped before it has converged
        model = MLPClassifier((512, 256), max_iter=12, random_state=0).fit(learn, of_learn)
    graph = to_onnx(model, learn[:1], options={"zipmap": False}, target_opset=18)
    (here / "model.onnx").write_bytes(graph.SerializeToString(deterministic=True))
    return "classify", "{onnx: model.onnx}", "accuracy"


def _banking(here: Path) -> tuple[str, str, str]:
    """A head on MiniLM's embeddings of BANKING77, which lies in ``BANKING77`` or beside this."""
    import torch

    from headgate.engines import codec_for, load
    from headgate.optimize.answers import Answerer

    subject = minilm()
    build = subject.build("fp32", "onnxruntime", {"model.onnx": subject.onnx}, threads=2)
    answerer = Answerer(load(build, Path), codec_for(build, Path), truncate=True)
    texts, names = {}, {}
    for role in ("train", "evaluate"):
        with (BANKING77 / f"{role}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        # Rows come class by class: every third keeps all classes.
        rows = rows[::3] if role == "train" else rows[::2]
        texts[role] = answerer.answer([row["text"] for row in rows]).astype(np.float32)
        names[role] = [row["category"] for row in rows]
    answerer.close()
    index = {name: k for k, name in enumerate(sorted(set(names["train"])))}
    labels = {role: np.array([index[n] for n in of]) for role, of in names.items()}
    write_rows(here / "evaluate.jsonl", texts["evaluate"], labels["evaluate"])
    write_rows(here / "calibrate.jsonl", texts["train"][::16], labels["train"][::16])

    def head() -> Any:
        from torch import nn

        return nn.Sequential(nn.Linear(384, 512), nn.ReLU(), nn.Linear(512, len(index)))

    items, of_items = torch.tensor(texts["train"]), torch.tensor(labels["train"])
    _export(head, here, items, of_items, seed=3, epochs=30)
    return "classify", "{onnx: model.onnx}", "accuracy"


SUBJECTS: Mapping[str, Callable[[Path], tuple[str, str, str]]] = {
    "digits-mlp": _trained(_mlp(512, 256), seed=0),
    "digits-deep": _trained(_mlp(256, 256, 256, 256), seed=1),
    "digits-conv": _trained(_convolutional, seed=2),
    "digits-encoder": _trained(_encoder, seed=4),
    "digits-sklearn": _sklearn,
    "banking": _banking,
    "minilm-2-layers": _python_help(2),
    "minilm-3-layers": _python_help(3),
    "minilm-4-layers": _python_help(4),
    "minilm": _python_help(6),
}
"""Name -> what writes its files and says (task, model, metric); the cheapest first."""
