"""Builds as they are made."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.numpy_helper import to_array

from headgate.distillation import Recipe
from headgate.distillation.pace import Cadence
from headgate.engines import codec_for, load
from headgate.errors import Fault, InputError
from headgate.objects import Build, HardwareProfile, canonical, parse
from headgate.optimize.inputs import Inputs
from headgate.optimize.making import Maker, students
from headgate.optimize.making.quantized import quantized
from headgate.optimize.making.students import _Told
from headgate.optimize.models import Source, _register_encoder
from headgate.optimize.recorder import Recorder
from headgate.quantization import INT8_BF16, INT8_DYNAMIC, INT8_STATIC
from headgate.testing import ManualClock
from tests.encoders import tiny_bert


@pytest.mark.parametrize(
    ("first", "reused"), [(1, ""), (101, "; 100 steps are reused")], ids=["anew", "resumed"]
)
def test_a_training_tells_how_long_it_still_takes(first: int, reused: str) -> None:
    """From its second step on, by the steps of this process alone; what came before the first is
    none of them."""
    clock, told = ManualClock(), [(0.0, "")]
    tell = _Told(lambda share, detail: told.append((share, detail)), clock.now_s)
    clock.advance(60.0)
    tell(first, 400, 0.5)
    assert told[-1] == (first / 400, f"step {first} of 400, loss 0.5000{reused}")
    clock.advance(4.0)
    tell(first + 2, 400, 0.25)
    left = {1: "13 min", 101: "10 min"}[first]
    said = f"step {first + 2} of 400, loss 0.2500, about {left} left{reused}"
    assert told[-1] == ((first + 2) / 400, said)
    tell(370, 400, 0.25)
    clock.advance(2.0 * (378 - first))
    tell(380, 400, 0.25)
    assert told[-1] == (380 / 400, f"step 380 of 400, loss 0.2500, about 40 s left{reused}")


RECIPE = Recipe(layers_kept=2, steps=6, batch_texts=4, max_texts=60, table_dimensions=8)
LESSONS = {
    "narrow": replace(RECIPE, feed_forward_kept=0.5),
    "static": replace(RECIPE, layers_kept=0, max_texts=40),
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of four layers, exported."""
    pytest.importorskip("torch")
    from headgate.engines.export_torch import export_embedder

    directory = tiny_bert(tmp_path_factory.mktemp("teacher"))
    export_embedder(directory, directory / "model.onnx")
    return directory


