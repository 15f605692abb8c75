"""Students of the endpoint's model: what they learn from, and the fp32 build of each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from headgate.distillation import STUDENTS, Recipe, control, subset
from headgate.engines import codec_for, load
from headgate.errors import InputError
from headgate.objects import Build, canonical, parse
from headgate.optimize.answers import Answerer
from headgate.optimize.making.maker import Maker
from headgate.optimize.making.quantized import quantized
from headgate.optimize.measure import build_inputs, npy
from headgate.optimize.models import export, link_files
from headgate.optimize.recorder import Asked, Call, Output, transformation
from headgate.optimize.served import as_items
from headgate.quantization import BF16
from headgate.runtime.servable import build_from_json

if TYPE_CHECKING:
    from headgate.distillation.train import Taught

__all__ = [
    "is_answered",
    "on_this_machine",
    "outputs_of",
    "teacher_answers",
    "teacher_outputs",
    "trained_student",
    "untaught_student",
]

_HELD_BACK = 500
"""Texts for validation, or a tenth of what there is where that is less."""
_PART = 4000
"""Texts that the teacher answers in one go."""


@transformation("distill.teacher_outputs")
def teacher_outputs(call: Call) -> Mapping[str, Output]:
    """The teacher's answer to every item that is learnt from, computed once.

    A predictor's keep their type: around 1e9 float32 lies on a grid of 64, on which a student and
    its teacher would be equal.
    """
    teacher = build_from_json(call.c["teacher"])
    texts = as_items(parse(call.store.read(call.u["texts"])))
    call.progress(0.0, f"{teacher.name} answers {len(texts):,} items")
    first, *beside = (load(teacher, call.store.path_of) for _ in range(call.c["instances"]))
    codec = codec_for(teacher, call.store.path_of)
    with contextlib.closing(Answerer(first, codec, truncate=True, beside=beside)) as answerer:
        outputs = answerer.answer(texts)
    if teacher.task != "predict":
        outputs = outputs.astype(np.float32)
    said = f"npy {outputs.dtype} (items, dimensions)"
    return {"outputs.npy": Output(npy(outputs), "samples", said)}


class _Told:
    """Tells of each step of a training: how long the rest takes, and what was done before."""

    def __init__(self, tell: Callable[[float, str], None], clock: Callable[[], float]) -> None:
        self._tell, self._clock = tell, clock
        self._first: tuple[int, float] | None = None

    def __call__(self, step: int, steps: int, loss: float) -> None:
        now_s = self._clock()
        if self._first is None:  # what came before it was no step
            self._first = step, now_s
        first, began_s = self._first
        said = f"step {step} of {steps}, loss {loss:.4f}"
        if step > first:
            left_s = (now_s - began_s) / (step - first) * (steps - step)
            left = f"{left_s:.0f} s" if left_s < 120 else f"{left_s / 60:.0f} min"
            said += f", about {left} left"
        if first > 1:
            said += f"; {first - 1} steps are reused"
        self._tell(step / steps, said)


@transformation("distill.student")
def student(call: Call) -> Mapping[str, Output]:
    """A student, trained on the teacher's outputs; its control, on texts alone."""
    from headgate.distillation.train import train_student

    recipe = Recipe.from_json(call.c["recipe"])
    call.progress(0.0, f"preparing {recipe.steps} steps with {recipe.batch_texts} texts each")
    encoder = link_files(call, call.work_dir / "teacher", call.c["encoder"])
    held_back, *parts = (_taught(call, k) for k in range(call.c["parts"]))
    answered = [part.outputs for part in parts if part.outputs is not None]
    result = train_student(
        encoder,
        [text for part in parts for text in part.texts],
        np.concatenate(answered) if answered else None,
        call.resume_dir,
        recipe=recipe,
        seed=call.seed,
        validation=held_back,
        outputs_tokenizer=call.c["tokenizer"],
        device=call.c["device"],
        on_progress=_Told(call.progress, time.monotonic),
    )
    call.went_on_after(result.earlier_s)
    record = {
        "layers": result.layers,
        "feed_forward": result.feed_forward,
        "steps": result.steps,
        "losses": result.losses,
        "curve": result.curve,
    }
    return {
        "student.safetensors": Output(result.state, "model", "safetensors of the student"),
        "training": Output(
            canonical(record), "samples", "json {layers, feed_forward, steps, losses, curve}"
        ),
    }


def _taught(call: Call, part: int) -> Taught:
    from headgate.distillation.train import Taught

    texts = parse(call.store.read(call.u[f"texts.{part}"]))
    name = f"outputs.{part}"
    outputs = np.load(call.path(name), allow_pickle=False) if name in call.u else None
    return Taught(texts, outputs)


@transformation("distill.export_static")
def export_static(call: Call) -> Mapping[str, Output]:
    """A static student as ONNX."""
    from headgate.engines.export_table import export_table

    out = call.work_dir / "model.onnx"
    worst = export_table(call.path("student.safetensors"), out, seed=call.seed)
    facts = {"max_abs_difference": worst}
    return {
        "model.onnx": Output(out, "model", "onnx {input_ids, attention_mask} -> unit vectors"),
        "equivalence": Output(canonical(facts), "samples", "json: distance to numpy"),
    }


