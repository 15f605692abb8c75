"""Students of the endpoint's model: what they learn from, and the fp32 build of each."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from headgate.distillation import STUDENTS, Recipe, layers_for, subset
from headgate.engines import codec_for, load
from headgate.objects import Build, canonical, parse
from headgate.optimize.answers import Answerer
from headgate.optimize.making.maker import Maker
from headgate.optimize.making.quantized import quantized
from headgate.optimize.measure import build_inputs
from headgate.optimize.models import export, link_files
from headgate.optimize.recorder import Call, Output, transformation
from headgate.optimize.served import as_items
from headgate.quantization import BF16
from headgate.report import words
from headgate.runtime.servable import build_from_json

__all__ = ["teacher_outputs", "trained_student"]


@transformation("distill.teacher_outputs")
def teacher_outputs(call: Call) -> Mapping[str, Output]:
    """The teacher's answer to every item that is learnt from, computed once."""
    teacher = build_from_json(call.c["teacher"])
    texts = as_items(parse(call.store.read(call.u["texts"])))
    call.progress(0.0, f"{teacher.name} answers {len(texts):,} items")
    first, *beside = (load(teacher, call.store.path_of) for _ in range(call.c["instances"]))
    codec = codec_for(teacher, call.store.path_of)
    with contextlib.closing(Answerer(first, codec, truncate=True, beside=beside)) as answerer:
        outputs = answerer.answer(texts).astype(np.float32)
    buffer = io.BytesIO()
    np.save(buffer, outputs, allow_pickle=False)
    return {"outputs.npy": Output(buffer.getvalue(), "samples", "npy float32 (items, dimensions)")}


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
            said += f", about {words.seconds(left_s)} left"
        if first > 1:
            said += f"; {first - 1} steps are reused"
        self._tell(step / steps, said)


@transformation("distill.student")
def student(call: Call) -> Mapping[str, Output]:
    """A student with some of the teacher's layers, trained on the teacher's outputs."""
    from headgate.distillation.train import train_student

    recipe = Recipe(**call.c["recipe"])
    call.progress(0.0, f"preparing {recipe.steps} steps with {recipe.batch_texts} texts each")
    encoder = link_files(call, call.work_dir / "teacher", call.c["encoder"])
    result = train_student(
        encoder,
        parse(call.store.read(call.u["texts"])),
        np.load(call.path("outputs.npy"), allow_pickle=False),
        call.resume_dir,
        recipe=recipe,
        seed=call.seed,
        on_progress=_Told(call.progress, time.monotonic),
    )
    record = {"layers": result.layers, "steps": result.steps, "losses": result.losses}
    return {
        "student.safetensors": Output(result.state, "model", "safetensors of the student"),
        "training": Output(canonical(record), "samples", "json {layers, steps, losses}"),
    }


def trained_student(maker: Maker, name: str) -> Build:
    """The student ``name`` as an fp32 build. Raises ``MissingExtra``, ``EngineError`` or
    ``InputError``."""
    fast_bf16 = bool({"avx512_bf16", "amx_bf16"} & set(maker.profile.flags))
    recipe = replace(STUDENTS[name], threads=maker.profile.effective_cores, bf16=fast_bf16)
    # The teacher may answer in bf16: that moves an embedding by a cosine distance under 1e-5
    # (docs/decisions/0004), a hundredth of what a student of three layers is off by.
    openvino = "openvino" in maker.profile.libraries
    source = maker.source.build
    teacher = quantized(maker, source, BF16, name="bf16") if fast_bf16 and openvino else source
    texts = maker.json_artifact(
        "train/texts",
        subset([t for t in maker.inputs.train if isinstance(t, str)], recipe.max_texts),
        (maker.inputs.versions["train"],),
    )
    learnt = maker.recorder.run(
        teacher_outputs,
        u=build_inputs(teacher, texts=texts),
        # One thread each wastes least where there is always another batch.
        c={"teacher": replace(teacher, threads=1), "instances": maker.profile.effective_cores},
    )
    trained = maker.recorder.run(
        student,
        u={**maker.source.encoder, "texts": texts, **learnt.outputs},
        c={"encoder": maker.source.encoder, "recipe": recipe},
    )
    state = {"student.safetensors": trained.outputs["student.safetensors"]}
    exported = maker.recorder.run(
        export,
        u={**maker.source.encoder, **state},
        c={"layers": list(_layers(maker, recipe))},
        detail="the student",
    )
    return replace(source, name=name, files={"model.onnx": exported.outputs["model.onnx"]})


def _layers(maker: Maker, recipe: Recipe) -> tuple[int, ...]:
    config = parse(maker.recorder.store.read(maker.source.encoder["config.json"]))
    return layers_for(recipe.layers_kept, int(config["num_hidden_layers"]))
