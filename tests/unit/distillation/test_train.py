"""The training loop: it learns, it repeats, it resumes."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headgate.distillation import Recipe, Weights, control
from headgate.errors import ConfigError, Fault, InputError
from headgate.objects import digest_bytes
from tests.models import TINY_VOCAB

from .conftest import RECIPE, Lesson

torch = pytest.importorskip("torch")

from headgate.distillation import train as loop  # noqa: E402
from headgate.distillation.encoder import load_encoder, pooled  # noqa: E402
from headgate.distillation.train import Taught, TrainingResult, train_student  # noqa: E402
from headgate.distillation.training import objective  # noqa: E402
from headgate.distillation.training import start as beginning  # noqa: E402
from headgate.distillation.training import table as tables  # noqa: E402
from headgate.distillation.training.networks import student_of  # noqa: E402
from headgate.distillation.training.objective import Objective  # noqa: E402


class Stopped(Exception):
    """Stands for Ctrl-C or a kill."""


def train(
    lesson: Lesson,
    out: Path,
    recipe: Recipe = RECIPE,
    *,
    stop_at: int | None = None,
    seed: int = 0,
    **more: Any,
) -> TrainingResult:
    """On a clock that stands still, so that a checkpoint costs nothing and is due every step."""

    def progress(step: int, steps: int, loss: float) -> None:
        if step == stop_at:
            raise Stopped

    return train_student(
        lesson.teacher,
        lesson.texts,
        lesson.outputs if recipe.losses.of_outputs else None,
        out,
        recipe=recipe,
        seed=seed,
        on_progress=progress,
        clock=lambda: 0.0,
        **more,
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
    """Of a training of 400 steps that stops in the 8th, the next goes on from the 6th."""
    recipe = dataclasses.replace(RECIPE, steps=400)
    with pytest.raises(Stopped):
        train(lesson, tmp_path, recipe, stop_at=8)
    steps: list[int] = []

    def progress(step: int, *_: object) -> None:
        steps.append(step)
        if step == 9:
            raise Stopped

    with pytest.raises(Stopped):
        train_student(
            lesson.teacher, lesson.texts, lesson.outputs, tmp_path, recipe=recipe, seed=0,
            on_progress=progress, clock=lambda: 0.0,
        )  # fmt: skip
    assert steps == [7, 8, 9]


@pytest.mark.parametrize(
    ("changed", "parts"),
    [({}, 8), ({"feed_forward_kept": 0.5}, 12), ({"layers_kept": 0}, 4)],
    ids=["layers", "narrower layers", "none"],
)
def test_a_start_goes_on_from_any_part_of_it(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: Any, parts: int
) -> None:
    """A part is some texts in one layer, or some tokens: what they were summed up to is kept, and
    the student has the bytes of one that nobody stopped."""
    monkeypatch.setattr(tables, "_TOKENS_AT_ONCE", -(-TINY_VOCAB // 4))
    recipe = dataclasses.replace(RECIPE, bridge_texts=20, table_dimensions=4, **changed)
    whole = train(lesson, tmp_path / "whole", recipe)
    save, begun = loop.Checkpoint.save, list[int]()

    def stops(self: loop.Checkpoint, progress: loop.Progress) -> None:
        save(self, progress)
        if not progress.losses:
            begun.append(progress.started)
            raise Stopped

    monkeypatch.setattr(loop.Checkpoint, "save", stops)
    for _ in range(parts):
        with pytest.raises(Stopped):
            train(lesson, tmp_path / "cut", recipe)
    again = train(lesson, tmp_path / "cut", recipe)
    assert begun == [*range(1, parts + 1)]
    assert again.state.read_bytes() == whole.state.read_bytes()


@pytest.mark.parametrize(("texts", "groups"), [(58, 4), (3, 3), (300, 5), (900, 15)])
def test_few_texts_of_a_start_are_not_padded_to_the_longest_of_all(texts: int, groups: int) -> None:
    """They are taken in four groups of near lengths; many by 64, as ever."""
    recipe = dataclasses.replace(RECIPE, bridge_texts=1000, feed_forward_kept=1.0)
    assert beginning.refit_parts(recipe, 1, texts) == groups


def test_what_is_not_to_be_resumed_leaves_nothing_to_go_on_from(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is hashed for it; the student has the bytes of one that could be resumed, and
    answers from memory as it does from its file."""
    whole = train(lesson, tmp_path / "whole", RECIPE)
    monkeypatch.setattr(loop, "_identity", None)
    once = train_student(
        lesson.teacher, lesson.texts, lesson.outputs, tmp_path / "once", recipe=RECIPE, seed=0,
        resumable=False,
    )  # fmt: skip
    assert once.state.read_bytes() == whole.state.read_bytes()
    assert [path.name for path in once.state.parent.iterdir()] == [once.state.name]
    kept = load_encoder(lesson.teacher, layers=once.layers, state=once.state)
    ids = torch.tensor([[5, 6, 7]])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        hidden = kept(input_ids=ids, attention_mask=mask).last_hidden_state
        assert torch.equal(once.run(ids, mask)[0], pooled(hidden, mask))