def trained_student(maker: Maker, name: str, recipe: Recipe | None = None) -> Build:
    """The student ``name`` as an fp32 build; by another ``recipe`` than the table's where given.

    Raises ``MissingExtra``, ``EngineError``, ``InputError``, or ``Fault`` where disk or memory run
    out.
    """
    device, recipe = on_this_machine(maker, recipe or STUDENTS[name])
    teacher = _teacher(maker)
    parts = _texts(maker, recipe)
    u = dict(maker.source.encoder)
    for k, texts in enumerate(parts):
        answers = teacher_answers(maker, texts, detail=f"part {k + 1} of {len(parts)}")
        u |= {f"texts.{k}": texts, f"outputs.{k}": answers}
    return _built(maker, name, recipe, u, len(parts), teacher.tokenizer, device=device)


def untaught_student(maker: Maker, name: str, recipe: Recipe | None = None) -> Build:
    """The control of ``trained_student``: what the student would be without its teacher's answers,
    for the same steps on the same texts. Raises as that does."""
    device, recipe = on_this_machine(maker, recipe or STUDENTS[name])
    recipe = control(recipe)
    parts = _texts(maker, recipe)
    u = {**maker.source.encoder, **{f"texts.{k}": texts for k, texts in enumerate(parts)}}
    return _built(maker, f"{name}_control", recipe, u, len(parts), None, device=device)


def teacher_answers(maker: Maker, texts: str, *, detail: str) -> str:
    """The artifact of what the teacher answers to those in the artifact ``texts``."""
    return outputs_of(maker, _teacher(maker), texts, detail=detail)


def outputs_of(maker: Maker, build: Build, items: str, *, detail: str) -> str:
    """The artifact of what ``build`` answers to those in the artifact ``items``: npy,
    float32, or of a predictor's type."""
    asked = _answering(maker, build, items)
    answered = maker.recorder.run(asked.what, u=asked.u, c=asked.c, detail=detail)
    return answered.outputs["outputs.npy"]


def is_answered(maker: Maker, build: Build, items: str) -> bool:
    """Whether ``outputs_of`` is on record, so that ``build`` would not be asked."""
    return maker.recorder.missing(_answering(maker, build, items)) is None


def _answering(maker: Maker, build: Build, items: str) -> Asked:
    return Asked(
        teacher_outputs,
        u=build_inputs(build, texts=items),
        # One thread each wastes least where there is always another batch.
        c={"teacher": replace(build, threads=1), "instances": maker.profile.effective_cores},
    )


def on_this_machine(maker: Maker, recipe: Recipe) -> tuple[str, Recipe]:
    """The device that students are trained on here, and ``recipe`` with what that computes with."""
    device = _device(maker)
    fast_bf16 = _multiplies_bf16(maker)
    if device != "cpu":
        import torch

        fast_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return device, replace(recipe, threads=maker.profile.effective_cores, bf16=fast_bf16)


def _multiplies_bf16(maker: Maker) -> bool:
    """Whether the CPU has instructions for products of bfloat16."""
    return not set(BF16.fast_with).isdisjoint(maker.profile.flags)


def _teacher(maker: Maker) -> Build:
    """What answers the training texts.

    It may answer in bf16: that moves an embedding by a cosine distance under 1e-5
    (docs/decisions/0004), a hundredth of what a student of three layers is off by.
    """
    source = maker.source.build
    if _multiplies_bf16(maker) and "openvino" in maker.profile.libraries:
        return quantized(maker, source, BF16, name="bf16")
    return source


def _texts(maker: Maker, recipe: Recipe) -> list[str]:
    """Artifacts of the texts that are held back for validation, then of those to learn from.

    Parts are of one size and in one order, so that recipes of different sizes share what the
    teacher answers, and a killed run keeps what was answered.
    """
    known = [t for t in maker.inputs.train if isinstance(t, str)]
    if not known:
        raise InputError(
            "no texts to learn from", where="data.train", reason="no_texts", fix="add some thousand"
        )
    held_back = min(_HELD_BACK, -(-len(known) // 10))
    chosen = subset(known, held_back + recipe.max_texts)
    parts = [chosen[:held_back]]
    parts += [chosen[i : i + _PART] for i in range(held_back, len(chosen), _PART)]
    lineage = (maker.inputs.versions["train"],)
    return [maker.json_artifact(f"train/texts.{k}", part, lineage) for k, part in enumerate(parts)]


def _built(
    maker: Maker,
    name: str,
    recipe: Recipe,
    u: Mapping[str, str],
    parts: int,
    tokenizer: str | None,
    *,
    device: str,
) -> Build:
    trained = maker.recorder.run(
        student,
        u=u,
        c={
            "encoder": maker.source.encoder,
            "recipe": recipe,
            "parts": parts,
            "tokenizer": tokenizer,
            "device": device,
        },
        detail=name,
    )
    state = {"student.safetensors": trained.outputs["student.safetensors"]}
    if recipe.static:
        exported = maker.recorder.run(export_static, u=state, c={}, detail=name)
    else:
        shape = parse(maker.recorder.store.read(trained.outputs["training"]))
        exported = maker.recorder.run(
            export,
            u={**maker.source.encoder, **state},
            c={"layers": shape["layers"], "feed_forward": shape["feed_forward"]},
            detail=name,
        )
    files = {"model.onnx": exported.outputs["model.onnx"]}
    return replace(maker.source.build, name=name, files=files)


def _device(maker: Maker) -> str:
    """``cuda`` where there is a GPU that the installed torch can use: it is in the run's
    configuration, so that a student of another device is another run. To train on the processor
    beside a GPU, hide that: ``CUDA_VISIBLE_DEVICES=``."""
    if len(maker.profile.devices) == 1:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
