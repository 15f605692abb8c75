"""Makes the candidate builds: what each is made from, and how.

``CANDIDATES`` is the one table of them, by the names of ``candidates`` in headgate.yaml. Knows
nothing of how builds are judged.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from headgate.distillation import Recipe, layers_for, subset
from headgate.engines import codec_for, load
from headgate.objects import Build, HardwareProfile, canonical, parse
from headgate.optimize.answers import Answerer
from headgate.optimize.inputs import Inputs
from headgate.optimize.measure import build_inputs
from headgate.optimize.models import Source, link_files
from headgate.optimize.recorder import Call, Output, Recorder, transformation
from headgate.optimize.served import as_items, as_json
from headgate.quantization import BF16, INT8_DYNAMIC, INT8_STATIC, Scheme
from headgate.report import words
from headgate.runtime.servable import build_from_json
from headgate.workload import Tensors

__all__ = ["BASELINE", "CANDIDATES", "Candidate", "Maker", "make_build"]

_OPENVINO_PADDING = 4
"""OpenVINO compiles for every new shape, about 6 ms and 2 MB each; lengths in fours keep the
shapes few. In eights a query of twenty tokens would be a sixth padding."""
_CALIBRATION_ITEMS = 150


@transformation("quantize.int8_dynamic")
def int8_dynamic(call: Call) -> Mapping[str, Output]:
    """int8 weights, activations quantized at run time (ONNX Runtime)."""
    from headgate.quantization.produce import dynamic_int8

    call.progress(0.0, "quantizing, dynamic int8")
    out = dynamic_int8(call.path("model.onnx"), call.work_dir / "model.onnx")
    return {"model.onnx": Output(out, "model", "onnx, int8 weights, dynamic activations")}


@transformation("quantize.int8_static")
def int8_static(call: Call) -> Mapping[str, Output]:
    """int8 weights and activations with calibrated scales (NNCF for OpenVINO)."""
    from headgate.quantization.produce import static_int8

    call.progress(0.0, "calibrating, static int8")
    source = build_from_json(call.c["source"])
    codec = codec_for(source, call.store.path_of)
    items = as_items(parse(call.store.read(call.u["calibrate"])))
    encoded = codec.encode(items, truncate=True)
    batches: list[Tensors] = [codec.collate([e]) for e in encoded]
    xml, weights = static_int8(
        call.path("model.onnx"),
        batches,
        call.work_dir,
        samples=len(batches),
        transformer=source.tokenizer is not None,
    )
    return {
        "model.xml": Output(xml, "model", "OpenVINO IR, int8"),
        "model.bin": Output(weights, "model", "OpenVINO IR weights"),
    }


@transformation("distill.teacher_outputs")
def teacher_outputs(call: Call) -> Mapping[str, Output]:
    """The teacher's embedding of every training text, computed once."""
    teacher = build_from_json(call.c["teacher"])
    texts = parse(call.store.read(call.u["texts"]))
    call.progress(0.0, f"the teacher embeds {len(texts):,} training texts")
    first, *beside = (load(teacher, call.store.path_of) for _ in range(call.c["instances"]))
    codec = codec_for(teacher, call.store.path_of)
    with contextlib.closing(Answerer(first, codec, truncate=True, beside=beside)) as answerer:
        outputs = answerer.answer(texts).astype(np.float32)
    buffer = io.BytesIO()
    np.save(buffer, outputs, allow_pickle=False)
    return {"outputs.npy": Output(buffer.getvalue(), "samples", "npy float32 (texts, dimensions)")}


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


@dataclass(frozen=True, slots=True)
class Maker:
    """What makers of builds work with."""

    recorder: Recorder
    source: Source
    inputs: Inputs
    profile: HardwareProfile

    def json_artifact(self, name: str, value: object, lineage: tuple[str, ...]) -> str:
        """A small JSON input of a transformation, as an artifact of its own."""
        store = self.recorder.store
        version = store.put_bytes(canonical(value))
        self.recorder.register(name, version, kind="dataset", schema="json", lineage=lineage)
        return version


def make_build(name: str, maker: Maker) -> Build:
    """The candidate ``name``. Raises ``MissingExtra``, ``EngineError`` or ``InputError``."""
    return CANDIDATES[name].make(maker)


