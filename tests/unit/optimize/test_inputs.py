"""What an endpoint declares of its data is registered with the data, reference and all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headgate.config import load_config
from headgate.errors import InputError
from headgate.ledger import Store
from headgate.optimize.accept import Acceptance
from headgate.optimize.audit import audit_object
from headgate.optimize.inputs import Inputs, read_inputs, register_inputs
from tests.serving import WordCodec

from .conftest import NewRecorder

YAML = """\
endpoint: docs
owner: {team: search, escalate: "command:page"}
task: embed
model: {onnx: model.onnx, tokenizer: tokenizer.json}
data: {evaluate: evaluate.jsonl}
workload: {log: workload.jsonl}
data_contracts:
  workload:
    as_of: 2026-11-01
    reference: last_quarter.jsonl
    age: {at_most: 30d, why: questions change, on_breach: warn}
    drift: {at_most: 0.3, why: plans were made on these lengths, on_breach: rollback}
  evaluate:
    reference: workload
    drift: {at_most: 0.5, why: it is to look like what is asked, on_breach: escalate}
"""


def workload(word: str, n: int = 400) -> str:
    rows = ({"at_s": i, "text": " ".join([word] * (i % 9 + 1))} for i in range(n))
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def endpoint(tmp_path: Path) -> Path:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).touch()
    rows = ({"id": f"t{i}", "text": " ".join(["word"] * (i % 9 + 1))} for i in range(400))
    (tmp_path / "evaluate.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "workload.jsonl").write_text(workload("word"))
    (tmp_path / "last_quarter.jsonl").write_text(workload("ward"))
    path = tmp_path / "headgate.yaml"
    path.write_text(YAML, encoding="utf-8")
    return path


def registered(
    endpoint: Path,
    new_recorder: NewRecorder,
    acceptance: Acceptance | None = None,
) -> Inputs:
    accepts = acceptance or Acceptance(WordCodec(), None, False)
    config, recorder = load_config(endpoint), new_recorder()
    with read_inputs(config, recorder) as given:
        return register_inputs(config, recorder, given, accepts)


def test_contracts_on_data_name_the_version_that_they_compare_with(
    endpoint: Path, new_recorder: NewRecorder, store: Store
) -> None:
    """A file is registered as the data's reference; another of the data is named as it is."""
    inputs = registered(endpoint, new_recorder)
    content = json.loads(store.read(inputs.versions["data_contracts"]))
    reference = store.artifact("docs/reference/workload")
    assert reference is not None
    assert content["workload"]["reference"] == reference.version
    assert content["workload"]["as_of"] == "2026-11-01"
    assert content["evaluate"]["reference"] == inputs.versions["workload"]
    declared = store.artifact(inputs.versions["data_contracts"])
    assert declared is not None
    assert declared.lineage == (reference.version, inputs.versions["workload"])


def test_an_audit_judges_the_data_by_them(
    endpoint: Path, new_recorder: NewRecorder, store: Store
) -> None:
    """A month and a day later the log is old; it is still like that of last quarter."""
    inputs = registered(endpoint, new_recorder)
    now = datetime(2026, 12, 2, tzinfo=UTC)
    found = audit_object(store, inputs.versions["workload"], now=now)
    verdicts = {r.contract.metric: str(r.verdict) for r in found.facts.promised}
    assert verdicts == {"age": "warn", "drift": "pass"}


def test_a_reference_of_another_form_is_refused_before_it_is_kept(
    endpoint: Path, new_recorder: NewRecorder, store: Store
) -> None:
    """A workload is compared with a workload."""
    (endpoint.parent / "last_quarter.jsonl").write_text('{"id": "a", "text": "no log"}\n')
    with pytest.raises(InputError, match="last_quarter"):
        registered(endpoint, new_recorder)
    assert store.artifact("docs/reference/workload") is None


