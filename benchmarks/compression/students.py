"""What students are worth: speed, quality, what training cost, and what the teacher added.

MiniLM on the example python-help. Everything but the times is made by ``kept_students``: some half
an hour of one core, which may be busy. Then all engines are timed by turns in one run, with the
teacher in it twice, so that what the method cannot tell apart is seen. Times want a quiet machine
and are never kept: a call that makes in pieces, by ``HEADGATE_BENCHMARK_SECONDS``, takes none. It
ends with 1 until all is made, and then says what the students lose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.alternating import Ratio, over_loads, ratio
from benchmarks.compression.kept_students import OutOfTime, Training, Workshop
from benchmarks.compression.subjects import Subject, minilm
from benchmarks.convention import Target, at_least, at_most
from headgate.distillation import STUDENTS, control, gain_of
from headgate.engines import codec_for, load
from headgate.engines.measure import sample_batches
from headgate.objects import Build, jsonable
from headgate.theory.intervals import paired_mean_interval
from headgate.workload import Codec, Engine, Tensors

__all__ = ["students"]

_MARGIN = 0.02
_SHAPES = ((32, 16), (32, 128))
_MIX = 32
"""Questions in a batch of their own lengths, timed with tokenizing."""
_SPLITS = ("evaluate", "holdout")
_TEACHERS = ("fp32", "fp32 again", "fp32_openvino")
_FULL = {name: STUDENTS[name] for name in ("student3", "narrow", "static")}
_QUICK = {"static": replace(STUDENTS["static"], max_texts=2000, steps=100, validate_every_steps=50)}


def students(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Targets and details. ``quick`` trains a static student for a moment, and no other."""
    recipes = _QUICK if quick else _FULL
    shop = Workshop(minilm())
    wanted = {**recipes, **{f"{name}_control": control(r) for name, r in recipes.items()}}
    trainings: dict[str, Training] = {}
    try:
        for name, recipe in wanted.items():
            trainings[name] = shop.trained(name, recipe)
        made = _Made.of(shop, trainings, _SPLITS[:1] if quick else _SPLITS)
    except OutOfTime:
        return _piece(len(trainings), len(wanted), whole=False), {}
    details = {
        "recall@10 of the teacher": {s: float(np.mean(r["fp32"])) for s, r in made.recall.items()},
        "recall@10 that is lost": {split: made.lost(split) for split in made.recall},
        "teacher's answers add": {split: made.gains(split) for split in made.recall},
        "training": {name: _told(training) for name, training in trainings.items()},
        "teacher's answer to a training text, device_s": round(shop.answering_s, 5),
    }
    if shop.in_pieces:
        return _piece(len(trainings), len(wanted), whole=True), details
    loads, rounds = (2, 3) if quick else (6, 5)
    faster = _speeds(shop.subject, made.builds, loads=loads, rounds=rounds)
    return _targets(made, faster), {
        **details,
        "times as fast": {s: {n: jsonable(r) for n, r in of.items()} for s, of in faster.items()},
        "threads": 1,
        "loads": loads,
        "rounds of each": rounds,
    }


def _piece(trained: int, wanted: int, *, whole: bool) -> dict[str, Target]:
    return {
        "students and controls that are trained": at_least(trained, wanted),
        "all is made and judged, and can be timed": at_least(float(whole), 1),
    }


def _told(training: Training) -> dict[str, object]:
    return {
        "steps": training.steps,
        "device_s": round(training.device_s, 1),
        "cpu_s": round(training.cpu_s, 1),
        "curve": [(step, round(loss, 4)) for step, loss in training.curve],
    }


@dataclass(frozen=True)
class _Made:
    """All that is kept: builds by name, and recall@10 of each query by split and build."""

    builds: Mapping[str, Build]
    recall: Mapping[str, Mapping[str, Sequence[float]]]

    @classmethod
    def of(cls, shop: Workshop, trainings: Mapping[str, Training], splits: Sequence[str]) -> _Made:
        """Raises ``OutOfTime``."""
        subject = shop.subject
        onnx = {"model.onnx": subject.onnx}
        builds = {
            "fp32": subject.build("fp32", "onnxruntime", onnx, threads=1),
            "fp32_openvino": subject.build("fp32_openvino", "openvino", onnx, threads=1),
        }
        for name, training in trainings.items():
            builds[name] = shop.exported(name, training)
            if training.layers and not name.endswith("_control"):
                int8 = f"{name}_int8_static"
                builds[int8] = shop.int8(int8, builds[name])
        recall = {
            split: {name: shop.recall(build, split) for name, build in builds.items()}
            for split in splits
        }
        return cls(builds, recall)

    @property
    def students(self) -> list[str]:
        return [n for n in self.builds if n not in _TEACHERS and not n.endswith("_control")]

    def lost(self, split: str) -> dict[str, dict[str, float]]:
        """Recall@10 of the teacher minus each student's, in pairs, with 95 % bounds, one-sided."""
        found = {}
        for name in [n for n in self.builds if n not in _TEACHERS]:
            pairs = self.recall[split][name], self.recall[split]["fp32"]
            against = paired_mean_interval(*pairs, level=0.95)
            found[name] = {"lost": -against.value, "low": -against.high, "high": -against.low}
        return found

    def gains(self, split: str) -> dict[str, object]:
        """What each student has of its teacher's answers, against its control."""
        of = self.recall[split]
        return {
            name: jsonable(
                gain_of("recall@10", of[name], of[f"{name}_control"], of["fp32"], margin=_MARGIN)
            )
            for name in self.students
            if f"{name}_control" in of
        }


