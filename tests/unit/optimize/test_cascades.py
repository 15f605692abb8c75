"""What a cascade may lose, what it lacks, and its curve from those of its parts."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from headgate import engines
from headgate.distillation import HEADS, HeadRecipe, Threshold, escalates
from headgate.errors import InputError
from headgate.ledger import Store
from headgate.objects import Action, Bound, Contract, Parts, canonical, cascade_of, parse, parts_of
from headgate.optimize.cascades import composed, measured_parts
from headgate.optimize.making import Maker, make_build
from headgate.optimize.making import cascades as cascades_module
from headgate.optimize.making.cascades import lacks_for_cascade, promised_risks, threshold
from headgate.optimize.making.heads import answers_of, head, untaught_head
from headgate.optimize.recorder import Recorder
from headgate.workload import CascadeTimes, CurvePoint, ServiceCurve
from tests.models import bent_predictor, tiny_cross_encoder, tiny_tokenizer

from .fakes import build, contract, curve

ACCURACY = contract("accuracy", Bound.NOT_BELOW_CURRENT_BY, 0.02)
AGREEMENT = contract("agreement", Bound.AT_LEAST, 0.96)
OF_SLICES = replace(AGREEMENT, metric="worst_slice_agreement")


@pytest.mark.parametrize(
    ("contracts", "risks"),
    [
        ([ACCURACY], {"accuracy": 0.01}),
        ([AGREEMENT], {"agreement": 0.02}),
        ([contract("agreement", Bound.NOT_BELOW_CURRENT_BY, 0.04)], {"agreement": 0.02}),
        ([OF_SLICES], {}),
        ([contract("flip_rate", Bound.AT_MOST, 0.03)], {"flip_rate": 0.015}),
        ([AGREEMENT, ACCURACY], {"agreement": 0.02, "accuracy": 0.01}),
        ([ACCURACY, replace(ACCURACY, limit=0.01)], {"accuracy": 0.005}),
        ([contract("accuracy", Bound.AT_LEAST, 0.9)], {}),
        ([replace(ACCURACY, limit=0.0)], {}),
        ([ACCURACY, replace(AGREEMENT, on_breach=Action.WARN)], {"accuracy": 0.01}),
        ([contract("latency_p95", Bound.AT_MOST, 0.04)], {}),
    ],
)
def test_a_cascade_may_lose_half_of_what_the_contracts_allow(
    contracts: list[Contract], risks: dict[str, float]
) -> None:
    """The tightest of a metric; a bound that allows nothing, or says nothing of it, is none, nor is
    one whose breach is only warned of."""
    assert promised_risks(contracts, "classify", {}) == pytest.approx(risks)


@pytest.mark.parametrize(
    ("contracts", "items", "said"),
    [
        ([ACCURACY], 0, "calibrate is not declared"),
        ([contract("exact", Bound.AT_LEAST, 0.9)], 1000, "agreement with at_least"),
        (
            [replace(ACCURACY, metric="worst_slice_accuracy")],
            1000,
            "(no threshold follows from worst_slice_accuracy, which the gate judges slice by",
        ),
        ([ACCURACY], 298, "has 298 items, and a risk of 0.01 can be shown with 299 at least"),
        ([ACCURACY], 299, ""),
        ([replace(ACCURACY, on_breach=Action.WARN)], 299, "no contract whose breach stops says"),
    ],
)
def test_what_a_cascade_lacks_is_said_before_its_student_is_trained(
    contracts: list[Contract], items: int, said: str
) -> None:
    lacking = lacks_for_cascade(contracts, "classify", {}, items)
    assert said in lacking
    assert bool(lacking) is bool(said)


OWN = {
    "error": {"function": "m:f", "direction": "lower_is_better", "range": [0.0, 40.0]},
    "worth": {"function": "m:g", "direction": "higher_is_better", "range": [-1.0, 1.0]},
}
ERROR = contract("error", Bound.NOT_ABOVE_CURRENT_BY, 0.8)


@pytest.mark.parametrize(
    ("contracts", "risks"),
    [
        ([ERROR], {"error": 0.01}),
        ([contract("worth", Bound.NOT_BELOW_CURRENT_BY, 0.2)], {"worth": 0.05}),
        ([ERROR, AGREEMENT], {"error": 0.01, "agreement": 0.02}),
        ([ERROR, replace(AGREEMENT, limit=0.99, on_breach=Action.WARN)], {"error": 0.01}),
        ([contract("worth", Bound.AT_LEAST, 0.9)], {}),
        ([contract("latency_p95", Bound.NOT_ABOVE_CURRENT_BY, 0.2)], {}),
        ([replace(ERROR, limit=40.0)], {}),
    ],
)
def test_of_values_half_of_a_margin_may_be_lost_as_a_share_of_the_metrics_range(
    contracts: list[Contract], risks: dict[str, float]
) -> None:
    """A margin as wide as the range promises nothing, and nor does a bound that stands alone."""
    assert promised_risks(contracts, "predict", OWN) == pytest.approx(risks)


@pytest.mark.parametrize(
    ("contracts", "items", "said"),
    [
        ([ERROR], 0, "calibrate is not declared"),
        ([AGREEMENT], 1000, "how far off a cascade may be on the whole: a metric of your own"),
        ([ERROR], 354, "has 354 items, and a risk of 0.01 can be shown with 355 at least"),
        ([ERROR], 355, ""),
        ([ERROR, AGREEMENT], 3000, "agreement at least 0.96: no student's predictions are the "),
        ([ERROR, replace(AGREEMENT, limit=0.905)], 3000, "4.75% of the items at most could be"),
        ([ERROR, replace(AGREEMENT, limit=0.904)], 3000, ""),
        ([ERROR, replace(AGREEMENT, limit=0.99, on_breach=Action.WARN)], 3000, ""),
        ([ERROR, replace(OF_SLICES, limit=0.953)], 3000, "4.70% of the items of a slice at most"),
        ([ERROR, replace(OF_SLICES, limit=0.952)], 3000, ""),
        ([ERROR, replace(OF_SLICES, limit=0.92)], 3000, ""),
        ([ERROR, replace(OF_SLICES, limit=0.99, on_breach=Action.WARN)], 3000, ""),
    ],
)
def test_what_a_cascade_of_values_lacks(contracts: list[Contract], items: int, said: str) -> None:
    """Agreement says that values are the same, and says of no other how far off it may be; where
    it leaves the student too little to be worth it, nobody trains one to find that out. Of what it
    leaves on the whole the threshold takes half; of what it leaves in slices no risk follows."""
    lacking = lacks_for_cascade(contracts, "predict", OWN, items)
    assert said in lacking
    assert bool(lacking) is bool(said)


STUDENT = ServiceCurve(1e-4, 1e-5, 0.0, 0.0)
TEACHER = ServiceCurve(1e-3, 1e-3, 0.0, 0.0)


def test_the_composed_curve_keeps_both_parts_and_slows_the_student_alone() -> None:
    """Each request is handled by the shell once, whoever answers it."""
    points = tuple(CurvePoint(n, 1, STUDENT.predict_s(n, 1)) for n in (1, 2, 4, 8))
    student = replace(curve(2, 1), curve=STUDENT, points=points, cores_used=1.0)
    teacher = replace(curve(2, 1), curve=TEACHER, points=points, cores_used=2.0)
    both = composed(student, teacher, 0.25)
    expected = CascadeTimes(STUDENT, TEACHER, 0.25)
    assert [p.seconds for p in both.points] == [expected.predict_s(n, 1) for n in (1, 2, 4, 8)]
    assert 1.5 < both.cores_used < 2.0  # most of the time is the teacher's
    loaded = both.with_shell(1e-3, cores=2)
    assert loaded.parts is not None
    assert loaded.parts[0].item_s == pytest.approx(STUDENT.item_s + 5e-4)
    assert loaded.parts[1] == TEACHER
    assert loaded.curve.item_s == pytest.approx(both.curve.item_s + 5e-4)
    assert both.takes == {"student": STUDENT, "teacher": TEACHER}
    assert curve(2, 1).takes == curve(2, 1).curve


def test_the_student_is_timed_with_the_policy_that_asks_about_it() -> None:
    """As a cascade in which nobody escalates; any other build is timed as it is."""
    student, teacher = build("linear"), build("fp32")
    both = cascade_of("both", Parts(student, teacher, 0.5))
    own, other = measured_parts(both)
    assert parts_of(own).threshold == 0.0
    assert replace(other, name="fp32") == teacher
    assert measured_parts(teacher) == (teacher,)


def arrays(store: Store, **values: object) -> dict[str, str]:
    versions = {}
    for name, value in values.items():
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(value, dtype=np.float32), allow_pickle=False)
        versions[f"{name}.npy"] = store.put_bytes(buffer.getvalue())
    return versions


def scores(classes: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Of two classes, so that the margin is as given."""
    return np.where(np.eye(2)[classes] == 1, (1 + margin[:, None]) / 2, (1 - margin[:, None]) / 2)


