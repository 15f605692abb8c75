"""Students learn from what callers ask where somebody allowed it, and never from what judges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config import check_overlap, item_digest, load_config
from headgate.errors import InputError
from headgate.ledger import Store, graph
from headgate.optimize import inputs as inputs_module
from headgate.optimize.accept import Acceptance
from headgate.optimize.admission import admit
from headgate.optimize.certificate import _learnt_from
from headgate.optimize.contents import TEXTS
from headgate.optimize.inputs import Inputs, read_inputs, register_inputs
from headgate.optimize.job import Job
from headgate.optimize.own_requests import LEARNT, OwnRequests, choose, digests
from headgate.optimize.registering import register_file
from headgate.optimize.result import _own_requests
from headgate.quantization.certificate import RequestsLearnt
from tests.serving import WordCodec

from .conftest import NewRecorder

YAML = """\
endpoint: docs
owner: {team: search, escalate: "command:true"}
task: embed
model: {onnx: model.onnx, tokenizer: tokenizer.json}
data:
  train: workload
  evaluate: evaluate.jsonl
  holdout: holdout.jsonl
  calibrate: calibrate.jsonl
workload: {log: workload.jsonl}
data_contracts:
  workload:
    training: {allowed_by: privacy office, why: terms of 2026}
"""
ASKED = ["How do I  open a file?", "sort a list", "what is a path", "sort a list", "held out",
         "Looked AT", "its ranges", "lock a file"]  # fmt: skip


def write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def endpoint(tmp_path: Path) -> Path:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).touch()
    write(tmp_path / "evaluate.jsonl", [{"id": "e", "text": "looked at"}])
    write(tmp_path / "holdout.jsonl", [{"id": "h", "text": "Held  out"}])
    write(tmp_path / "calibrate.jsonl", [{"id": "c", "text": "its ranges"}])
    write(tmp_path / "workload.jsonl", [{"at_s": i, "text": t} for i, t in enumerate(ASKED)])
    (tmp_path / "headgate.yaml").write_text(YAML, encoding="utf-8")
    return tmp_path / "headgate.yaml"


def registered(
    endpoint: Path, new_recorder: NewRecorder, acceptance: Acceptance | None = None
) -> Inputs:
    accepts = acceptance or Acceptance(WordCodec(), None, False)
    config, recorder = load_config(endpoint), new_recorder()
    with read_inputs(config, recorder) as given:
        return register_inputs(config, recorder, given, accepts)


def own(inputs: Inputs) -> OwnRequests:
    assert inputs.own_requests is not None
    return inputs.own_requests


def test_requests_that_judge_nothing_are_learnt_from_once(
    endpoint: Path, new_recorder: NewRecorder
) -> None:
    """Those of evaluate, holdout and calibrate are left out, in whatever case and spacing; the rest
    overlaps with none of them, and how many went is told."""
    inputs = registered(endpoint, new_recorder)
    assert inputs.train == (ASKED[0], "sort a list", "what is a path", "lock a file")
    chosen = own(inputs).chosen
    assert (chosen.requests, chosen.places) == (8, (0, 1, 2, 7))
    assert (chosen.repeats, chosen.judging, chosen.empty) == (1, 3, 0)
    assert inputs.labels == {}


def test_the_record_says_where_they_come_from_and_who_allowed_it(
    endpoint: Path, new_recorder: NewRecorder, store: Store
) -> None:
    """In the run that took them, which stands between the log and all that learns from them; of
    what judges it was told digests alone."""
    inputs = registered(endpoint, new_recorder)
    run = store.get(own(inputs).entry)
    assert run.body["transformation"] == LEARNT
    assert run.body["c"]["permission"] == {"allowed_by": "privacy office", "why": "terms of 2026"}
    assert run.body["u"]["workload"] == inputs.versions["workload"]
    edges = graph(store, inputs.versions["train"])
    assert inputs.versions["workload"] in {edge.source for edge in edges}
    judging = store.read(run.body["u"]["judging"]).decode()
    assert item_digest("held out") in judging
    assert "held" not in judging.lower()
    train = store.artifact("docs/train")
    assert train is not None
    assert (train.version, train.schema, train.kind) == (inputs.versions["train"], TEXTS, "dataset")
    rows = [json.loads(line) for line in store.read(train.version).splitlines()]
    assert rows[-1] == {"id": "8", "text": "lock a file"}
    declared = json.loads(store.read(inputs.versions["data_contracts"]))
    assert declared["workload"]["training"]["allowed_by"] == "privacy office"
    assert new_recorder().replay(run).identical
    assert store.verify().ok
    before = len(list(store.entries()))
    assert registered(endpoint, new_recorder).versions == inputs.versions
    assert len(list(store.entries())) == before


def test_report_and_certificate_say_it(endpoint: Path, new_recorder: NewRecorder) -> None:
    """Of builds with a student in them; who reads either learns what it was trained on."""
    inputs = registered(endpoint, new_recorder)
    entry = own(inputs).entry
    assert _own_requests(own(inputs)) == (
        "Students are trained on the workload's own inputs, allowed by privacy office (terms of "
        "2026): 4 of 8 requests; 3 are also in evaluate, holdout or calibrate, 1 repeat another "
        f"(run {entry.removeprefix('sha256:')[:12]})."
    )
    job = cast("Job", SimpleNamespace(inputs=inputs))
    assert _learnt_from(job, "student3_int8_static") == RequestsLearnt(
        "privacy office", "terms of 2026", entry
    )
    assert _learnt_from(job, "int8_static") is None


def test_where_all_requests_judge_nothing_is_left_and_nothing_is_kept(
    endpoint: Path, new_recorder: NewRecorder, store: Store
) -> None:
    """As where the log was drawn from the evaluation data."""
    rows = [{"at_s": i, "text": t} for i, t in enumerate(["looked at", "held out", "LOOKED at"])]
    write(endpoint.parent / "workload.jsonl", rows)  # type: ignore[arg-type]  # JSON
    with pytest.raises(InputError, match="none of its 3 requests may be learnt from: 3 are") as no:
        registered(endpoint, new_recorder)
    assert no.value.reason == "nothing_to_learn"
    assert "workload.jsonl" in str(no.value.where)
    assert list(store.entries()) == []


def test_requests_are_compared_as_the_model_sees_them_too(
    endpoint: Path, new_recorder: NewRecorder
) -> None:
    """What the endpoint's own preprocess makes one is one, and what it leaves nothing of is out."""
    (endpoint.parent / "own.py").write_text(
        "def clean(item):\n    return item.split('#')[0].replace('ward', 'word').strip()\n"
    )
    endpoint.write_text(f"{YAML}preprocess: own:clean\n", encoding="utf-8")
    write(endpoint.parent / "evaluate.jsonl", [{"id": "e", "text": "a word"}])
    texts = ["a ward", "# gone", "sort it # 1", "sort it # 2", "open it"]
    write(endpoint.parent / "workload.jsonl", [{"at_s": i, "text": t} for i, t in enumerate(texts)])

    def clean(item: object) -> str:
        return str(item).split("#")[0].replace("ward", "word").strip()

    inputs = registered(endpoint, new_recorder, Acceptance(WordCodec(), clean, False))
    assert inputs.train == ("sort it", "open it")
    chosen = own(inputs).chosen
    assert (chosen.judging, chosen.empty, chosen.repeats) == (1, 1, 1)
    run = new_recorder().store.get(own(inputs).entry)
    assert run.body["c"]["preprocess"]["function"] == "own:clean"
    assert new_recorder().replay(run).identical