@pytest.fixture
def maker(teacher: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """The teacher and eighty texts, of which it answers twenty in one go."""
    encoder = _register_encoder(recorder, teacher)
    model = recorder.store.put_file(teacher / "model.onnx")
    build = Build(
        name="fp32",
        task="embed",
        engine="onnxruntime",
        precision="fp32",
        files={"model.onnx": model},
        tokenizer=encoder["tokenizer.json"],
        max_tokens=24,
        threads=1,
    )
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    train = [" ".join(rng.choice(letters, n)) for n in rng.integers(3, 15, 80)]
    version = recorder.store.put_bytes(canonical(train))
    recorder.register("train", version, kind="dataset", schema="json [text]")
    monkeypatch.setattr(students, "STUDENTS", LESSONS)
    monkeypatch.setattr(students, "_PART", 20)
    inputs = cast(Inputs, SimpleNamespace(train=train, versions={"train": version}))
    profile = HardwareProfile("x86_64", ("avx2",), 1, 1 << 30, ("cpu",), {}, "3.11")
    return Maker(recorder, Source(build, encoder, "entry"), inputs, profile, ())


def ran(maker: Maker, name: str) -> list[bool]:
    """Of each run of a transformation that was asked for, whether it was reused."""
    return [run.reused for run in maker.recorder.runs if run.name == name]


def test_students_of_every_form_are_served_like_their_teacher(maker: Maker) -> None:
    """A narrower one, a static one and its control take the teacher's tokens and answer in its
    dimensions; what the teacher answered for one is not asked again for another, and for a control
    it is not asked."""
    made = [students.trained_student(maker, name) for name in LESSONS]
    assert ran(maker, "distill.teacher_outputs") == [False] * 4 + [True] * 3
    made.append(students.untaught_student(maker, "static"))
    assert len(ran(maker, "distill.teacher_outputs")) == 7
    for build in made:
        assert build.tokenizer == maker.source.build.tokenizer
        codec = codec_for(build, maker.recorder.store.path_of)
        with contextlib.closing(load(build, maker.recorder.store.path_of)) as engine:
            answers = engine.run(codec.collate(codec.encode(["a b c", "d"])))
        assert answers.shape == (2, 16)
        np.testing.assert_allclose(np.linalg.norm(answers, axis=1), 1, atol=1e-5)
    assert len({build.files["model.onnx"] for build in made}) == 3
    students.trained_student(maker, "narrow")
    assert ran(maker, "distill.student") == [False, False, False, True]


def test_a_cpu_whose_sums_would_saturate_gets_weights_of_seven_bits(maker: Maker) -> None:
    """As the run says, so that the build of a machine with VNNI is another one."""
    files = []
    for flags in (("avx2",), ("avx2", "avx512_vnni")):
        here = replace(maker, profile=replace(maker.profile, flags=flags))
        files.append(quantized(here, maker.source.build, INT8_DYNAMIC, name="int8_dynamic").files)
    asked = [e.body["c"]["scheme"]["reduced_weights"] for e in maker.recorder.store.entries("run")]
    assert asked == [True, False]
    largest = []
    for each in files:
        model = onnx.load(maker.recorder.store.path_of(each["model.onnx"]))
        weights = [
            to_array(w) for w in model.graph.initializer if w.data_type == onnx.TensorProto.INT8
        ]
        largest.append(max(abs(w.astype(int)).max() for w in weights))
    assert largest[0] <= 64 < largest[1]


def test_what_the_rest_computes_in_makes_no_other_files(maker: Maker) -> None:
    """Static int8 is made once, and loaded in bf16 or in fp32."""
    pytest.importorskip("openvino")
    source, texts = maker.source.build, ["a b c", "d e"]
    static, bf16 = (
        quantized(maker, source, scheme, name=scheme.name, calibrate=texts)
        for scheme in (INT8_STATIC, INT8_BF16)
    )
    assert static.files == bf16.files
    assert ran(maker, "quantize") == [False, True]
    assert (static.precision, bf16.precision) == ("int8", "int8_bf16")


def test_what_is_validated_on_is_not_learnt_from(maker: Maker) -> None:
    """A tenth is held back, and every text is in one part."""
    parts = students._texts(maker, RECIPE)
    texts = [parse(maker.recorder.store.read(part)) for part in parts]
    assert [len(part) for part in texts] == [8, 20, 20, 20]
    assert len({text for part in texts for text in part}) == 68


def test_without_texts_there_is_no_student(maker: Maker) -> None:
    """Rows that hold something else are no texts."""
    inputs = cast(Inputs, SimpleNamespace(train=[[1.0, 2.0]], versions=maker.inputs.versions))
    with pytest.raises(InputError, match="no texts to learn from"):
        students.trained_student(replace(maker, inputs=inputs), "static")


@pytest.mark.parametrize(
    ("scarce", "error", "reason"),
    [
        ("memory", MemoryError(), "out_of_memory"),
        ("disk", OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
    ],
)
def test_a_training_in_which_something_runs_out_is_gone_on_with(
    maker: Maker, monkeypatch: pytest.MonkeyPatch, scarce: str, error: Exception, reason: str
) -> None:
    """Told, and not on record; asked for again it takes none of the steps that were kept, and says
    what these took."""
    from headgate.distillation.training import checkpoint
    from headgate.distillation.training.objective import Objective

    steps, runs_out = list[int](), True
    batch, write = Objective.batch, checkpoint._write

    def use(resource: str) -> None:
        if runs_out and resource == scarce and steps[-1:] == [4]:
            raise error

    def step_taken(self: Objective, chosen: NDArray[np.intp], step: int) -> object:
        steps.append(step)
        use("memory")
        return batch(self, chosen, step)

    def written(*given: Any) -> None:
        use("disk")
        write(*given)

    monkeypatch.setattr(Objective, "batch", step_taken)
    monkeypatch.setattr(checkpoint, "_write", written)
    monkeypatch.setattr(Cadence, "due", lambda *_: True)  # however slow the disk is
    with pytest.raises(Fault, match="in the middle of a training") as told:
        students.trained_student(maker, "static")
    assert (told.value.reason, told.value.exit_code) == (reason, 1)
    assert "run the same again: it goes on" in str(told.value.fix)
    store = maker.recorder.store
    assert store.verify().ok
    assert "distill.student" not in {e.body["transformation"] for e in store.entries("run")}
    runs_out = False
    students.trained_student(maker, "static")
    assert steps == [0, 1, 2, 3, 4, 4, 5]
    (trained,) = (run for run in maker.recorder.runs if run.name == "distill.student")
    assert 0 < trained.earlier_s < trained.seconds, "what it took before is what it took too"
    assert store.verify().ok


def test_a_teacher_with_another_tokenizer_teaches_nothing(maker: Maker) -> None:
    """The refusal is of the student that would be trained, before a step is taken."""
    other = maker.recorder.store.put_bytes(
        maker.recorder.store.read(maker.source.encoder["tokenizer.json"]) + b" "
    )
    source = replace(maker.source, build=replace(maker.source.build, tokenizer=other))
    with pytest.raises(InputError, match="come of the tokenizer"):
        students.trained_student(replace(maker, source=source), "static")