@pytest.mark.parametrize("task", [{"task": "classify"}, {}], ids=["told", "an older run"])
def test_labels_let_a_cascade_keep_more(recorder: Recorder, task: dict[str, str]) -> None:
    """Where teacher and student disagree and the teacher is wrong, nothing is lost; without labels
    every disagreement counts. A run from before there were cascades of values names no task."""
    n, store = 1000, recorder.store
    margin = np.linspace(1, 0.01, n)
    teacher, student = np.zeros(n, np.int64), np.zeros(n, np.int64)
    student[100:120] = 1  # they disagree, and it is the student that is right
    labels = student.tolist()
    u = arrays(store, student=scores(student, margin), teacher=scores(teacher, margin))
    u |= {"labels": store.put_bytes(canonical(labels))}

    def learnt(**inputs: str) -> dict[str, object]:
        done = recorder.run(threshold, u=inputs, c={"risks": {"accuracy": 0.01}, **task})
        found = parse(store.read(done.outputs["thresholds"]))["accuracy"]
        return dict(found)

    assert learnt(**u)["escalated_share"] == 0.0
    without = {name: version for name, version in u.items() if name != "labels"}
    assert learnt(**without)["escalated_share"] == pytest.approx(0.896)  # four may be lost


@pytest.mark.parametrize("whose", ["teacher", "labels"])
def test_one_class_teaches_nothing(recorder: Recorder, whose: str) -> None:
    """A teacher that always says the same, or labels that do: refused before training."""
    pytest.importorskip("torch")
    store = recorder.store
    classes = np.zeros(4, np.int64) if whose == "teacher" else np.arange(4) % 2
    u = arrays(store, outputs=scores(classes, np.full(4, 0.5)))
    u["texts"] = store.put_bytes(canonical([[0.0, 1.0]] * 4))
    if whose == "labels":
        u["labels"] = store.put_bytes(canonical([1, 1, 1, 1]))
    recipe = {"recipe": {}, "teacher": build("fp32")}
    with pytest.raises(InputError, match="alone") as refused:
        recorder.run(head, u=u, c=recipe)
    assert refused.value.reason == "one_class"
    assert list(store.entries("run")) == []


