"""What students are worth: speed, quality, what training cost, and what the teacher added.

MiniLM on the example python-help. Everything but the times is made by ``kept_students``: some half
an hour of one core, which may be busy. Then all engines are timed by turns, with the teacher among
them twice, so that what the method cannot tell apart is seen: once to choose the best students, and
again to say how fast those are, since the winner of a timing is flattered by it. Times want a quiet
machine and are never kept: a call that makes in pieces, by ``HEADGATE_BENCHMARK_SECONDS``, takes
none. It ends with 1 until all is made, and says what those students lose that are there.
"""

from __future__ import annotations

import math
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
    wanted = {
        name: recipe
        for student, own in recipes.items()
        for name, recipe in ((student, own), (f"{student}_control", control(own)))
    }
    made = _Made.teachers(shop.subject, _SPLITS[:1] if quick else _SPLITS)
    try:
        made.judge(shop, "fp32")
        for name, recipe in wanted.items():
            made.add(shop, name, shop.trained(name, recipe))
    except OutOfTime:
        return _piece(made, len(wanted), whole=False), made.told()
    details = {
        **made.told(),
        "teacher's answer to a training text, device_s": round(shop.answering_s, 5),
    }
    if shop.in_pieces:
        return _piece(made, len(wanted), whole=True), details
    loads, rounds = (2, 3) if quick else (6, 5)
    first = _speeds(made, loads=2 if quick else 3, rounds=3)
    faster = _speeds(made, loads=loads, rounds=rounds)
    mixed = _speeds_from_texts(made, loads=loads, rounds=rounds)
    return _targets(made, _best(made, first), faster), {
        **details,
        "times as fast": _plain({**faster, f"{_MIX} questions, with tokenizing": mixed}),
        "times as fast, where the best were chosen": _plain(first),
        "threads": 1,
        "loads": loads,
        "rounds of each": rounds,
    }


def _piece(made: _Made, wanted: int, *, whole: bool) -> dict[str, Target]:
    return {
        "students and controls that are trained": at_least(len(made.trainings), wanted),
        "all is made and judged, and can be timed": at_least(float(whole), 1),
    }


def _told(training: Training) -> dict[str, object]:
    return {
        "steps": training.steps,
        "device_s": round(training.device_s, 1),
        "cpu_s": round(training.cpu_s, 1),
        "curve": [(step, round(loss, 4)) for step, loss in training.curve],
    }


@dataclass
class _Made:
    """What is there: trainings and builds by name; by split and build, recall@10 of each query."""

    subject: Subject
    trainings: dict[str, Training]
    builds: dict[str, Build]
    recall: dict[str, dict[str, Sequence[float]]]

    @classmethod
    def teachers(cls, subject: Subject, splits: Sequence[str]) -> _Made:
        """Two engines of one model, of which nothing is judged yet."""
        files = {"model.onnx": subject.onnx}
        builds = {
            "fp32": subject.build("fp32", "onnxruntime", files, threads=1),
            "fp32_openvino": subject.build("fp32_openvino", "openvino", files, threads=1),
        }
        return cls(subject, {}, builds, {split: {} for split in splits})

    def judge(self, shop: Workshop, name: str) -> None:
        """Raises ``OutOfTime``."""
        for split, recall in self.recall.items():
            recall[name] = shop.recall(self.builds[name], split)

    def add(self, shop: Workshop, name: str, training: Training) -> None:
        """A student or control with its builds. Raises ``OutOfTime``."""
        self.trainings[name] = training
        self.builds[name] = shop.exported(name, training)
        self.judge(shop, name)
        if training.layers and not name.endswith("_control"):
            int8 = f"{name}_int8_static"
            self.builds[int8] = shop.int8(int8, self.builds[name])
            self.judge(shop, int8)

    @property
    def students(self) -> list[str]:
        return [n for n in self.builds if n not in _TEACHERS and not n.endswith("_control")]

    def lost(self, split: str) -> dict[str, dict[str, float]]:
        """Recall@10 of the teacher minus that of each, query by query, with 95 % bounds, one-sided;
        of those that are judged."""
        recall, found = self.recall[split], {}
        for name in [n for n in recall if n not in _TEACHERS]:
            against = paired_mean_interval(recall["fp32"], recall[name], level=0.95)
            found[name] = {"lost": against.value, "low": against.low, "high": against.high}
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

    def told(self) -> dict[str, object]:
        """Of all that is there."""
        judged = [split for split, recall in self.recall.items() if "fp32" in recall]
        return {
            "queries": {split: len(self.recall[split]["fp32"]) for split in judged},
            "recall@10 of the teacher": {
                split: float(np.mean(self.recall[split]["fp32"])) for split in judged
            },
            "recall@10 that is lost": {split: self.lost(split) for split in judged},
            "teacher's answers add": {split: self.gains(split) for split in judged},
            "training": {name: _told(training) for name, training in self.trainings.items()},
        }