def test_without_contracts_on_data_none_are_registered(
    endpoint: Path, new_recorder: NewRecorder, store: Store
) -> None:
    """The stated defaults of the kind are what is asked."""
    endpoint.write_text(YAML.split("data_contracts:")[0], encoding="utf-8")
    assert "data_contracts" not in registered(endpoint, new_recorder).versions
    assert store.artifact("docs/data_contracts") is None


def test_splits_that_are_one_to_the_model_overlap(
    endpoint: Path, new_recorder: NewRecorder, store: Store
) -> None:
    """Other texts in the file, the same after the endpoint's own preprocess: nothing is kept."""
    rows = ({"id": f"n{i}", "text": " ".join(["ward"] * (i % 9 + 1))} for i in range(400))
    (endpoint.parent / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = YAML.split("data_contracts:")[0]
    text = text.replace("evaluate: evaluate.jsonl", "evaluate: evaluate.jsonl, train: train.jsonl")
    endpoint.write_text(text, encoding="utf-8")
    registered(endpoint, new_recorder)
    known = len(list(store.entries()))
    alike = Acceptance(WordCodec(), lambda item: str(item).replace("ward", "word"), False)
    with pytest.raises(InputError) as refused:
        registered(endpoint, new_recorder, alike)
    assert refused.value.reason == "split_overlap"
    assert "9 items of train are also in evaluate after preprocess: row 1, " in refused.value.what
    assert refused.value.what.endswith("; and 6 more")
    assert len(list(store.entries())) == known


@pytest.mark.parametrize("judged", ["evaluate", "holdout"])
def test_what_calibrates_judges_nothing(
    endpoint: Path, new_recorder: NewRecorder, store: Store, judged: str
) -> None:
    """One text of the calibration data in either split, in other case and spacing, is refused."""
    folder = endpoint.parent
    (folder / "holdout.jsonl").write_text('{"id": "h", "text": "held out"}\n')
    (folder / "evaluate.jsonl").write_text('{"id": "e", "text": "looked at"}\n')
    shared = {"evaluate": "Looked  AT", "holdout": "Held  OUT"}[judged]
    rows = ({"id": f"c{i}", "text": t} for i, t in enumerate(("its own", shared)))
    (folder / "calibrate.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = "evaluate: evaluate.jsonl, holdout: holdout.jsonl, calibrate: calibrate.jsonl"
    text = YAML.split("data_contracts:")[0].replace("evaluate: evaluate.jsonl", data)
    endpoint.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"items of calibrate are also in {judged}") as error:
        registered(endpoint, new_recorder)
    assert error.value.reason == "split_overlap"
    assert f"row 2, there {judged[0]}: '{shared}'" in error.value.what
    assert store.artifact("docs/calibrate") is None


CLASSIFIER = """\
endpoint: docs
owner: {team: search, escalate: "command:true"}
task: classify
model: {onnx: model.onnx}
data: {evaluate: evaluate.jsonl, train: train.jsonl, calibrate: calibrate.jsonl}
"""


@pytest.mark.parametrize("labelled", [True, False])
def test_a_classifiers_students_learn_from_rows_like_those_that_judge(
    tmp_path: Path, new_recorder: NewRecorder, labelled: bool
) -> None:
    """With or without labels; these come along where there are some."""
    for i, split in enumerate(("evaluate", "train", "calibrate")):
        rows = [{"id": f"{k}", "input": f"{'a' * k} {'b' * (i + 1)}"} for k in range(1, 9)]
        if labelled or split == "evaluate":
            rows = [{**row, "label": k % 2} for k, row in enumerate(rows)]  # type: ignore[dict-item]  # JSON
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "model.onnx").touch()
    (tmp_path / "headgate.yaml").write_text(CLASSIFIER, encoding="utf-8")
    inputs = registered(tmp_path / "headgate.yaml", new_recorder)
    assert inputs.train[0] == "a bb"
    expected = (0.0, 1.0) * 4
    assert inputs.labels == ({"train": expected, "calibrate": expected} if labelled else {})