def test_a_label_beyond_the_models_classes_is_refused(recorder: Recorder) -> None:
    """Where the file of the model does not say how many it has, its scores do."""
    pytest.importorskip("torch")
    store = recorder.store
    u = arrays(store, outputs=scores(np.arange(4) % 2, np.full(4, 0.5)))
    u["texts"] = store.put_bytes(canonical([[0.0, 1.0]] * 4))
    u["labels"] = store.put_bytes(canonical([0, 1, 2, 1]))
    with pytest.raises(InputError, match="from 0 to 2; the model has classes 0 to 1"):
        recorder.run(head, u=u, c={"recipe": {}, "teacher": build("fp32")})


WORDS = ("open", "read", "file", "path", "sort", "list", "time", "lock")
TEXTS = tuple(f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS)


def maker(recorder: Recorder, tmp_path: Path, **labels: tuple[float, ...]) -> Maker:
    """Of a classifier of texts that answers with three logits, and wants segments too."""
    store = recorder.store
    model = store.put_file(tiny_cross_encoder(tmp_path / "model.onnx", scores=3))
    tokenizer = store.put_file(tiny_tokenizer(tmp_path / "tokenizer.json"))
    teacher = build("fp32", files={"model.onnx": model}, tokenizer=tokenizer, max_tokens=20)
    versions = {}
    for role in ("train", "calibrate"):
        versions[role] = store.put_bytes(role.encode())
        recorder.register(role, versions[role], kind="dataset", schema="jsonl")
    inputs = SimpleNamespace(
        train=TEXTS[::2], calibrate=TEXTS[1::2], versions=versions, labels=labels
    )
    source = SimpleNamespace(build=teacher, encoder={})
    profile = SimpleNamespace(effective_cores=1)
    allows = (contract("agreement", Bound.AT_LEAST, 0.97),)
    return Maker(recorder, cast("Any", source), cast("Any", inputs), cast("Any", profile), allows)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setitem(cast("Any", HEADS), "linear", HeadRecipe(steps=150))


