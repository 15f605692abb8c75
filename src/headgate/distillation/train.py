"""Trains students: one loop for all of them, with a teacher's outputs or without.

The effectful half of this package, with ``training`` and ``encoder``: it reads the teacher's
directory and writes the student's; no ``__init__`` imports it. The teacher's outputs
come from whatever engine the caller has. For one seed, one machine, one device and one thread count
the result is the same to the bit, killed and resumed or not.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.curriculum import batches, learning_rate_share
from headgate.distillation.pace import Cadence, best_of, has_stalled, validation_due
from headgate.distillation.recipe import Recipe
from headgate.distillation.students import check_tokenizer, feed_forward_of, layers_for
from headgate.distillation.training.checkpoint import Checkpoint, Progress, write_tensors
from headgate.distillation.training.lesson import Lesson, Taught, check_taught
from headgate.distillation.training.networks import Student, student_of
from headgate.distillation.training.objective import Objective
from headgate.errors import Fault, InputError
from headgate.objects import digest, digest_bytes

if TYPE_CHECKING:
    import torch

    from headgate.distillation.training.networks import Run

__all__ = ["STATE_FILE", "Taught", "TrainingResult", "student_shape", "train_student"]

STATE_FILE = "student.safetensors"
_CHECKPOINT_FILE = "checkpoint.safetensors"

OnStep = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, loss of the last one)."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A trained student, and what it took."""

    state: Path
    """safetensors: ``state`` of ``load_encoder``, layers renumbered from 0; ``table`` and ``basis``
    of a static student."""
    layers: tuple[int, ...]
    """The teacher's layers that the student started from."""
    feed_forward: int | None
    """Units inside the feed-forward half of each layer, where they are fewer than the teacher's."""
    steps: int
    """Steps taken; fewer than the recipe's where it stopped early."""
    device_s: float
    """Wall seconds of the start, the steps and the validations, those before a kill too."""
    earlier_s: float
    """Of these, those before a kill."""
    cpu_s: float
    """Processor seconds of the same, over all threads."""
    losses: tuple[float, ...]
    """Of each step, on its own batch, before its update."""
    curve: tuple[tuple[int, float], ...]
    """(Steps done, loss on the held-back texts); empty without any."""
    run: Run
    """The network as its last step left it, still in memory."""

    def money(self, device_second: float) -> float:
        """What it cost, at the price of a second of the whole machine."""
        return self.device_s * device_second


def student_shape(teacher_dir: Path, recipe: Recipe) -> tuple[tuple[int, ...], int | None]:
    """The layers that ``recipe`` takes from the teacher in ``teacher_dir``, and the units inside
    their feed-forward halves where those are fewer."""
    wanted = ["num_hidden_layers"]
    if recipe.feed_forward_kept < 1:
        wanted.append("intermediate_size")
    try:
        config = json.loads((teacher_dir / "config.json").read_text(encoding="utf-8"))
        count, *width = (int(config[name]) for name in wanted)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{' or '.join(wanted)} cannot be read",
            where=str(teacher_dir / "config.json"),
            fix="give the directory of a transformers encoder",
        ) from error
    return layers_for(recipe.layers_kept, count), feed_forward_of(recipe, *width) if width else None