def test_a_label_that_is_no_class_is_named_before_it_is_learnt(
    tmp_path: Path, new_recorder: NewRecorder, store: Store
) -> None:
    """In train as in evaluate: its line, and nothing is kept."""
    for i, split in enumerate(("evaluate", "train", "calibrate")):
        label = 7 if split == "train" else 1
        row = {"id": "1", "input": f"a {'b' * (i + 1)}", "label": label}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "model.onnx").touch()
    (tmp_path / "headgate.yaml").write_text(CLASSIFIER, encoding="utf-8")
    acceptance = Acceptance(WordCodec(), None, False, classes=2)
    with pytest.raises(InputError, match="label 7; the model has classes 0 to 1") as refused:
        registered(tmp_path / "headgate.yaml", new_recorder, acceptance)
    assert "train.jsonl:1" in str(refused.value.where)
    assert list(store.entries()) == []


PREDICTOR = """\
endpoint: prices
owner: {team: search, escalate: "command:page"}
task: predict
model: {onnx: model.onnx}
data: {evaluate: evaluate.jsonl}
workload: {rate_per_s: 20}
"""
METRIC = 'metrics: {error: {function: "metrics:error", range: [0, 9]}}\n'


@pytest.mark.parametrize(
    ("labelled", "metric", "refused"),
    [(True, "", True), (True, METRIC, False), (False, "", False)],
    ids=["labels alone", "labels and a metric", "neither"],
)
def test_labels_of_a_predictor_that_nothing_reads_are_refused(
    tmp_path: Path, new_recorder: NewRecorder, labelled: bool, metric: str, refused: bool
) -> None:
    """Whoever wrote them believes that they count; with a metric it is that which reads them."""
    for name in ("model.onnx", "metrics.py"):
        (tmp_path / name).touch()
    rows = ({"id": f"{i}", "input": [i]} | ({"label": i / 2} if labelled else {}) for i in range(9))
    (tmp_path / "evaluate.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "headgate.yaml"
    path.write_text(PREDICTOR + metric, encoding="utf-8")
    config, recorder = load_config(path), new_recorder()
    if not refused:
        with read_inputs(config, recorder):
            return
    with (
        pytest.raises(InputError, match="none is declared") as raised,
        read_inputs(config, recorder),
    ):
        pass
    assert raised.value.reason == "label_unread"
    assert raised.value.where == f"{tmp_path / 'evaluate.jsonl'}:1: label"
    assert 'reads item["label"]' in (raised.value.fix or "")


JUDGED = """\
endpoint: docs
owner: {{team: search, escalate: "command:page"}}
task: {task}
model: {{onnx: model.onnx, tokenizer: tokenizer.json, max_tokens: 64}}
data: {{evaluate: evaluate.jsonl, holdout: holdout.jsonl}}
{contracts}
"""
ON = "contracts: {{{}: {{not_below_current_by: 5%, why: goal, on_breach: rollback}}}}"


def _judging(task: str, split: str, *, labelled: bool) -> str:
    """The rows of a split, in JSON lines."""
    rows: list[dict[str, object]]
    if task == "embed" and labelled:
        rows = [
            {"id": "p", "passage": f"answer {split}"},
            {"id": "q", "query": f"question {split}", "relevant": ["p"]},
        ]
    elif task == "embed":
        rows = [{"id": "1", "text": f"one {split}"}, {"id": "2", "text": f"other {split}"}]
    else:
        item = {"query": f"q {split}", "text": "t"} if task == "rerank" else {"input": f"i {split}"}
        rows = [{"id": "1", **item} | ({"label": 1} if labelled else {})]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("task", "contracts", "named", "instead"),
    [
        ("classify", ON.format("accuracy"), "accuracy", "agreement"),
        ("classify", ON.format("worst_slice_accuracy"), "worst_slice_accuracy", "agreement"),
        (
            "classify",
            "contracts: {flip_rate: {at_most: 5%, why: goal, on_breach: rollback}}",
            "flip_rate",
            "agreement",
        ),
        ("embed", ON.format("recall@10"), "recall@10", "agreement@10"),
        ("embed", ON.format("mrr@10"), "mrr@10", "agreement@10"),
        ("embed", ON.format("recall@10_kept_index"), "recall@10_kept_index", "agreement@10"),
        ("rerank", ON.format("ndcg@10"), "ndcg@10", "agreement"),
        ("rerank", ON.format("mrr@10"), "mrr@10", "agreement"),
    ],
)
@pytest.mark.parametrize("split", ["evaluate", "holdout"])
def test_a_contract_on_labels_that_are_not_there_is_refused_before_anything_is_measured(
    tmp_path: Path,
    new_recorder: NewRecorder,
    task: str,
    contracts: str,
    named: str,
    instead: str,
    split: str,
) -> None:
    """In whichever split judges: which file it is, which contract, and what to write instead."""
    path = _judged(tmp_path, task, contracts, unlabelled=split)
    config, recorder = load_config(path), new_recorder()
    with pytest.raises(InputError) as refused, read_inputs(config, recorder):
        pass
    assert refused.value.reason == "unlabelled"
    assert refused.value.where == str(tmp_path / f"{split}.jsonl")
    assert f"a contract on {named} can never be decided" in refused.value.what
    assert f"write a contract on {instead} in its place" in (refused.value.fix or "")