@pytest.mark.usefixtures("_quick")
def test_a_cascade_of_texts_answers_in_logits_as_its_teacher(
    recorder: Recorder, tmp_path: Path
) -> None:
    """The student begins with the teacher's token vectors, takes two of its three inputs, and
    answers what it is sure of; no run is made twice."""
    made = make_build("linear_cascade", maker(recorder, tmp_path))
    path_of = recorder.store.path_of
    parts = parts_of(made)
    codec = engines.codec_for(made, path_of)
    batch = codec.collate(codec.encode(TEXTS[1::2]))
    scores, teacher = (
        engines.load(part, path_of).run({n: batch[n] for n in names})
        for part, names in (
            (parts.student, ("input_ids", "attention_mask")),
            (parts.teacher, tuple(batch)),
        )
    )
    asked = escalates(scores, parts.threshold, "classify")
    assert 0 < asked.mean() < 1
    merged = engines.load(made, path_of).run(batch)
    assert np.allclose(merged, np.where(asked[:, None], teacher, scores), atol=1e-5)
    assert (merged.argmax(axis=1) == teacher.argmax(axis=1)).mean() >= 0.985
    before = len(list(recorder.store.entries("run")))
    assert make_build("linear_cascade", maker(recorder, tmp_path)) == made
    assert len(list(recorder.store.entries("run"))) == before


@pytest.mark.usefixtures("_quick")
def test_where_no_threshold_keeps_the_risk_there_is_no_cascade(
    recorder: Recorder, tmp_path: Path
) -> None:
    """A hundred items cannot show a risk of 1.5 %: it is said, with what to do."""
    few = maker(recorder, tmp_path)
    few = replace(few, inputs=cast("Any", SimpleNamespace(**vars(few.inputs))))
    few.inputs.calibrate = few.inputs.calibrate[:100]  # type: ignore[misc]  # a stand-in
    with pytest.raises(InputError, match="everything would escalate") as refused:
        make_build("linear_cascade", few)
    assert refused.value.reason == "no_threshold"
    assert "with 100 items" in refused.value.what


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(("share", "worth"), [(0.96, False), (0.9, True)])
def test_a_cascade_that_escalates_nearly_everything_is_not_worth_it(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, worth: bool
) -> None:
    """Its threshold keeps the promise, and its teacher answers all the same: by then it could be
    1.05 times as fast at most, whatever its student costs."""
    learnt = Threshold(0.9, share, 0.0, 0.015, 0.01, 256)
    monkeypatch.setattr(cascades_module, "learn_threshold", lambda *_, **__: learnt)
    endpoint = maker(recorder, tmp_path)
    if worth:
        assert parts_of(make_build("linear_cascade", endpoint)).threshold == 0.9
        return
    with pytest.raises(InputError, match=r"not worth it: .* 96.0% of the items") as refused:
        make_build("linear_cascade", endpoint)
    assert refused.value.reason == "not_worth_it"
    assert "try mlp_cascade" in str(refused.value.fix)
    monkeypatch.setitem(cast("Any", HEADS), "mlp", HEADS["linear"])
    with pytest.raises(InputError) as refused:
        make_build("mlp_cascade", endpoint)
    assert refused.value.fix == "give data.train more items", "and not what it is"