def test_what_is_promised_of_the_workload_is_asked_before_it_is_learnt_from(
    endpoint: Path, new_recorder: NewRecorder
) -> None:
    """A log that is too old teaches nothing, however new the rows are that were taken from it."""
    age = "age: {at_most: 30d, why: questions change, on_breach: rollback}"
    old = YAML.replace("    training:", f"    as_of: 2026-01-01\n    {age}\n    training:")
    endpoint.write_text(old, encoding="utf-8")
    inputs, recorder = registered(endpoint, new_recorder), new_recorder()
    soon = datetime(2026, 1, 20, tzinfo=UTC)
    admit(recorder, "train", inputs.versions, now=soon)
    with pytest.raises(InputError, match=r"nothing is learnt from data\.train") as refused:
        admit(recorder, "train", inputs.versions, now=datetime(2026, 6, 1, tzinfo=UTC))
    assert refused.value.reason == "data_rejected"
    assert refused.value.where == "docs/workload", "the rows that were taken from it are new"


def test_what_is_learnt_is_what_is_on_record_though_the_log_grows_meanwhile(
    endpoint: Path, new_recorder: NewRecorder, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request comes between the look at the log and the store's copy of it. Lines that are blank
    are no requests."""
    log = endpoint.parent / "workload.jsonl"
    log.write_text("\n" + log.read_text(encoding="utf-8"), encoding="utf-8")

    def grown(*given: object) -> str:
        if given[1] == "workload":
            with log.open("a", encoding="utf-8") as file:
                file.write('{"at_s": 99, "text": "a late one"}\n')
        return register_file(*given)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(inputs_module, "register_file", grown)
    inputs = registered(endpoint, new_recorder)
    rows = [json.loads(line) for line in store.read(inputs.versions["train"]).splitlines()]
    assert inputs.train == tuple(row["text"] for row in rows)
    assert inputs.train[-1] == "a late one"
    assert [row["id"] for row in rows] == ["1", "2", "3", "8", "9"]


def test_a_classifiers_requests_become_rows_of_its_inputs(
    tmp_path: Path, new_recorder: NewRecorder, store: Store
) -> None:
    """Numbers as they were asked, without labels: its students learn the model's own answers."""
    (tmp_path / "model.onnx").touch()
    write(tmp_path / "evaluate.jsonl", [{"id": "e", "input": [0.5, 1.0], "label": 1}])
    asked = [[0.5, 1.0], [0.1, 0.2], [0.3, 0.4], [0.1, 0.2]]
    write(tmp_path / "workload.jsonl", [{"at_s": i, "input": x} for i, x in enumerate(asked)])
    text = YAML.replace("embed", "classify").replace(", tokenizer: tokenizer.json", "")
    text = text.replace("  holdout: holdout.jsonl\n  calibrate: calibrate.jsonl\n", "")
    (tmp_path / "headgate.yaml").write_text(text, encoding="utf-8")
    codec = SimpleNamespace(encode=lambda items, truncate: [])
    inputs = registered(
        tmp_path,
        new_recorder,
        Acceptance(codec, None, False),  # type: ignore[arg-type]  # takes all
    )
    assert [np.asarray(item).tolist() for item in inputs.train] == [[0.1, 0.2], [0.3, 0.4]]
    rows = [json.loads(line) for line in store.read(inputs.versions["train"]).splitlines()]
    assert rows == [{"id": "2", "input": [0.1, 0.2]}, {"id": "3", "input": [0.3, 0.4]}]
    assert "train" not in inputs.labels


words = st.lists(
    st.sampled_from(["a", "A", " a", "b", "B b", "c", "ward", "word", ""]), max_size=12
)


def as_one(item: object) -> str:
    return str(item).replace("ward", "word")


@given(words, words)
def test_what_is_chosen_never_judges_and_comes_once(asked: list[str], judged: list[str]) -> None:
    """Whatever is asked and whatever judges, before and after preprocess; and all are counted."""
    judging = frozenset(digests([judged], as_one))
    chosen = choose(asked, judging, as_one)
    taken = [asked[place] for place in chosen.places]
    for seen in (str, as_one):
        check_overlap({"evaluate": [*map(seen, judged)], "train": [*map(seen, taken)]})
    kept = [item_digest(as_one(item)) for item in taken]
    assert len(kept) == len(set(kept))
    assert chosen.requests == len(asked)
    possible = {item_digest(as_one(i)) for i in asked if i.strip()} - judging
    assert set(kept) == possible