def train_student(
    teacher_dir: Path,
    texts: Sequence[str],
    teacher_outputs: NDArray[np.floating] | None,
    out_dir: Path,
    *,
    recipe: Recipe,
    seed: int,
    validation: Taught | None = None,
    outputs_tokenizer: str | None = None,
    device: str = "cpu",
    resumable: bool = True,
    on_progress: OnStep | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainingResult:
    """Trains a student of the encoder in ``teacher_dir`` on ``texts``.

    ``teacher_outputs`` is (n, d) with rows of length 1, in the order of ``texts``; None where the
    recipe learns from none. ``validation`` is held back from training: the loss on it makes the
    curve and stops a training that has stalled, and must be of no data that judges the student.
    ``outputs_tokenizer`` is the digest of the tokenizer.json that the outputs were computed with.

    Writes ``out_dir``/student.safetensors, and a checkpoint beside it as ``Cadence`` says; called
    again with equal arguments it goes on from there, and ends as if it had never stopped. A
    checkpoint of other arguments, or a damaged one, is ignored. Without ``resumable`` there is
    none: a pilot of seconds is begun again.

    Raises ``InputError``, ``ConfigError``, ``MissingExtra``, or ``Fault`` where the disk is full or
    memory runs out: what was saved stays, and the same call goes on from it.
    """
    taught = Taught(texts, teacher_outputs)
    check_taught(taught, recipe)
    if outputs_tokenizer is not None:
        own = digest_bytes((teacher_dir / "tokenizer.json").read_bytes())
        check_tokenizer(outputs_tokenizer, own)
    layers, feed_forward = student_shape(teacher_dir, recipe)
    lesson = Lesson.of(teacher_dir, taught, validation, recipe, seed, device)
    identity = _identity(lesson, taught, validation) if resumable else None
    with _deterministic(recipe.threads), _memory(out_dir):
        student = student_of(lesson, layers)
        out_dir.mkdir(parents=True, exist_ok=True)
        path = out_dir / _CHECKPOINT_FILE
        earlier_s, progress = _train(lesson, student, path, identity, on_progress, clock)
    return TrainingResult(
        state=out_dir / STATE_FILE,
        layers=layers,
        feed_forward=feed_forward,
        steps=len(progress.losses),
        device_s=progress.device_s,
        earlier_s=earlier_s,
        cpu_s=progress.cpu_s,
        losses=tuple(progress.losses),
        curve=tuple(progress.curve),
        run=student.run,
    )


def _identity(lesson: Lesson, taught: Taught, validation: Taught | None) -> str:
    """Of all that a checkpoint must have been made of."""
    return digest(
        {
            "teacher": digest_bytes((lesson.teacher_dir / "model.safetensors").read_bytes()),
            "tokenizer": digest_bytes((lesson.teacher_dir / "tokenizer.json").read_bytes()),
            "taught": taught.identity,
            "validation": validation and validation.identity,
            "recipe": lesson.recipe,
            "seed": lesson.seed,
            "device": lesson.device,
        }
    )


def _train(
    lesson: Lesson,
    student: Student,
    path: Path,
    identity: str | None,
    on_progress: OnStep | None,
    clock: Callable[[], float],
) -> tuple[float, Progress]:
    """Starts or resumes, and takes the steps; what was best is written. The seconds that it resumes
    from, and how far it came. Without an ``identity`` no checkpoint is read or kept."""
    recipe = lesson.recipe
    trained = [p for p in student.parameters if p.requires_grad]
    optimizer = _optimizer(trained, recipe)
    checkpoint = None
    if identity is not None:
        checkpoint = Checkpoint(path, identity, student.parameters, student.sums, optimizer)
    progress = checkpoint.restore() if checkpoint else Progress()
    earlier_s = progress.device_s
    keeper = _Keeper(checkpoint, progress, recipe.steps, student.parts, clock)
    if progress.started < student.parts:
        student.start(progress.started, keeper.start_done)
    loss_of = Objective(lesson, student)
    plan = batches(
        [len(i) for i in lesson.ids],
        batch_size=recipe.batch_texts,
        count=recipe.steps,
        rng=np.random.default_rng(lesson.seed),
    )
    state = path.with_name(STATE_FILE)
    _validate_if_due(lesson, student, loss_of, progress, keeper, state)  # where it was cut off
    while len(progress.losses) < recipe.steps and not has_stalled(progress.curve, recipe.patience):
        step = len(progress.losses)
        loss = loss_of.batch(plan[step], step)
        progress.losses.append(_descend(loss, optimizer, trained, step, recipe))
        keeper.step_done()
        _validate_if_due(lesson, student, loss_of, progress, keeper, state)
        if on_progress is not None:
            on_progress(step + 1, recipe.steps, progress.losses[-1])
    if not lesson.held_back:
        write_tensors(state, student.tensors(), flush=checkpoint is not None)
    keeper.all_done()
    return earlier_s, progress


def _validate_if_due(
    lesson: Lesson,
    student: Student,
    loss_of: Objective,
    progress: Progress,
    keeper: _Keeper,
    state: Path,
) -> None:
    """Judges the held-back texts, in parts that are saved like the rest; the best is written."""
    recipe, step = lesson.recipe, len(progress.losses)
    if not lesson.held_back or not validation_due(
        progress.curve, step, steps=recipe.steps, every=recipe.validate_every_steps
    ):
        return
    for texts, loss in loss_of.held_back(progress.judged, progress.judged_loss):
        keeper.judged(texts, loss)
    progress.curve.append((step, progress.judged_loss / progress.judged))
    progress.judged, progress.judged_loss = 0, 0.0
    if best_of(progress.curve)[0] == step:
        write_tensors(state, student.tensors())


def _optimizer(trained: Sequence[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; biases and scales do not decay."""
    import torch

    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.peak_learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def _descend(
    loss: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    trained: Sequence[torch.nn.Parameter],
    step: int,
    recipe: Recipe,
) -> float:
    """One step down the gradient of ``loss``, whose value it was. Raises ``InputError``."""
    import torch

    rate = recipe.peak_learning_rate * learning_rate_share(step, recipe.steps, recipe.warmup_share)
    value: float = loss.item()
    if not math.isfinite(value):
        raise InputError(
            f"the loss of step {step + 1} of {recipe.steps} is {value}: it diverged",
            where=f"distillation, at a learning rate of {rate:.2g}",
            reason="diverged",
            fix="choose another student, or look for texts that its teacher answers oddly",
        )
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, recipe.gradient_norm_limit)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return value


class _Keeper:
    """Counts what a training spends, and saves when it is due; never where there is no place to."""

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        progress: Progress,
        steps: int,
        parts: int,
        clock: Callable[[], float],
    ) -> None:
        self._checkpoint, self._progress, self._clock = checkpoint, progress, clock
        self._parts = parts
        self._wall_s, self._cpu_s = clock(), time.process_time()
        self._cadence = Cadence(steps)
        self._cadence.saved(len(progress.losses), began_s=clock(), ended_s=clock())

    def start_done(self, parts: int) -> None:
        """So many parts of the start are done."""
        self._progress.started = parts
        self._part_done(last=parts == self._parts)

    def judged(self, texts: int, loss: float) -> None:
        """So many of the held-back texts are judged, and what their losses come to."""
        self._progress.judged, self._progress.judged_loss = texts, loss
        self._part_done()

    def _part_done(self, *, last: bool = False) -> None:
        if self._cadence.pays(self._clock()) or last:
            self._save()

    def step_done(self) -> None:
        if self._cadence.due(len(self._progress.losses), self._clock()):
            self._save()

    def all_done(self) -> None:
        self._save()
        self.read_meter()

    def read_meter(self) -> None:
        """Adds what was spent since it was last read to the progress."""
        wall_s, cpu_s = self._clock(), time.process_time()
        self._progress.device_s += wall_s - self._wall_s
        self._progress.cpu_s += cpu_s - self._cpu_s
        self._wall_s, self._cpu_s = wall_s, cpu_s

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        self.read_meter()
        began_s = self._clock()
        self._checkpoint.save(self._progress)
        steps = len(self._progress.losses)
        self._cadence.saved(steps, began_s=began_s, ended_s=self._clock())


@contextlib.contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Deterministic kernels and a fixed thread count, for as long as the training runs."""
    import torch

    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


@contextlib.contextmanager
def _memory(out_dir: Path) -> Iterator[None]:
    """Says what to do where memory runs out, which torch reports as a RuntimeError on CPU."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = str(error).lower()
        if isinstance(error, RuntimeError) and not (
            "out of memory" in told or "not enough memory" in told
        ):
            raise
        raise Fault(
            "memory ran out in the middle of a training",
            where=str(out_dir),
            reason="out_of_memory",
            fix="free some and run the same again: it goes on from the last checkpoint; or train "
            "with a smaller batch_texts",
        ) from error