@pytest.mark.usefixtures("_quick")
def test_a_student_that_fails_alone_is_still_made_alone(recorder: Recorder, tmp_path: Path) -> None:
    """``linear`` is a build of its own name; its control learns from the labels, equally long."""
    endpoint = maker(recorder, tmp_path, train=tuple(float(k % 3) for k in range(256)))
    made = make_build("linear", endpoint)
    assert (made.name, made.engine, list(made.files)) == ("linear", "onnxruntime", ["model.onnx"])
    control = untaught_head(endpoint, "linear")
    assert control.files != made.files
    student, other = (
        e.body for e in recorder.store.entries("run") if e.body["transformation"] == "distill.head"
    )
    assert student["c"] == other["c"]
    assert other["u"].keys() - student["u"].keys() == {"labels"}


METRIC = """\
def error(item, output):
    return min(abs(float(output[0]) - item["meta"]["truth"]), 10.0)
"""


def predictor(
    recorder: Recorder, tmp_path: Path, *, labelled: Callable[[int], bool] = lambda _: True
) -> Maker:
    """Of four numbers, with a bend that a line does not know, and always right; how far off an
    answer is says m.py, of the k-th row where that is ``labelled``."""
    store, rng = recorder.store, np.random.default_rng(0)
    model = store.put_file(bent_predictor(tmp_path / "model.onnx"))
    teacher = build("fp32", task="predict", files={"model.onnx": model})
    (recorder.root / "m.py").write_text(METRIC, encoding="utf-8")
    items, versions = {}, {}
    for role, n in (("train", 600), ("calibrate", 500)):
        rows = rng.normal(size=(n, 4)).astype(np.float32)
        items[role] = tuple(rows)
        lines: list[dict[str, object]] = [
            {"id": f"{role}{k}", "input": row.tolist()} for k, row in enumerate(rows)
        ]
        truth = engines.load(teacher, store.path_of).run({"x": rows})[:, 0].tolist()
        lines = [
            line | {"meta": {"truth": truth[k]} if labelled(k) else {}}
            for k, line in enumerate(lines)
        ]
        versions[role] = store.put_bytes(b"\n".join(map(canonical, lines)) + b"\n")
        recorder.register(role, versions[role], kind="dataset", schema="jsonl")
    inputs = SimpleNamespace(**items, versions=versions, labels={})
    spec = {"function": "m:error", "direction": "lower_is_better", "range": (0.0, 10.0)}
    return Maker(
        recorder,
        cast("Any", SimpleNamespace(build=teacher, encoder={})),
        cast("Any", inputs),
        cast("Any", SimpleNamespace(effective_cores=1)),
        (contract("error", Bound.NOT_ABOVE_CURRENT_BY, 0.6),),
        {"error": {**spec, "source": "sha256:m"}},
    )


