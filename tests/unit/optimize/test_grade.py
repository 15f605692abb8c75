"""A model that is made again has the same bytes, or the same answers, or neither."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from headgate.cli.app import run as headgate
from headgate.ledger import Entry, Store, hold, hold_run, utc_now
from headgate.objects import Artifact, Build, Run, jsonable
from headgate.optimize import grade as grade_module
from headgate.optimize import recorder as recorder_module
from headgate.optimize.grade import Grade, Graded, grade
from headgate.optimize.making.quantized import quantize
from headgate.optimize.measure import Behaviour, measure_invariance
from headgate.optimize.recorder import Call, Output, Recorder, transformation
from headgate.quantization import INT8_DYNAMIC, produce
from tests.models import tiny_embedder, tiny_tokenizer

TEXTS = [f"text {k}" for k in range(12)]


@transformation("test.exported")
def exported(call: Call) -> dict[str, Output]:
    """Stands for the export of a student: its weights are no build, and this makes one of them."""
    model = onnx.load_model(call.path("weights"))
    model.doc_string = "a build"
    return {"model.onnx": Output(model.SerializeToString(deterministic=True), "model", "onnx")}


@transformation("test.trained")
def trained(call: Call) -> dict[str, Output]:
    """Stands for a training that another thread disturbs: weights off by what ``c`` says."""
    out = call.work_dir / "weights"
    moved(call.path("model.onnx"), out, by=float((call.root / "by").read_text(encoding="utf-8")))
    return {"weights": Output(out, "model", "weights")}


def moved(path: Path, out: Path, *, by: float) -> Path:
    """The model with its weight moved a little, and always with other bytes."""
    model = onnx.load_model(path)
    for weight in model.graph.initializer:
        if weight.name == "weight":
            values = numpy_helper.to_array(weight)
            other = values + by * np.random.default_rng(7).normal(size=values.shape)
            weight.CopyFrom(numpy_helper.from_array(other.astype(np.float32), weight.name))
    model.producer_name = f"moved by {by}"
    out.write_bytes(model.SerializeToString(deterministic=True))
    return out


def measured(recorder: Recorder, root: Path, model: str) -> Build:
    """A build of ``model`` whose batch invariance is on record."""
    tokenizer = recorder.store.put_file(tiny_tokenizer(root / "tokenizer.json"))
    build = Build("made", "embed", "onnxruntime", "int8", {"model.onnx": model}, tokenizer, 12, 1)
    measure_invariance(
        recorder, build, Behaviour("embed", False, None, None, {"own": {}}), items=TEXTS
    )
    return build


def recorded(recorder: Recorder, root: Path, model: Path) -> Entry:
    """A run of the quantizer that is said to have made ``model`` of the tiny embedder."""
    store = recorder.store
    source, made = (store.put_file(p) for p in (tiny_embedder(root / "fp32.onnx"), model))
    environment = store.put_bytes(b"{}")
    config = {"scheme": jsonable(INT8_DYNAMIC), "code": quantize.code}
    entry = hold_run(
        store,
        Run(
            quantize.name, {"model.onnx": source}, config, environment,
            {"model.onnx": made}, 0, utc_now(), utc_now(), "search",
        ),
    )  # fmt: skip
    size = model.stat().st_size
    hold(store, Artifact("docs/made", made, "model", "onnx", "search", size, made_by=entry.id))
    measured(recorder, root, made)
    return entry


newest = grade_module._newest


def graded(recorder: Recorder, entry: Entry) -> Graded:
    found = grade(recorder, entry, recorder.replay(entry))
    assert found is not None
    return found


def int8(root: Path, seed: int = 0) -> Path:
    source = tiny_embedder(root / "source.onnx", seed=seed)
    return produce.quantize(INT8_DYNAMIC, source, root / "int8")["model.onnx"]


def renamed(root: Path) -> Path:
    """The bytes of another library version: what they say is the same."""
    return moved(int8(root), root / "renamed.onnx", by=0.0)


def test_the_quantizer_makes_the_same_bytes(recorder: Recorder, tmp_path: Path) -> None:
    """So nobody has to answer anything."""
    found = graded(recorder, recorded(recorder, tmp_path, int8(tmp_path)))
    assert (found.grade, found.items) == (Grade.IDENTICAL, 0)


def test_other_bytes_that_answer_the_same_are_tolerated(recorder: Recorder, tmp_path: Path) -> None:
    """Of all requests that the recorded one was measured on; and nothing is recorded of it."""
    entry = recorded(recorder, tmp_path, renamed(tmp_path))
    before = len(list(recorder.store.entries()))
    found = graded(recorder, entry)
    assert (found.grade, found.items, found.same) == (Grade.TOLERATED, 12, 12)
    assert found.largest_difference <= found.epsilon == 1e-3
    assert len(list(recorder.store.entries())) == before
    assert recorder.store.verify().ok


def test_other_answers_are_another_model(recorder: Recorder, tmp_path: Path) -> None:
    """However alike their names and sizes are."""
    found = graded(recorder, recorded(recorder, tmp_path, int8(tmp_path, seed=1)))
    assert found.grade is Grade.DIFFERENT
    assert found.same < found.items == 12
    assert "0.001 allowed" in found.because


@pytest.mark.parametrize(
    ("by", "expected"),
    [(0.0, Grade.IDENTICAL), (1e-6, Grade.TOLERATED), (3.0, Grade.DIFFERENT)],
)
def test_weights_are_made_into_a_build_before_they_are_asked(
    recorder: Recorder, tmp_path: Path, by: float, expected: Grade
) -> None:
    """As a student's are: its training is graded by what was exported of it."""
    off = tmp_path / "by"
    off.write_text("0.0", encoding="utf-8")
    source = recorder.store.put_file(tiny_embedder(tmp_path / "model.onnx"))
    done = recorder.run(trained, u={"model.onnx": source}, c={})
    model = recorder.run(exported, u=done.outputs, c={}).outputs["model.onnx"]
    measured(recorder, tmp_path, model)
    off.write_text(str(by), encoding="utf-8")
    assert graded(recorder, recorder.store.get(done.entry)).grade is expected


