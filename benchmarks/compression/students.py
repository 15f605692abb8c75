"""What students are worth: quality, speed, what training cost, and what the teacher added.

MiniLM on the example python-help, made and measured by the product's own steps in a store of the
benchmark's own, so that a second run repeats only what is timed. The full version trains for some
half an hour on two cores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.compression.alternating import Ratio, alternate, ratio
from benchmarks.convention import Target, at_least, at_most
from headgate.config import load_config
from headgate.distillation import STUDENTS, Gain, Recipe, gain_of
from headgate.engines import codec_for, load
from headgate.ledger import Store
from headgate.objects import Build, jsonable
from headgate.optimize.job import Job, open_job
from headgate.optimize.making import Maker, make_build
from headgate.optimize.making.quantized import quantized
from headgate.optimize.making.students import trained_student, untaught_student
from headgate.optimize.measure import measure_quality
from headgate.optimize.progress import Silent
from headgate.quantization import INT8_STATIC
from headgate.theory.intervals import Interval, paired_mean_interval
from headgate.workload import Codec, Engine, Tensors

__all__ = ["students"]

ROOT = Path(__file__).parents[1] / ".compression"
_EXAMPLE = Path(__file__).parents[2] / "examples" / "python-help" / "headgate.yaml"
_MARGIN = 0.02
_SHAPES = ((32, 16), (32, 128))
_MIX = 32
"""Queries of the workload in a batch."""
_QUICK = {"static": replace(STUDENTS["static"], max_texts=2000, steps=100, validate_every_steps=50)}
_FULL = {name: STUDENTS[name] for name in ("student3", "narrow", "static")}
_TEACHERS = ("fp32", "fp32_openvino")


def students(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Targets and details. ``quick`` trains a static student for a moment, and no other."""
    ROOT.mkdir(exist_ok=True)
    store_root = ROOT / ("students-quick" if quick else "students")
    with Store.open(store_root, create=True) as store:
        job = open_job(load_config(_EXAMPLE), store, Silent(), fresh=False)
        return _measured(job, _QUICK if quick else _FULL, rounds=5 if quick else 21)


def _measured(
    job: Job, recipes: Mapping[str, Recipe], *, rounds: int
) -> tuple[Mapping[str, Target], dict[str, object]]:
    maker = Maker(job.recorder, job.source, job.inputs, job.profile)
    teacher = job.source.build
    made = {"fp32": teacher, "fp32_openvino": make_build("fp32_openvino", maker)}
    controls: dict[str, Build] = {}
    for name, recipe in recipes.items():
        made[name] = trained_student(maker, name, recipe)
        controls[name] = untaught_student(maker, name, recipe)
        if not recipe.static:
            int8 = f"{name}_int8_static"
            made[int8] = quantized(maker, made[name], INT8_STATIC, name=int8)
    judged = {n: b for n, b in made.items() if n not in _TEACHERS}
    splits = ("evaluate", "holdout") if "narrow" in recipes else ("evaluate",)
    lost = {split: _lost(job, judged, split) for split in splits}
    gains = {n: _gain(job, made[n], control) for n, control in controls.items()}
    faster = _speeds(job, made, rounds=rounds)
    targets: dict[str, Target] = {}
    for name, least in (("narrow", 2.0), ("narrow_int8_static", 5.0), ("static", 30.0)):
        if name not in judged:
            continue
        for shape, ratios in faster.items():
            if shape != "mix":
                targets[f"{name}, times as fast at {shape}, lower bound"] = at_least(
                    ratios[name].lower, least
                )
        if name != "static":
            for split, of in lost.items():
                targets[f"{name}, recall@10 lost on {split}"] = at_most(-of[name].value, _MARGIN)
                targets[f"{name}, recall@10 lost on {split}, upper bound"] = at_most(
                    -of[name].low, _MARGIN
                )
    return targets, {
        "recall@10 of the teacher": {s: _mean(_recall(job, teacher, s)) for s in splits},
        "recall@10, student minus teacher": jsonable(lost),
        "teacher's answers add": jsonable(gains),
        "times as fast": jsonable(faster),
        "training": _costs(job),
        "threads": 1,
        "rounds": rounds,
    }


def _recall(job: Job, build: Build, split: str) -> Sequence[float | None]:
    samples, _ = measure_quality(
        job.recorder, build, job.behaviour, dataset=job.inputs.versions[split], split=split
    )
    return samples.scores["recall@10"]


def _lost(job: Job, students: Mapping[str, Build], split: str) -> dict[str, Interval]:
    """Recall@10 of each student minus its teacher's, in pairs; what errors finds nothing."""
    teacher = [t or 0.0 for t in _recall(job, job.source.build, split)]
    return {
        name: paired_mean_interval([s or 0.0 for s in _recall(job, build, split)], teacher)
        for name, build in students.items()
    }


def _mean(values: Sequence[float | None]) -> float:
    return sum(v or 0.0 for v in values) / len(values)


def _gain(job: Job, student: Build, control: Build) -> Gain:
    builds = (student, control, job.source.build)
    return gain_of("recall@10", *(_recall(job, b, "evaluate") for b in builds), margin=_MARGIN)


@dataclass(frozen=True)
class _FromTexts:
    """An engine with its tokenizer before it, given the texts that it was made with."""

    engine: Engine
    codec: Codec
    texts: Sequence[object]

    def run(self, _: Tensors) -> object:
        return self.engine.run(self.codec.collate(self.codec.encode(self.texts, truncate=True)))


def _speeds(job: Job, builds: Mapping[str, Build], *, rounds: int) -> dict[str, dict[str, Ratio]]:
    """Shape -> build -> how many times as fast as the faster fp32 teacher; a student without int8
    is held against the teacher on its own engine. One thread each, in turn."""
    path_of = job.store.path_of
    rng = np.random.default_rng(0)
    with contextlib.ExitStack() as stack:
        engines = {
            name: stack.enter_context(contextlib.closing(load(replace(b, threads=1), path_of)))
            for name, b in builds.items()
        }
        found: dict[str, dict[str, Ratio]] = {}
        for rows, length in _SHAPES:
            ids = rng.integers(1000, 20_000, (rows, length), dtype=np.int64)
            batch: Tensors = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            seconds = alternate(engines, dict.fromkeys(engines, batch), rounds=rounds)
            found[f"{rows}x{length}"] = _ratios(seconds)
        texts = [t for t in job.queries if isinstance(t, str)][:_MIX]
        mixed = {
            name: _FromTexts(engine, codec_for(builds[name], path_of), texts)
            for name, engine in engines.items()
        }
        seconds = alternate(mixed, {name: {} for name in mixed}, rounds=rounds)
        found["mix"] = _ratios(seconds)
    return found


def _ratios(seconds: Mapping[str, np.ndarray]) -> dict[str, Ratio]:
    faster = min(_TEACHERS, key=lambda name: float(np.median(seconds[name])))
    return {
        name: ratio(seconds[faster if "int8" in name else "fp32"], s)
        for name, s in seconds.items()
        if name not in _TEACHERS
    }


def _costs(job: Job) -> dict[str, object]:
    """Machine seconds of each step that makes a student, and their price."""
    price = job.config.prices.device_second
    spent: dict[str, list[float]] = {}
    for run in job.recorder.runs:
        if run.name.startswith("distill."):
            spent.setdefault(run.name, []).append(round(run.seconds, 1))
    return {
        name: {"device_s": seconds, "money": round(sum(seconds) * price, 6)}
        for name, seconds in spent.items()
    }