@pytest.fixture
def _quick_values(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setitem(cast("Any", HEADS), "linear", HeadRecipe(steps=800))


@pytest.mark.usefixtures("_quick_values")
def test_a_cascade_of_values_loses_no_more_than_its_metric_allows(
    recorder: Recorder, tmp_path: Path
) -> None:
    """On items that nobody saw, by the endpoint's own metric; the student alone loses more."""
    endpoint = predictor(recorder, tmp_path)
    made = make_build("linear_cascade", endpoint)
    path_of = recorder.store.path_of
    parts = parts_of(made)
    x = np.random.default_rng(1).normal(size=(2000, 4)).astype(np.float32)
    outputs, teacher, merged = (
        engines.load(b, path_of).run({"x": x}) for b in (parts.student, parts.teacher, made)
    )
    asked = escalates(outputs, parts.threshold, "predict")
    assert 0 < asked.mean() < 0.9
    assert merged.dtype == teacher.dtype
    assert np.allclose(merged, np.where(asked[:, None], teacher, outputs[:, :1]), atol=1e-5)

    def lost(values: np.ndarray) -> float:
        return float(np.minimum(np.abs(values - teacher), 10).mean() / 10)

    assert lost(merged) <= 0.03 < lost(outputs[:, :1])
    far = x * np.float32(1e4)
    theirs, answered = (engines.load(b, path_of).run({"x": far}) for b in (parts.teacher, made))
    assert np.array_equal(answered, theirs), "nobody was taught what lies there"
    alone = make_build("linear", endpoint)
    assert np.array_equal(engines.load(alone, path_of).run({"x": x}), outputs[:, :1])
    assert [e.body["transformation"] for e in recorder.store.entries("run")].count(
        "distill.head"
    ) == 1, "both students are of one training"


def test_answers_of_doubles_are_not_rounded(recorder: Recorder, tmp_path: Path) -> None:
    """Around 1e9 float32 knows every 64th number: there a student and its teacher are the same."""
    endpoint, model = predictor(recorder, tmp_path), tmp_path / "doubles.onnx"
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["wide", "ones"], ["sum"]),
        helper.make_node("Add", ["sum", "far"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "doubles",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["batch", 1])],
        [
            numpy_helper.from_array(np.ones((4, 1)), "ones"),
            numpy_helper.from_array(np.full(1, 1e9), "far"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), model)
    files = {"model.onnx": recorder.store.put_file(model)}
    version = answers_of(endpoint, replace(endpoint.source.build, files=files), "calibrate")
    answered = np.load(recorder.store.path_of(version))
    rows = np.stack(endpoint.inputs.calibrate).astype(np.float64)
    assert answered.dtype == np.float64
    assert np.allclose(answered[:, 0] - 1e9, rows.sum(axis=1), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("_quick_values")
def test_a_metric_that_says_nothing_of_calibrate_is_said_to(
    recorder: Recorder, tmp_path: Path
) -> None:
    """Its rows lack the truth that the metric reads: nothing is kept for want of knowing."""
    with pytest.raises(InputError, match="error says nothing of any of its 500 items") as refused:
        make_build("linear_cascade", predictor(recorder, tmp_path, labelled=lambda _: False))
    assert refused.value.reason == "metric_invalid"
    assert "what m:error reads" in str(refused.value.fix)


@pytest.mark.usefixtures("_quick_values")
@pytest.mark.parametrize("share", [1.0, 0.97], ids=["no threshold", "not worth it"])
def test_items_that_the_metric_says_nothing_of_are_counted(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """They count as lost whole, so they may be why: as here every fourth."""
    endpoint = predictor(recorder, tmp_path, labelled=lambda k: k % 4 > 0)
    if share < 1:
        learnt = Threshold(0.9, share, 0.0, 0.03, 0.02, 500)
        monkeypatch.setattr(cascades_module, "learn_threshold", lambda *_, **__: learnt)
    with pytest.raises(InputError) as refused:
        make_build("linear_cascade", endpoint)
    assert refused.value.what.endswith("; error says nothing of 125 of them, which count as lost")
    assert str(refused.value.fix).startswith("give those items what error reads, or give ")


def test_agreement_of_values_is_a_promise_too(recorder: Recorder, tmp_path: Path) -> None:
    """Where somebody makes it: values within an epsilon are kept, and others lost."""
    store, n = recorder.store, 1000
    doubt = np.linspace(-5, 5, n)
    teacher = np.arange(n, dtype=np.float64)[:, None] + 10
    student = np.stack([teacher[:, 0] * np.where(doubt < 0, 1.0, 1.5), doubt], axis=1)
    (recorder.root / "m.py").write_text(METRIC, encoding="utf-8")
    rows = [canonical({"id": str(k), "input": [0.0], "label": 0.0}) for k in range(n)]
    u = arrays(store, student=student, teacher=teacher)
    u["rows"] = store.put_bytes(b"\n".join(rows) + b"\n")
    done = recorder.run(
        threshold, u=u, c={"risks": {"agreement": 0.02}, "task": "predict", "own": {}}
    )
    found = Threshold(**parse(store.read(done.outputs["thresholds"]))["agreement"])
    assert found.lost_share == 0.012, "as many as the exact test lets be lost"
    assert found.escalated_share == pytest.approx(0.488)
