"""Pilots of a student: small trainings from one start, and what they are worth.

``run_pilots`` is the work, on plain arguments; ``pilots`` is the transformation, so that they are
paid for once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headgate.config import RetrievalSet
from headgate.distillation import (
    METRICS,
    WAY,
    PilotPlan,
    Recipe,
    RetrievalSample,
    between,
)
from headgate.errors import Undecided
from headgate.objects import canonical, parse
from headgate.optimize.answers import Answerer
from headgate.optimize.inputs import load_split
from headgate.optimize.measure import Behaviour
from headgate.optimize.models import link_files
from headgate.optimize.recorder import Call, Output, transformation
from headgate.optimize.served import served_codec
from headgate.optimize.subset import split_vectors
from headgate.runtime.servable import build_from_json
from headgate.workload import Codec, Tensors

if TYPE_CHECKING:
    import torch

    from headgate.distillation.training.networks import Run

    Embed = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """Token ids and mask -> embeddings."""

__all__ = [
    "PilotRuns",
    "SampledPart",
    "StudentEngine",
    "as_encoder",
    "pilots",
    "run_pilots",
    "sampled_part",
    "student_answerer",
]


@dataclass(frozen=True, slots=True)
class PilotRuns:
    """What the pilots of one student came to."""

    losses: NDArray[np.float64]
    """Of each validation text, (1 + runs, texts): squared distance to the teacher, of the start and
    then of each pilot."""
    answers: NDArray[np.float32]
    """The last pilot's, to all that was asked, (asked, d)."""
    device_s: float
    """Of the start, the steps and the answers."""


class StudentEngine:
    """A student as an engine: token ids in, unit vectors out."""

    def __init__(
        self,
        embed: Embed,
        *,
        bf16: bool,
        threads: int,
        device: str,
    ) -> None:
        self._embed = embed
        self._bf16, self._threads, self._device = bf16, threads, device

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        import torch

        torch.set_num_threads(self._threads)
        ids, mask = (
            torch.from_numpy(tensors[n]).to(self._device) for n in ("input_ids", "attention_mask")
        )
        with torch.no_grad(), torch.autocast(self._device, torch.bfloat16, enabled=self._bf16):
            outputs: NDArray[np.generic] = self._embed(ids, mask).cpu().numpy()
        return outputs

    def close(self) -> None:
        """Nothing is held that outlives it."""


def run_pilots(
    teacher_dir: Path,
    texts: Sequence[str],
    outputs: NDArray[np.floating],
    asked: Sequence[str],
    asked_outputs: NDArray[np.floating],
    validation: NDArray[np.intp],
    *,
    plan: PilotPlan,
    codec: Codec,
    seed: int,
    work_dir: Path,
    device: str = "cpu",
    on_run: Callable[[int], None] = lambda run: None,
) -> PilotRuns:
    """Trains the pilots of ``plan`` one after another and measures the loss of each.

    ``texts`` are in the order of ``distillation.subset``, so that the first n are a choice too;
    ``outputs`` are the teacher's, (texts, d), ``asked_outputs`` the same of ``asked``. The last
    pilot answers all that is asked; those at the places ``validation`` every pilot, and its start.
    Raises as ``train_student``.
    """
    from headgate.distillation.train import train_student

    from_dir, losses, device_s = teacher_dir, [], 0.0
    for i, recipe in enumerate((plan.start, *plan.runs)):
        on_run(i)
        n = min(max(recipe.bridge_texts, 2) if i == 0 else recipe.max_texts, len(texts))
        done = train_student(
            from_dir,
            texts[:n],
            outputs[:n],
            work_dir / f"run{i}",
            recipe=recipe,
            seed=seed,
            device=device,
            resumable=False,
        )
        if i == 0:
            from_dir = as_encoder(teacher_dir, done.state, work_dir / "start")

        def embed(ids: torch.Tensor, mask: torch.Tensor, run: Run = done.run) -> torch.Tensor:
            return run(ids, mask)[0]

        answerer = _answerer(embed, codec, recipe, device)
        last = i == len(plan.runs)
        began_s = time.perf_counter()
        wanted = asked if last else [asked[place] for place in validation]
        answers = answerer.answer(wanted).astype(np.float32)
        device_s += done.device_s + time.perf_counter() - began_s
        judged = answers[validation] if last else answers
        losses.append(np.sum((judged - asked_outputs[validation]) ** 2, axis=1))
    return PilotRuns(np.array(losses, dtype=np.float64), answers, device_s)