def test_bytes_that_nobody_can_ask_are_unknown(recorder: Recorder, tmp_path: Path) -> None:
    """Not knowing is no tolerance, and no difference either."""
    (tmp_path / "by").write_text("0.0", encoding="utf-8")
    source = recorder.store.put_file(tiny_embedder(tmp_path / "model.onnx"))
    done = recorder.run(trained, u={"model.onnx": source}, c={})
    (tmp_path / "by").write_text("1e-9", encoding="utf-8")
    found = graded(recorder, recorder.store.get(done.entry))
    assert (found.grade, found.items) == (Grade.UNKNOWN, 0)
    assert not found.grade.agrees
    assert "headgate optimize" in found.fix


def test_what_only_a_removed_transformation_made_a_build_of_is_unknown(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store outlives the version that wrote it: the answer names what is gone, and what to do."""
    off = tmp_path / "by"
    off.write_text("0.0", encoding="utf-8")
    source = recorder.store.put_file(tiny_embedder(tmp_path / "model.onnx"))
    done = recorder.run(trained, u={"model.onnx": source}, c={})
    model = recorder.run(exported, u=done.outputs, c={}).outputs["model.onnx"]
    measured(recorder, tmp_path, model)
    off.write_text("1e-6", encoding="utf-8")
    monkeypatch.delitem(recorder_module._KNOWN, exported.name)
    found = graded(recorder, recorder.store.get(done.entry))
    assert found.grade is Grade.UNKNOWN
    assert "this version has no test.exported" in found.because
    assert "the version of Headgate that recorded it" in found.fix


def test_a_build_that_was_measured_on_nothing_is_unknown(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of no answers differs, and that shows nothing."""
    monkeypatch.setattr(grade_module, "_newest", lambda store: map(asked_nothing, newest(store)))

    def asked_nothing(run: Entry) -> Entry:
        if run.body["transformation"] != "measure.batch_invariance":
            return run
        nothing = recorder.store.put_bytes(b"[]")
        return replace(run, body={**run.body, "u": {**run.body["u"], "items": nothing}})

    found = graded(recorder, recorded(recorder, tmp_path, renamed(tmp_path)))
    assert (found.grade, found.items) == (Grade.UNKNOWN, 0)
    assert "measured on no request" in found.because


def test_replay_says_what_to_do_where_nobody_can_tell(
    recorder: Recorder, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 4, as of everything that is not known."""
    (tmp_path / "by").write_text("0.0", encoding="utf-8")
    source = recorder.store.put_file(tiny_embedder(tmp_path / "model.onnx"))
    done = recorder.run(trained, u={"model.onnx": source}, c={})
    (tmp_path / "by").write_text("1e-9", encoding="utf-8")
    assert headgate(["replay", done.entry, "--store", str(store.root)]) == 4
    said = capsys.readouterr().out
    assert "came out unknown" in said
    assert "what to do: measure a build of it first" in said


def test_what_makes_no_model_has_no_grade(recorder: Recorder, tmp_path: Path) -> None:
    """A measurement is the same or it is not."""
    model = recorder.store.put_file(tiny_embedder(tmp_path / "model.onnx"))
    measured(recorder, tmp_path, model)
    run = recorder.store.latest("run")
    assert run is not None
    assert grade(recorder, run, recorder.replay(run)) is None


@pytest.mark.parametrize(
    ("seed", "code", "word"), [(None, 0, "tolerated"), (0, 0, "identical"), (1, 3, "different")]
)
def test_replay_says_the_grade_and_ends_by_it(
    recorder: Recorder, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    seed: int | None, code: int, word: str,
) -> None:  # fmt: skip
    """On the terminal and in JSON."""
    model = renamed(tmp_path) if seed is None else int8(tmp_path, seed)
    entry = recorded(recorder, tmp_path, model)
    asked = ["replay", entry.id, "--store", str(store.root)]
    assert headgate(asked) == code
    assert f"quantize came out {word}" in capsys.readouterr().out
    assert headgate([*asked, "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["grade"]["grade"] == word
    assert said["agrees"] is (code == 0)
