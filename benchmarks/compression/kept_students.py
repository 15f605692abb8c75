"""Students of MiniLM on python-help, and their controls: made once, in pieces, and kept.

A piece is what the teacher answers to some texts, a training, an export or the answers of a build.
Each lies in ``benchmarks/.compression/students`` under the digest of all that decides it, the
source of the modules that compute it included. ``HEADGATE_BENCHMARK_SECONDS`` ends the making
early, a training in its middle too; the next call goes on from there.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.kernels import build_of
from benchmarks.compression.sources import source_digest
from benchmarks.compression.subjects import ROOT, Subject
from headgate.config import RetrievalSet
from headgate.distillation import Recipe, subset
from headgate.distillation.train import STATE_FILE, Taught, student_shape, train_student
from headgate.engines import codec_for, load
from headgate.engines.export_table import export_table
from headgate.engines.export_torch import export_embedder
from headgate.engines.probe import read_profile
from headgate.objects import Build, digest, digest_bytes, jsonable, short
from headgate.optimize.answers import Answerer
from headgate.optimize.making.quantized import CALIBRATION_ITEMS
from headgate.optimize.quality import evaluate
from headgate.quantization import BF16, FP32, INT8_STATIC, suited_to
from headgate.quantization.produce import quantize

__all__ = ["OutOfTime", "Training", "Workshop"]

KEEP = ROOT / "students"
_HELD_BACK, _PART = 500, 4000
_SEED = 0
_TRAINING = (
    "train", "encoder", "curriculum", "pace", "students", "training.lesson", "training.networks",
    "training.objective", "training.start", "training.table",
)  # fmt: skip
"""Modules of ``headgate.distillation`` that decide what a training comes to."""


class OutOfTime(Exception):
    """The seconds that were given are spent. What was made is kept."""


@dataclass(frozen=True, slots=True)
class Training:
    """A student that is there, and what it took."""

    directory: Path
    layers: tuple[int, ...]
    feed_forward: int | None
    steps: int
    device_s: float
    cpu_s: float
    curve: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Workshop:
    """Makes what is not there yet, on one thread."""

    subject: Subject
    until_s: float = field(
        default_factory=lambda: (
            time.monotonic() + float(os.environ.get("HEADGATE_BENCHMARK_SECONDS", "inf"))
        )
    )
    """Of the monotonic clock."""
    answered: set[Path] = field(default_factory=set)
    """Files of the teacher's answers that this workshop has asked for."""

    @cached_property
    def flags(self) -> tuple[str, ...]:
        return tuple(read_profile().flags)

    @property
    def fast_bf16(self) -> bool:
        return not set(BF16.fast_with).isdisjoint(self.flags)

    @property
    def in_pieces(self) -> bool:
        """Whether this call may end before all is made."""
        return self.until_s < math.inf

    def trained(self, name: str, recipe: Recipe) -> Training:
        """The student ``name``, trained as the product does: the same texts, held-back ones and
        start. Raises ``OutOfTime``."""
        recipe = replace(recipe, threads=1, bf16=self.fast_bf16)
        texts = subset(self.subject.train, _HELD_BACK + recipe.max_texts)
        held_back, learnt = texts[:_HELD_BACK], texts[_HELD_BACK:]
        answers = self.teacher_answers(texts) if recipe.losses.of_outputs else None
        shape = student_shape(self.subject.encoder, recipe)
        code = source_digest(*(f"headgate.distillation.{name}" for name in _TRAINING))
        key = digest({"of": (recipe, shape), "texts": texts, "seed": _SEED, "code": code})
        directory = KEEP / f"{name}-{short(key)}"
        said = directory / "training.json"
        if not said.exists():
            done = train_student(
                self.subject.encoder,
                learnt,
                None if answers is None else answers[_HELD_BACK:],
                directory,
                recipe=recipe,
                seed=_SEED,
                validation=Taught(held_back, None if answers is None else answers[:_HELD_BACK]),
                on_progress=lambda *_: self._still(),
            )
            body = {name: jsonable(getattr(done, name)) for name in _FACTS}
            _write(said, json.dumps(body).encode())
        facts = json.loads(said.read_text(encoding="utf-8"))
        return Training(directory, **{**facts, "layers": tuple(facts["layers"])})

    def teacher_answers(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dimensions), in parts of one size and order, which recipes of all sizes share."""
        ends = [_HELD_BACK, *range(_HELD_BACK + _PART, len(texts) + _PART, _PART)]
        starts = [0, *ends[:-1]]
        parts = [texts[a:b] for a, b in zip(starts, ends, strict=True)]
        return np.concatenate([self._answered(part) for part in parts])

    @property
    def answering_s(self) -> float:
        """Device seconds of the teacher for a text."""
        found = [np.load(path) for path in self.answered]
        return float(sum(f["seconds"] for f in found) / sum(len(f["outputs"]) for f in found))

    def _answered(self, texts: Sequence[str]) -> NDArray[np.float32]:
        teacher = build_of(self.subject, suited_to(BF16 if self.fast_bf16 else FP32, self.flags))
        code = _answering(teacher)
        path = KEEP / f"teacher-{short(digest({'texts': texts, 'code': code}))}.npz"
        self.answered.add(path)
        if not path.exists():
            self._still()
            answerer = _answerer(teacher)
            began_s = time.perf_counter()
            outputs = answerer.answer(texts).astype(np.float32)
            seconds = time.perf_counter() - began_s
            answerer.close()
            KEEP.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, outputs=outputs, seconds=seconds)
            partial.replace(path)
        answered: NDArray[np.float32] = np.load(path)["outputs"]
        return answered

    def exported(self, name: str, training: Training) -> Build:
        """Its fp32 build, on ONNX Runtime."""
        static = not training.layers
        exporter = f"headgate.engines.export_{'table' if static else 'torch'}"
        path = training.directory / f"model-{short(source_digest(exporter))}.onnx"
        if not path.exists():
            self._still()
            state, partial = training.directory / STATE_FILE, path.with_suffix(".partial")
            if static:
                export_table(state, partial)
            else:
                export_embedder(
                    self.subject.encoder,
                    partial,
                    layers=training.layers,
                    feed_forward=training.feed_forward,
                    state=state,
                )
            partial.replace(path)
        return self.subject.build(name, "onnxruntime", {"model.onnx": path}, threads=1)

    def int8(self, name: str, source: Build) -> Build:
        """``source`` in static int8, calibrated as the product does."""
        scheme = suited_to(INT8_STATIC, self.flags)
        model = Path(source.files["model.onnx"])
        code = source_digest(*(f"headgate.quantization.{name}" for name in _QUANTIZING))
        key = short(digest({"scheme": scheme, "items": CALIBRATION_ITEMS, "code": code}))
        directory = model.with_name(f"{model.stem}-{scheme.name}-{key}")
        if not directory.exists():
            self._still()
            codec = codec_for(source, Path)
            items = codec.encode(self.subject.calibrate[:CALIBRATION_ITEMS], truncate=True)
            partial = directory.with_suffix(".partial")
            quantize(scheme, model, partial, calibration=[codec.collate([e]) for e in items])
            partial.rename(directory)
        files = {path.name: path for path in directory.iterdir()}
        return self.subject.build(name, scheme.engine, files, threads=1)

    def recall(self, build: Build, split: str) -> list[float]:
        """Recall@10 of each query; one that errors finds nothing."""
        data: RetrievalSet = getattr(self.subject, split)
        files = {n: digest_bytes(Path(p).read_bytes()) for n, p in sorted(build.files.items())}
        code = source_digest("headgate.optimize.quality"), _answering(build)
        key = digest({"files": files, "data": (data.passages, data.queries), "code": code})

        def scored() -> list[float]:
            answerer = _answerer(build)
            scores = evaluate(answerer, data, task="embed").scores["recall@10"]
            answerer.close()
            return [score or 0.0 for score in scores]

        found: list[float] = self._kept(f"recall-{build.name}-{split}-{short(key)}", scored)
        return found

    def _kept(self, name: str, make: Callable[[], object]) -> Any:
        path = KEEP / f"{name}.json"
        if not path.exists():
            self._still()
            _write(path, json.dumps(make()).encode())
        return json.loads(path.read_text(encoding="utf-8"))

    def _still(self) -> None:
        if time.monotonic() > self.until_s:
            raise OutOfTime


_QUANTIZING = ("produce", "onnx_files", "openvino_files", "products", "calibration", "grids")
_FACTS = ("layers", "feed_forward", "steps", "device_s", "cpu_s", "curve")


def _answering(build: Build) -> str:
    engine = f"headgate.engines.{build.engine}_engine"
    return source_digest("headgate.optimize.answers", "headgate.engines.codec", engine)


def _answerer(build: Build) -> Answerer:
    return Answerer(load(build, Path), codec_for(build, Path), truncate=True)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