Faster = Mapping[str, Mapping[str, Ratio]]
"""Shape -> build -> how many times as fast as its teacher."""

_KINDS = {"student": 2.0, "student in int8": 5.0}
"""What a student may be -> times as fast as its teacher, at least."""


def _best(made: _Made, faster: Faster) -> dict[str, str]:
    """The best student, and the best in int8: that which loses least where they are chosen, on the
    first split, of those that are as fast as they should be; of none, the fastest."""
    best: dict[str, str] = {}
    lost = made.lost(_SPLITS[0])
    for kind, least in _KINDS.items():
        named = [n for n in made.students if n.endswith("_int8_static") == ("int8" in kind)]
        lower = {n: min(faster[s][n].lower for s in _labels()) for n in named if n != "static"}
        fast = [n for n in lower if lower[n] >= least]
        if fast:
            best[kind] = min(fast, key=lambda n: lost[n]["lost"])
        elif lower:
            best[kind] = max(lower, key=lambda n: lower[n])
    return best


def _targets(made: _Made, best: Mapping[str, str], faster: Faster) -> dict[str, Target]:
    """``faster``: of another timing than that in which ``best`` were chosen."""
    targets: dict[str, Target] = {}
    lost = {split: made.lost(split) for split in made.recall}
    for kind, name in best.items():
        for shape in _labels():
            key = f"best {kind} ({name}), times as fast as its teacher at {shape}, lower bound"
            targets[key] = at_least(faster[shape][name].lower, _KINDS[kind])
        for split in lost:
            key = f"best {kind} ({name}), recall@10 lost on {split}"
            targets[key] = at_most(lost[split][name]["lost"], _MARGIN)
            targets[f"{key}, upper bound"] = at_most(lost[split][name]["high"], _MARGIN)
    for shape in _labels():
        key = f"static, times as fast at {shape}, lower bound"
        targets[key] = at_least(faster[shape]["static"].lower, 30.0)
    for split in lost:
        stated = math.isfinite(lost[split].get("static", {}).get("high", math.nan))
        targets[f"static, its loss on {split} is stated, with bounds"] = at_least(float(stated), 1)
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


Opened = Mapping[str, Callable[[], Engine]]


def _timed(made: _Made) -> dict[str, Build]:
    """One thread each; no control."""
    timed = {n: replace(b, threads=1) for n, b in made.builds.items() if "_control" not in n}
    return {**timed, "fp32 again": timed["fp32"]}


def _speeds(made: _Made, *, loads: int, rounds: int) -> Faster:
    """By turns, on real tokens, at each shape. A student without int8 is held against the teacher
    on its own engine, one with against the faster of both."""
    timed = _timed(made)
    engines: Opened = {n: _opener(build) for n, build in timed.items()}
    found: dict[str, Mapping[str, Ratio]] = {}
    for shape, label in zip(_SHAPES, _labels(), strict=True):
        batches = {}
        for name, build in timed.items():
            codec = codec_for(build, Path)
            sample = codec.encode(made.subject.calibrate, truncate=True)
            batches[name] = sample_batches(codec, sample, np.random.default_rng(0))(*shape)
        found[label] = _ratios(over_loads(engines, batches, loads=loads, rounds=rounds))
    return found


def _speeds_from_texts(made: _Made, *, loads: int, rounds: int) -> Mapping[str, Ratio]:
    """The same with tokenizing, on questions of their own lengths."""
    timed, questions = _timed(made), made.subject.evaluate.queries[:_MIX]

    def opener(build: Build) -> Callable[[], Engine]:
        return lambda: _FromTexts(_opener(build)(), codec_for(build, Path), questions)

    engines: Opened = {n: opener(build) for n, build in timed.items()}
    return _ratios(over_loads(engines, {n: {} for n in timed}, loads=loads, rounds=rounds))


def _opener(build: Build) -> Callable[[], Engine]:
    return lambda: load(build, Path)


def _plain(faster: Faster) -> dict[str, object]:
    return {shape: {n: jsonable(r) for n, r in of.items()} for shape, of in faster.items()}


def _ratios(seconds: Mapping[str, NDArray[np.float64]]) -> dict[str, Ratio]:
    faster = min(("fp32", "fp32_openvino"), key=lambda name: float(np.median(seconds[name])))
    same = seconds["fp32"], seconds["fp32 again"]
    found = {"fp32 again": ratio(*same)}
    for name, taken in seconds.items():
        if name not in _TEACHERS:
            against = seconds[faster if "int8" in name else "fp32"]
            found[name] = ratio(against, taken, same=same)
    return found