@pytest.mark.parametrize("task", ["classify", "embed", "rerank"])
def test_a_holdout_without_the_labels_that_the_defaults_judge_by_is_refused(
    tmp_path: Path, new_recorder: NewRecorder, task: str
) -> None:
    """Where evaluate has labels, the stated default asks for them; the other way it does not."""
    config = load_config(_judged(tmp_path, task, "", unlabelled="holdout"))
    with pytest.raises(InputError, match="has no labels"), read_inputs(config, new_recorder()):
        pass
    config = load_config(_judged(tmp_path, task, "", unlabelled="evaluate"))
    with read_inputs(config, new_recorder()) as given:
        assert given.holdout is not None
        assert given.holdout.labelled


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("classify", "agreement"),
        ("classify", "worst_slice_agreement"),
        ("classify", "mine"),
        ("embed", "agreement@10"),
        ("embed", "agreement@10_kept_index"),
        ("rerank", "agreement"),
        ("rerank", "latency_p95"),
    ],
)
def test_a_contract_on_what_no_label_shows_wants_none(
    tmp_path: Path, new_recorder: NewRecorder, task: str, metric: str
) -> None:
    """Agreement, time, and an endpoint's own metric, of which nobody knows what it reads."""
    own = '\nmetrics: {mine: "metrics:mine"}' if metric == "mine" else ""
    bound = {"latency_p95": "at_most: 40ms"}.get(metric, "at_least: 0.9")
    contracts = f"contracts: {{{metric}: {{{bound}, why: goal, on_breach: rollback}}}}{own}"
    (tmp_path / "metrics.py").touch()
    config = load_config(_judged(tmp_path, task, contracts, unlabelled="evaluate"))
    with read_inputs(config, new_recorder()) as given:
        assert not given.evaluate.labelled


def _judged(folder: Path, task: str, contracts: str, *, unlabelled: str) -> Path:
    """An endpoint of which one split has no labels."""
    for name in ("model.onnx", "tokenizer.json"):
        (folder / name).touch()
    for split in ("evaluate", "holdout"):
        rows = _judging(task, split, labelled=split != unlabelled)
        (folder / f"{split}.jsonl").write_text(rows)
    path = folder / "headgate.yaml"
    path.write_text(JUDGED.format(task=task, contracts=contracts), encoding="utf-8")
    return path