def _fp32_openvino(maker: Maker) -> Build:
    return replace(
        maker.source.build,
        name="fp32_openvino",
        engine="openvino",
        pad_to_multiple=_pad(maker.source.build),
    )


def _bf16(maker: Maker) -> Build:
    return replace(
        maker.source.build,
        name="bf16",
        engine="openvino",
        precision="bf16",
        pad_to_multiple=_pad(maker.source.build),
    )


def _int8_dynamic(maker: Maker) -> Build:
    files = maker.source.build.files
    done = maker.recorder.run(int8_dynamic, u=files, c={})
    return replace(maker.source.build, name="int8_dynamic", precision="int8", files=done.outputs)


def _int8_static(maker: Maker) -> Build:
    return _quantized(maker, maker.source.build, "int8_static")


def _quantized(maker: Maker, source: Build, name: str) -> Build:
    """Static int8 of ``source``, calibrated on texts that judge nothing."""
    lineage = maker.inputs.versions.get("calibrate")
    items = as_json(maker.inputs.calibrate[:_CALIBRATION_ITEMS])
    calibrate = maker.json_artifact(
        "calibrate/items", items, (lineage,) if lineage is not None else ()
    )
    done = maker.recorder.run(
        int8_static,
        u={**source.files, "calibrate": calibrate},
        c={"source": source},
        detail=name,
    )
    return replace(
        source,
        name=name,
        engine="openvino",
        precision="int8",
        files=done.outputs,
        pad_to_multiple=_pad(source),
    )


def _student3(maker: Maker) -> Build:
    from headgate.optimize.models import export

    fast_bf16 = bool({"avx512_bf16", "amx_bf16"} & set(maker.profile.flags))
    recipe = Recipe(threads=maker.profile.effective_cores, bf16=fast_bf16)
    # The teacher may answer in bf16: that moves an embedding by a cosine distance under 1e-5
    # (docs/decisions/0004), a hundredth of what a student of three layers is off by.
    openvino = "openvino" in maker.profile.libraries
    teacher = _bf16(maker) if fast_bf16 and openvino else maker.source.build
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
    return replace(
        maker.source.build, name="student3", files={"model.onnx": exported.outputs["model.onnx"]}
    )


def _layers(maker: Maker, recipe: Recipe) -> tuple[int, ...]:
    config = parse(maker.recorder.store.read(maker.source.encoder["config.json"]))
    return layers_for(recipe.layers_kept, int(config["num_hidden_layers"]))


def _student3_int8(maker: Maker) -> Build:
    return _quantized(maker, _student3(maker), "student3_int8")


def _pad(build: Build) -> int:
    return _OPENVINO_PADDING if build.tokenizer is not None else 1


BASELINE = "fp32"
"""The model as it is, which is nobody's candidate and what the plainest are plainer than."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to make a build: what it needs, and what it is without each of its optimizations."""

    make: Callable[[Maker], Build]
    without: Mapping[str, str]
    """Optimization -> the candidate, or ``BASELINE``, that lacks only it."""
    scheme: Scheme | None = None
    """How it is quantized, if it is."""
    openvino: bool = True
    """It runs on OpenVINO."""
    calibrates: bool = False
    student: bool = False

    @property
    def learns_from(self) -> tuple[str, ...]:
        """Roles of the data that go into it."""
        return ("train",) * self.student + ("calibrate",) * self.calibrates


CANDIDATES: Mapping[str, Candidate] = {
    "fp32_openvino": Candidate(_fp32_openvino, {}),
    "bf16": Candidate(_bf16, {"quantization": "fp32_openvino"}, BF16),
    "int8_dynamic": Candidate(
        _int8_dynamic, {"quantization": BASELINE}, INT8_DYNAMIC, openvino=False
    ),
    "int8_static": Candidate(
        _int8_static, {"quantization": "fp32_openvino"}, INT8_STATIC, calibrates=True
    ),
    "student3": Candidate(_student3, {"distillation": BASELINE}, openvino=False, student=True),
    "student3_int8": Candidate(
        _student3_int8,
        {"quantization": "student3", "distillation": "int8_static"},
        INT8_STATIC,
        calibrates=True,
        student=True,
    ),
}
"""Name -> how it is made; headgate.yaml may name all but the first, which only prices are compared
with."""