Faster = Mapping[str, Mapping[str, Ratio]]
"""Shape -> build -> how many times as fast as its teacher."""


def _targets(made: _Made, faster: Faster) -> dict[str, Target]:
    """The best student, and the best in int8, are those that lose least where they are chosen, on
    the first split, of those that are as fast as they should be; of none, the fastest."""
    targets: dict[str, Target] = {}
    for kind, ending, least in (("student", "", 2.0), ("student in int8", "_int8_static", 5.0)):
        named = [n for n in made.students if n.endswith(ending) and n != "static"]
        if not ending:
            named = [n for n in named if not n.endswith("_int8_static")]
        if not named:
            continue
        lower = {n: min(faster[s][n].lower for s in _labels()) for n in named}
        lost = {split: made.lost(split) for split in made.recall}
        fast = [n for n in named if lower[n] >= least]
        best = min(fast, key=lambda n: lost[_SPLITS[0]][n]["lost"]) if fast else ""
        best = best or max(named, key=lambda n: lower[n])
        for shape in _labels():
            key = f"best {kind} ({best}), times as fast as its teacher at {shape}, lower bound"
            targets[key] = at_least(faster[shape][best].lower, least)
        for split in lost:
            key = f"best {kind} ({best}), recall@10 lost on {split}"
            targets[key] = at_most(lost[split][best]["lost"], _MARGIN)
            targets[f"{key}, upper bound"] = at_most(lost[split][best]["high"], _MARGIN)
    for shape in _labels():
        key = f"static, times as fast at {shape}, lower bound"
        targets[key] = at_least(faster[shape]["static"].lower, 30.0)
    return targets


def _labels() -> list[str]:
    return ["x".join(map(str, shape)) for shape in _SHAPES]


class _FromTexts:
    """An engine with its tokenizer before it: it answers the texts that it was made with."""

    def __init__(self, engine: Engine, codec: Codec, texts: Sequence[str]) -> None:
        self._engine, self._codec, self._texts = engine, codec, texts

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        encoded = self._codec.encode(self._texts, truncate=True)
        return self._engine.run(self._codec.collate(encoded))

    def close(self) -> None:
        self._engine.close()


def _speeds(subject: Subject, builds: Mapping[str, Build], *, loads: int, rounds: int) -> Faster:
    """One thread each, by turns, on real tokens. A student without int8 is held against the teacher
    on its own engine, one with against the faster of both."""
    timed = {n: b for n, b in builds.items() if not n.endswith("_control")}
    timed["fp32 again"] = timed["fp32"]

    def opened(build: Build) -> Callable[[], Engine]:
        return lambda: load(replace(build, threads=1), Path)

    found: dict[str, dict[str, Ratio]] = {}
    for shape, label in zip(_SHAPES, _labels(), strict=True):
        batches = {}
        for name, build in timed.items():
            codec = codec_for(build, Path)
            sample = codec.encode(subject.calibrate, truncate=True)
            batches[name] = sample_batches(codec, sample, np.random.default_rng(0))(*shape)
        found[label] = _ratios(
            over_loads(
                {n: opened(b) for n, b in timed.items()}, batches, loads=loads, rounds=rounds
            )
        )
    questions = subject.evaluate.queries[:_MIX]

    def from_texts(build: Build) -> Callable[[], Engine]:
        return lambda: _FromTexts(opened(build)(), codec_for(build, Path), questions)

    found[f"{_MIX} questions, with tokenizing"] = _ratios(
        over_loads(
            {n: from_texts(b) for n, b in timed.items()},
            {n: {} for n in timed},
            loads=loads,
            rounds=rounds,
        )
    )
    return found


def _ratios(seconds: Mapping[str, NDArray[np.float64]]) -> dict[str, Ratio]:
    faster = min(("fp32", "fp32_openvino"), key=lambda name: float(np.median(seconds[name])))
    same = seconds["fp32"], seconds["fp32 again"]
    found = {"fp32 again": ratio(*same)}
    for name, taken in seconds.items():
        if name not in _TEACHERS:
            against = seconds[faster if "int8" in name else "fp32"]
            found[name] = ratio(against, taken, same=same)
    return found