def test_a_start_that_is_slow_to_save_is_saved_less_often(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which a part takes a second, and a checkpoint too: after every sixth part, and
    after the last."""
    monkeypatch.setattr(beginning, "_MOST_AT_ONCE", 1)
    now, begun = iter(range(10_000)), list[int]()
    monkeypatch.setattr(loop.Checkpoint, "save", lambda _, progress: begun.append(progress.started))
    recipe = dataclasses.replace(RECIPE, bridge_texts=10, steps=1)
    train_student(
        lesson.teacher, lesson.texts, lesson.outputs, tmp_path, recipe=recipe, seed=0,
        clock=lambda: float(next(now)),
    )  # fmt: skip
    assert begun[: begun.index(20) + 1] == [6, 12, 18, 20]


def test_a_killed_process_loses_at_most_a_hundredth(lesson: Lesson, tmp_path: Path) -> None:
    """kill -9 after step 130 of 200: the next process begins at step 129 or later, and ends with
    the bytes of a training that nobody killed."""
    np.save(tmp_path / "outputs.npy", lesson.outputs)
    (tmp_path / "texts").write_text("\n".join(lesson.texts), encoding="utf-8")
    program = """
import sys, time
from pathlib import Path
import numpy as np
from headgate.distillation import Recipe
from headgate.distillation.train import train_student
teacher, given, out = map(Path, sys.argv[1:4])
recipe = Recipe(layers_kept=2, steps=200, batch_texts=4, threads=1)

def told(step, *_):
    print(step, flush=True)
    if step == 190 and int(sys.argv[4]):  # whoever kills it is late
        time.sleep(600)

train_student(
    teacher, (given / "texts").read_text().split("\\n"), np.load(given / "outputs.npy"), out,
    recipe=recipe, seed=0, on_progress=told, clock=lambda: 0.0,
)
"""

    def run(out: Path, kill_at: int) -> list[int]:
        given = (lesson.teacher, tmp_path, out, kill_at)
        command = [sys.executable, "-c", program, *map(str, given)]
        steps = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                steps.append(int(line))
                if steps[-1] == kill_at:
                    os.kill(process.pid, signal.SIGKILL)
        return steps

    killed = run(tmp_path / "cut", 130)
    resumed = run(tmp_path / "cut", 0)
    assert 0 <= killed[-1] - (resumed[0] - 1) <= 2
    assert killed[-1] < 200
    whole = train(lesson, tmp_path / "whole", dataclasses.replace(RECIPE, steps=200))
    assert (tmp_path / "cut" / loop.STATE_FILE).read_bytes() == whole.state.read_bytes()


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


def test_what_nothing_can_be_learnt_from_is_refused(lesson: Lesson, tmp_path: Path) -> None:
    """No texts, texts without a word, a teacher that answers all alike, and no answers at all."""
    alike = np.tile(lesson.outputs[:1], (40, 1))
    refused: list[tuple[list[str], Any, str]] = [
        ([], lesson.outputs[:0], "no texts"),
        ([" "] * 40, lesson.outputs, "none with a word"),
        (lesson.texts, alike, "answers all 40 texts alike"),
        (lesson.texts, None, "there are none"),
    ]
    for texts, outputs, said in refused:
        with pytest.raises(InputError, match=said):
            train_student(lesson.teacher, texts, outputs, tmp_path / "s", recipe=RECIPE, seed=0)
    assert not (tmp_path / "s").exists()


def test_answers_of_another_tokenizer_are_refused(lesson: Lesson, tmp_path: Path) -> None:
    """By the content of tokenizer.json; that of the teacher itself is taken."""
    own = digest_bytes((lesson.teacher / "tokenizer.json").read_bytes())
    train(lesson, tmp_path / "own", outputs_tokenizer=own)
    with pytest.raises(InputError, match="come of the tokenizer") as e:
        train(lesson, tmp_path / "other", outputs_tokenizer=digest_bytes(b"another"))
    assert e.value.reason == "other_tokenizer"
    assert not (tmp_path / "other").exists()


def test_a_device_that_is_not_there_is_named(lesson: Lesson, tmp_path: Path) -> None:
    """Where there is no CUDA, training on it is refused before anything is written."""
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match="no device cuda"):
        train(lesson, tmp_path / "s", device="cuda")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("taught", [True, False])
def test_a_batch_and_its_update_stay_on_the_device(
    lesson: Lesson, monkeypatch: pytest.MonkeyPatch, taught: bool
) -> None:
    """The device ``meta`` computes nothing and refuses tensors of another, as a GPU would. A
    student without layers only: transformers looks at what is in a mask."""
    monkeypatch.setattr(loop.Lesson, "autocast", lambda _: contextlib.nullcontext())
    weights = Weights(relational=1.0, contrast=1.0)
    recipe = dataclasses.replace(RECIPE, layers_kept=0, losses=weights)
    recipe = recipe if taught else control(recipe)
    given = Taught(lesson.texts, lesson.outputs if taught else None)
    elsewhere = loop.Lesson.of(lesson.teacher, given, given, recipe, 0, "meta")
    student = student_of(elsewhere, ())
    optimizer = torch.optim.AdamW([p for p in student.parameters if p.requires_grad])
    loss = Objective(elsewhere, student).batch(np.arange(4), 0)
    loss.backward()
    optimizer.step()
    assert loss.device.type == "meta"
    moments = [m for state in optimizer.state.values() for m in state.values() if m.ndim]
    assert {t.device.type for t in (*student.parameters, *moments)} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layers", [2, 0])
def test_a_training_on_cuda_resumes_as_one_on_the_processor(
    lesson: Lesson, tmp_path: Path, layers: int
) -> None:
    """Its checkpoint and its student are read where there is no GPU."""
    recipe = dataclasses.replace(RECIPE, layers_kept=layers)
    whole = train(lesson, tmp_path / "whole", recipe, device="cuda")
    with pytest.raises(Stopped):
        train(lesson, tmp_path / "killed", recipe, stop_at=3, device="cuda")
    again = train(lesson, tmp_path / "killed", recipe, device="cuda")
    assert again.state.read_bytes() == whole.state.read_bytes()
    on_cpu = train(lesson, tmp_path / "cpu", recipe)
    assert again.losses == pytest.approx(on_cpu.losses, rel=0.1)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_and_training_goes_on_when_there_is_room(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint before the failed one is whole, nothing half-written stays, and the next call
    ends with the bytes of an undisturbed training."""
    whole = train(lesson, tmp_path / "whole")
    out = tmp_path / "cut"
    with pytest.raises(Stopped):
        train(lesson, out, stop_at=4)
    before = (out / "checkpoint.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("headgate.distillation.training.checkpoint.os.fsync", full)
        with pytest.raises(Fault, match="disk is full") as e:
            train(lesson, out)
    assert e.value.reason == "disk_full"
    assert e.value.fix is not None
    assert [path.name for path in out.iterdir()] == ["checkpoint.safetensors"]
    assert (out / "checkpoint.safetensors").read_bytes() == before
    assert train(lesson, out).state.read_bytes() == whole.state.read_bytes()


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")]
)
def test_memory_that_runs_out_is_said_and_training_goes_on(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """In step 5: the checkpoint of step 4 stays and is gone on from."""
    whole = train(lesson, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(lesson, tmp_path / "cut", stop_at=4)

    def fails(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(loop.Objective, "batch", fails)
        with pytest.raises(Fault, match="memory ran out") as e:
            train(lesson, tmp_path / "cut")
    assert e.value.reason == "out_of_memory"
    assert train(lesson, tmp_path / "cut").state.read_bytes() == whole.state.read_bytes()


def test_other_errors_of_torch_pass_as_they_are(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no lack of memory is not called one."""

    def fails(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(loop.Objective, "batch", fails)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(lesson, tmp_path)


def held_back(lesson: Lesson) -> Taught:
    return Taught(lesson.texts[30:], lesson.outputs[30:])


def test_the_curve_has_the_stated_steps_and_the_last(lesson: Lesson, tmp_path: Path) -> None:
    """Validated every twelve steps of thirty and at the end; validating changes nothing learnt."""
    recipe = dataclasses.replace(RECIPE, steps=30, validate_every_steps=12)
    watched = train(lesson, tmp_path / "a", recipe, validation=held_back(lesson))
    alone = train(lesson, tmp_path / "b", recipe)
    assert [step for step, _ in watched.curve] == [12, 24, 30]
    assert watched.losses == alone.losses
    assert alone.curve == ()
    assert watched.curve[-1][1] < watched.curve[0][1]


def test_a_training_that_stalls_stops_and_keeps_its_best(lesson: Lesson, tmp_path: Path) -> None:
    """At a rate that wrecks it, it stops after two validations without a new best, and what is
    kept is what a training of so few steps would have had."""
    recipe = dataclasses.replace(
        RECIPE, steps=100, peak_learning_rate=3.0, validate_every_steps=1, patience=2,
        warmup_share=0.0,
    )  # fmt: skip
    stopped = train(lesson, tmp_path / "a", recipe, validation=held_back(lesson))
    best = min(stopped.curve, key=lambda point: point[1])[0]
    assert stopped.steps == best + 2 < 100
    kept = load_encoder(lesson.teacher, layers=stopped.layers, state=stopped.state)
    with pytest.raises(Stopped):
        train(lesson, tmp_path / "b", recipe, validation=held_back(lesson), stop_at=best)
    at_best = load_encoder(
        lesson.teacher, layers=stopped.layers, state=tmp_path / "b" / loop.STATE_FILE
    )
    assert all(map(torch.equal, kept.parameters(), at_best.parameters()))


def test_an_interrupted_training_has_the_curve_of_an_undisturbed_one(
    lesson: Lesson, tmp_path: Path
) -> None:
    """Points before the interruption are not lost, and the state is the best of all."""
    recipe = dataclasses.replace(RECIPE, validate_every_steps=2)
    whole = train(lesson, tmp_path / "whole", recipe, validation=held_back(lesson))
    with pytest.raises(Stopped):
        train(lesson, tmp_path / "cut", recipe, validation=held_back(lesson), stop_at=5)
    again = train(lesson, tmp_path / "cut", recipe, validation=held_back(lesson))
    assert again.curve == whole.curve
    assert len(whole.curve) == 3
    assert again.state.read_bytes() == whole.state.read_bytes()


@pytest.mark.parametrize("taught", [True, False])
def test_a_validation_goes_on_from_any_part_of_it(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taught: bool
) -> None:
    """Killed after every part that is saved, it judges no text twice, and curve and student are
    those of a training that nobody stopped: every two steps, and after the last."""
    monkeypatch.setattr(objective, "_TEXTS_AT_ONCE", 4)
    recipe = dataclasses.replace(RECIPE, steps=5, validate_every_steps=2)
    recipe = recipe if taught else control(recipe)
    given = held_back(lesson) if taught else Taught(lesson.texts[30:], None)
    whole = train(lesson, tmp_path / "whole", recipe, validation=given)
    save, cut_at, looked = loop.Checkpoint.save, list[tuple[int, int]](), list[int]()
    judge = Objective._judge

    def stops(self: loop.Checkpoint, progress: loop.Progress) -> None:
        save(self, progress)
        if progress.judged:
            cut_at.append((len(progress.losses), progress.judged))
            raise Stopped

    def counts(self: Objective, some: Any, rng: np.random.Generator) -> float:
        looked.append(len(some))
        return judge(self, some, rng)

    monkeypatch.setattr(loop.Checkpoint, "save", stops)
    monkeypatch.setattr(Objective, "_judge", counts)
    for _ in range(9):
        with pytest.raises(Stopped):
            train(lesson, tmp_path / "cut", recipe, validation=given)
    again = train(lesson, tmp_path / "cut", recipe, validation=given)
    assert cut_at == [(step, texts) for step in (2, 4, 5) for texts in (4, 8, 10)]
    assert looked == [4, 4, 2] * 3
    assert again.curve == whole.curve
    assert again.losses == whole.losses
    assert again.state.read_bytes() == whole.state.read_bytes()


def test_what_is_trained_is_not_trained_again(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same call finds curve and student as they are: no step and no validation."""
    recipe = dataclasses.replace(RECIPE, validate_every_steps=2)
    first = train(lesson, tmp_path, recipe, validation=held_back(lesson))
    monkeypatch.setattr(Objective, "batch", None)
    monkeypatch.setattr(Objective, "held_back", None)
    again = train(lesson, tmp_path, recipe, validation=held_back(lesson))
    assert (again.steps, again.curve) == (first.steps, first.curve)


def test_a_narrower_student_starts_near_its_teacher_and_learns(
    lesson: Lesson, tmp_path: Path
) -> None:
    """Half the units, chosen and refitted, start better than the wrong half; its state loads."""
    recipe = dataclasses.replace(RECIPE, layers_kept=4, feed_forward_kept=0.5, bf16=False, steps=40)
    result = train(lesson, tmp_path, recipe)
    assert result.feed_forward == 16
    assert result.layers == (0, 1, 2, 3)
    assert result.losses[0] < 0.3
    assert np.mean(result.losses[-5:]) < np.mean(result.losses[:5])
    student = load_encoder(
        lesson.teacher, layers=result.layers, feed_forward=16, state=result.state
    )
    assert student.config.intermediate_size == 16


def test_a_static_student_learns_its_teacher_s_answers(lesson: Lesson, tmp_path: Path) -> None:
    """Its vectors are the teacher's words, weighted; training makes of them the teacher's texts."""
    recipe = dataclasses.replace(
        RECIPE, layers_kept=0, table_dimensions=8, steps=60, peak_learning_rate=0.05, bf16=False
    )
    result = train(lesson, tmp_path, recipe)
    assert np.mean(result.losses[-10:]) < 0.7 * np.mean(result.losses[:3])
    from safetensors.torch import load_file

    tensors = load_file(result.state)
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "table": (len(tensors["table"]), 8),
        "basis": (8, 16),
    }
    assert result.layers == ()


def test_an_interrupted_static_student_ends_as_if_it_had_not_been(
    lesson: Lesson, tmp_path: Path
) -> None:
    """Its start and its steps are resumed like those of students with layers."""
    recipe = dataclasses.replace(RECIPE, layers_kept=0)
    whole = train(lesson, tmp_path / "whole", recipe)
    with pytest.raises(Stopped):
        train(lesson, tmp_path / "cut", recipe, stop_at=3)
    assert train(lesson, tmp_path / "cut", recipe).state.read_bytes() == whole.state.read_bytes()


@pytest.mark.parametrize("kept", [0, 2])
def test_a_control_is_trained_without_a_teacher_s_answers(
    lesson: Lesson, tmp_path: Path, kept: int
) -> None:
    """Same start, steps and texts as the recipe; its parts of texts come to find each other."""
    recipe = dataclasses.replace(RECIPE, layers_kept=kept, steps=40, peak_learning_rate=0.01)
    result = train(lesson, tmp_path, control(recipe), validation=Taught(lesson.texts, None))
    assert result.steps == recipe.steps
    assert np.mean(result.losses[-10:]) < np.mean(result.losses[:10])


@pytest.mark.parametrize("weight", ["relational", "soft_target", "hidden_states"])
def test_every_loss_can_be_learnt_from(lesson: Lesson, tmp_path: Path, weight: str) -> None:
    """Alone, in sixty steps, each falls clearly."""
    losses = Weights(**{"regression": 0.0, "temperature": 0.2, weight: 1.0})
    recipe = dataclasses.replace(RECIPE, losses=losses, steps=60, peak_learning_rate=3e-3)
    result = train(lesson, tmp_path, recipe)
    assert np.mean(result.losses[-10:]) < 0.7 * np.mean(result.losses[:3])


def test_a_training_that_diverges_ends_at_that_step(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the step and its rate, and no student is left behind."""
    import torch

    nothing = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr(loop.Objective, "batch", lambda *_: nothing)
    with pytest.raises(InputError, match=r"the loss of step 1 of .* is nan") as refused:
        train_student(lesson.teacher, lesson.texts, lesson.outputs, tmp_path, recipe=RECIPE, seed=0)
    assert refused.value.reason == "diverged"
    assert not (tmp_path / loop.STATE_FILE).exists()


def test_texts_without_outputs_are_refused(lesson: Lesson, tmp_path: Path) -> None:
    """One output for each text, and at least one."""
    with pytest.raises(InputError, match="40 texts and 39 teacher outputs"):
        train_student(
            lesson.teacher, lesson.texts, lesson.outputs[:-1], tmp_path, recipe=RECIPE, seed=0
        )


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"peak_learning_rate": -1.0},
        {"warmup_share": 1.0},
        {"feed_forward_kept": 1.5},
        {"layers_kept": -1},
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(change: dict[str, float]) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigError, match=next(iter(change))):
        Recipe(**change)  # type: ignore[arg-type]