def student_answerer(
    directory: Path, codec: Codec, recipe: Recipe, *, device: str = "cpu"
) -> Answerer:
    """The student in ``directory``, computing as it was trained."""
    from headgate.distillation.encoder import load_encoder, pooled

    model = load_encoder(directory).to(device)

    def embed(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        return pooled(hidden.float(), mask)

    return _answerer(embed, codec, recipe, device)


def _answerer(embed: Embed, codec: Codec, recipe: Recipe, device: str) -> Answerer:
    engine = StudentEngine(embed, bf16=recipe.bf16, threads=recipe.threads, device=device)
    return Answerer(engine, codec, truncate=True)


def as_encoder(teacher_dir: Path, state: Path, directory: Path) -> Path:
    """``directory`` as a transformers encoder of its own: the teacher's, but for the weights in
    ``state`` and what follows from their shapes."""
    from safetensors import safe_open

    directory.mkdir(parents=True)
    for path in teacher_dir.iterdir():
        if path.name not in ("config.json", "model.safetensors") and path.is_file():
            (directory / path.name).symlink_to(path.absolute())
    (directory / "model.safetensors").symlink_to(state.absolute())
    with safe_open(state, framework="pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    ends = [shape for name, shape in shapes.items() if name.endswith("intermediate.dense.weight")]
    config = json.loads((teacher_dir / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = len({_layer_of(name) for name in shapes} - {None})
    if ends:
        config["intermediate_size"] = ends[0][0]
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


def _layer_of(tensor: str) -> str | None:
    """``7`` of ``encoder.layer.7.output.dense.weight``."""
    return next((part for part in tensor.split(".") if part.isdigit()), None)


_LEAST_QUERIES = 30
"""Of a sample: with fewer no interval would be worth its pilots."""


@transformation("distill.pilots", measures=True)
def pilots(call: Call) -> Mapping[str, Output]:
    """Small trainings of a student, and what the longest of them loses on part of a split."""
    plan = PilotPlan.from_json(call.c["plan"])
    behaviour = Behaviour(**call.c["behaviour"])
    data = load_split(behaviour.task, call.path("dataset"))
    assert isinstance(data, RetrievalSet)
    rng = np.random.default_rng(call.seed)
    part = sampled_part(data, plan.evaluation_share, rng)
    if len(part.queries) < _LEAST_QUERIES:
        raise Undecided(
            f"a tenth of its training pays for a look at {len(part.queries)} queries with all of "
            f"their answers, and {_LEAST_QUERIES} are the least that tell anything",
            where="data.evaluate",
            fix="train it, or give an evaluation split with more queries for its passages",
        )
    vectors = np.load(call.path("vectors"), allow_pickle=False)
    queries, passages = split_vectors(data, vectors)
    codec = served_codec(
        build_from_json(call.c["build"]),
        call.store.path_of,
        preprocess=behaviour.preprocess,
        root=call.root,
    )
    teacher = passages[part.passages], queries[part.queries]
    runs = run_pilots(
        link_files(call, call.work_dir / "teacher", call.c["encoder"]),
        parse(call.store.read(call.u["texts"])),
        np.load(call.path("outputs.npy"), allow_pickle=False),
        part.asked(data),
        np.concatenate(teacher),
        part.some(plan.validation_texts, rng),
        plan=plan,
        codec=codec,
        seed=call.seed,
        work_dir=call.work_dir,
        device=call.c["device"],
        on_run=lambda run: call.progress(
            run / (1 + len(plan.runs)),
            f"pilot {run} of {len(plan.runs)}" if run else "the start of all pilots",
        ),
    )
    lost = part.lost(teacher, part.split(runs.answers))
    found = {"losses": runs.losses.tolist(), "lost": lost, "device_s": runs.device_s}
    return {"pilots": Output(canonical(found), "samples", "json {losses, lost, device_s}")}


@dataclass(frozen=True, slots=True)
class SampledPart:
    """Some passages of a retrieval set, and the queries whose relevant ones are among them."""

    passages: NDArray[np.intp]
    queries: NDArray[np.intp]
    sample: RetrievalSample

    def asked(self, data: RetrievalSet) -> list[str]:
        """The texts of the passages, and then of the queries."""
        passages = [data.passages[i] for i in self.passages]
        return passages + [data.queries[i] for i in self.queries]

    def some(self, texts: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Places in ``asked`` of so many, half of them passages, at random."""
        count, half = len(self.passages), texts // 2
        passages = rng.permutation(count)[:half]
        return np.concatenate([passages, count + rng.permutation(len(self.queries))[:half]])

    def split(self, answers: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Answers to what is ``asked``: those to the passages, and those to the queries."""
        return answers[: len(self.passages)], answers[len(self.passages) :]

    def lost(
        self, teacher: Sequence[NDArray[np.floating]], student: Sequence[NDArray[np.floating]]
    ) -> Mapping[str, Mapping[str, list[float]]]:
        """Metric -> share of ``WAY`` -> what each query loses at that share of the student's loss.

        ``teacher`` and ``student``: vectors of the passages and of the queries.
        """
        before = self.sample.scores(teacher[1], teacher[0])
        found: dict[str, dict[str, list[float]]] = {metric: {} for metric in METRICS}
        for share in WAY:
            passages, queries = (
                between(t, s, share) for t, s in zip(teacher, student, strict=True)
            )
            for metric, after in self.sample.scores(queries, passages).items():
                found[metric][str(share)] = (before[metric] - after).tolist()
        return found


def sampled_part(data: RetrievalSet, share: float, rng: np.random.Generator) -> SampledPart:
    """At random a ``share`` of the passages of ``data``, which has labels."""
    assert data.relevant is not None, "the caller looked"
    size = len(data.passages)
    passages = np.sort(rng.permutation(size)[: max(1, round(share * size))])
    place = {int(passage): i for i, passage in enumerate(passages)}
    queries = [q for q, wanted in enumerate(data.relevant) if wanted and set(wanted) <= set(place)]
    relevant = [tuple(place[p] for p in data.relevant[q]) for q in queries]
    return SampledPart(passages, np.array(queries, np.intp), RetrievalSample(relevant, size))
