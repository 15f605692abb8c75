"""The training loop: it learns, it repeats, it resumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from headgate.distillation import Recipe, embedding_regression
from headgate.errors import ConfigError, InputError

from .conftest import RECIPE, Lesson

torch = pytest.importorskip("torch")

from headgate.distillation.encoder import load_encoder  # noqa: E402
from headgate.distillation.train import (  # noqa: E402
    TrainingResult,
    _loss,
    train_student,
)


class Stopped(Exception):
    """Stands for Ctrl-C or a kill."""


def train(
    lesson: Lesson, out: Path, recipe: Recipe = RECIPE, *, stop_at: int | None = None, seed: int = 0
) -> TrainingResult:
    def progress(step: int, steps: int, loss: float) -> None:
        if step == stop_at:
            raise Stopped

    return train_student(
        lesson.teacher,
        lesson.texts,
        lesson.outputs,
        out,
        recipe=recipe,
        seed=seed,
        on_progress=progress,
    )


def test_a_student_learns_its_teacher_s_answers(lesson: Lesson, tmp_path: Path) -> None:
    """Sixty steps on forty texts halve the loss, and the state loads as a student."""
    recipe = dataclasses.replace(RECIPE, steps=60, peak_learning_rate=3e-3)
    result = train(lesson, tmp_path, recipe)
    assert result.steps == len(result.losses) == 60
    assert np.mean(result.losses[-10:]) < 0.5 * np.mean(result.losses[:3])
    assert result.layers == (0, 3)
    student = load_encoder(lesson.teacher, layers=result.layers, state=result.state)
    start = load_encoder(lesson.teacher, layers=result.layers)
    pairs = list(zip(student.named_parameters(), start.named_parameters(), strict=True))
    moved = {n for (n, a), (_, b) in pairs if not torch.equal(a, b)}
    assert any(n.startswith("encoder.layer.0") for n in moved)
    assert not any(n.startswith("embeddings") for n in moved)


def test_one_seed_gives_one_student(lesson: Lesson, tmp_path: Path) -> None:
    """Equal seeds give equal bytes, another seed gives others."""
    first, again = train(lesson, tmp_path / "a"), train(lesson, tmp_path / "b")
    other = train(lesson, tmp_path / "c", seed=1)
    assert first.state.read_bytes() == again.state.read_bytes() != other.state.read_bytes()
    assert first.losses == again.losses


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    lesson: Lesson, tmp_path: Path, stop_at: int
) -> None:
    """Stopped before, after and at a checkpoint, then called again: the same bytes and losses."""
    whole = train(lesson, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(lesson, tmp_path / "cut", stop_at=stop_at)
    resumed = train(lesson, tmp_path / "cut")
    assert resumed.state.read_bytes() == whole.state.read_bytes()
    assert resumed.losses == whole.losses


def test_resuming_repeats_only_the_steps_since_the_checkpoint(
    lesson: Lesson, tmp_path: Path
) -> None:
    """After an interruption in step 5 the training goes on from step 4."""
    with pytest.raises(Stopped):
        train(lesson, tmp_path, stop_at=5)
    steps: list[int] = []
    train_student(
        lesson.teacher, lesson.texts, lesson.outputs, tmp_path, recipe=RECIPE, seed=0,
        on_progress=lambda step, *_: steps.append(step),
    )  # fmt: skip
    assert steps == [5, 6]


def test_a_checkpoint_of_another_training_is_not_resumed(lesson: Lesson, tmp_path: Path) -> None:
    """A changed recipe begins at the first step."""
    train(lesson, tmp_path / "a")
    changed = dataclasses.replace(RECIPE, weight_decay=0.5)
    assert train(lesson, tmp_path / "a", changed).losses == (
        train(lesson, tmp_path / "b", changed).losses
    )


def test_a_damaged_checkpoint_begins_again(lesson: Lesson, tmp_path: Path) -> None:
    """A file that was cut short is no reason to fail, nor to believe it."""
    whole = train(lesson, tmp_path)
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert train(lesson, tmp_path).state.read_bytes() == whole.state.read_bytes()


def test_training_restores_torch_s_settings(lesson: Lesson, tmp_path: Path) -> None:
    """Thread count and determinism are the caller's again afterwards, also after an error."""
    threads = torch.get_num_threads()
    with pytest.raises(Stopped):
        train(lesson, tmp_path, dataclasses.replace(RECIPE, threads=threads + 1), stop_at=1)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_loss_is_the_embedding_regression() -> None:
    """torch's loss equals the numpy definition."""
    rng = np.random.default_rng(0)
    s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.standard_normal((2, 5, 4)))
    got = _loss(torch.from_numpy(s), torch.from_numpy(t)).item()
    assert got == pytest.approx(embedding_regression(s, t))


def test_the_closed_form_start_is_nearer_to_the_teacher(lesson: Lesson, tmp_path: Path) -> None:
    """On its first batch a bridged student loses clearly less than one that was only cut."""
    bridged = train(lesson, tmp_path / "a", dataclasses.replace(RECIPE, bf16=False))
    cut = train(lesson, tmp_path / "b", dataclasses.replace(RECIPE, bf16=False, bridge_texts=0))
    assert bridged.losses[0] < 0.7 * cut.losses[0]


def test_a_start_from_all_layers_is_the_teacher(lesson: Lesson, tmp_path: Path) -> None:
    """Refitting layers that already do their target's work changes nothing but rounding."""
    recipe = dataclasses.replace(RECIPE, layers_kept=4, steps=1, bf16=False)
    assert train(lesson, tmp_path, recipe).losses[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_answers_that_are_no_numbers_teach_nothing(
    lesson: Lesson, tmp_path: Path, broken: float
) -> None:
    """The text whose answer it is is named; nothing is trained or written."""
    outputs = lesson.outputs.copy()
    outputs[4, 1] = broken
    out = tmp_path / "student"
    with pytest.raises(InputError, match=r"output for text 5 of \d+ is NaN or infinite") as e:
        train(dataclasses.replace(lesson, outputs=outputs), out)
    assert e.value.reason == "not_finite"
    assert not out.exists()


def test_texts_without_outputs_are_refused(lesson: Lesson, tmp_path: Path) -> None:
    """One output for each text, and at least one."""
    with pytest.raises(InputError, match="40 texts and 39 teacher outputs"):
        train_student(
            lesson.teacher, lesson.texts, lesson.outputs[:-1], tmp_path, recipe=RECIPE, seed=0
        )


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"peak_learning_rate": -1.0}, {"warmup_share": 1.0}]
)
def test_a_recipe_that_cannot_be_followed_is_refused(change: dict[str, float]) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigError, match=next(iter(change))):
        Recipe(**change)  # type: ignore[arg-type]
