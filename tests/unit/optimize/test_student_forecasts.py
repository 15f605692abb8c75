"""What a student would be worth, from pilots of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headgate.config import load_config
from headgate.distillation import Advice, Recipe
from headgate.errors import HeadgateError
from headgate.ledger import Store
from headgate.objects import Action, parse
from headgate.optimize import student_forecasts
from headgate.optimize.job import Job, open_job
from headgate.optimize.making import students
from headgate.optimize.making.pilots import sampled_part
from headgate.optimize.progress import Silent
from headgate.optimize.stages import Baseline, measure_baseline
from headgate.optimize.student_forecasts import StudentForecast, forecast_student
from tests.encoders import tiny_bert

YAML = """\
endpoint: docs
owner: {team: search, escalate: "command:true"}
task: embed
model: {path: teacher}
data: {evaluate: evaluate.jsonl, train: train.jsonl}
workload: {rate_per_s: 50, requests: 40}
contracts:
  recall@10: {not_below_current_by: 0.1, why: a test, on_breach: rollback}
  mrr@10: {not_below_current_by: 0.1, why: a test, on_breach: warn}
"""
HALF = Recipe(layers_kept=2, steps=400, batch_texts=32, max_texts=900)
STUDENTS = {
    "half": HALF,
    "narrow": replace(HALF, feed_forward_kept=0.5),
    "static": replace(HALF, layers_kept=0),
}


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Job, Baseline]]:
    """A tiny encoder, sixty labelled queries, and texts to learn from."""
    pytest.importorskip("torch")
    root = tmp_path_factory.mktemp("docs")
    tiny_bert(root / "teacher")
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(letters, n)) for n in rng.integers(6, 16, 60)]
    write(
        root / "evaluate.jsonl",
        [{"id": f"p{i}", "passage": t} for i, t in enumerate(texts)]
        + [{"id": f"q{i}", "query": t[2:], "relevant": [f"p{i}"]} for i, t in enumerate(texts)],
    )
    learnt = {" ".join(rng.choice(letters, n)) for n in rng.integers(4, 16, 1000)}
    write(root / "train.jsonl", [{"id": f"{i}", "text": t} for i, t in enumerate(sorted(learnt))])
    (root / "headgate.yaml").write_text(YAML, encoding="utf-8")
    with (
        Store.open(root / ".headgate", create=True) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("headgate.optimize.job._CURVE_BUDGET_S", 0.0)
        job = open_job(load_config(root / "headgate.yaml"), store, Silent(), fresh=False)
        yield replace(job, profile=replace(job.profile, effective_cores=1)), measure_baseline(job)


@pytest.fixture(autouse=True)
def lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(student_forecasts, "STUDENTS", STUDENTS)


@pytest.mark.parametrize("name", ["half", "narrow"])
def test_pilots_forecast_what_a_student_loses_and_what_it_takes(
    measured: tuple[Job, Baseline], name: str
) -> None:
    """Intervals for each contract on the queries, device seconds, requests; by a tenth of it."""
    found = forecast_student(*measured, name)
    assert isinstance(found, StudentForecast)
    assert set(found.loses) == {"recall@10", "mrr@10"}
    for lost in found.loses.values():
        assert -1 < lost.low < lost.value < lost.high < 1
    assert found.meets is not None
    assert 0 <= found.meets <= 1
    assert found.training_s.low < found.training_s.value < found.training_s.high
    assert found.pilots_share <= 0.1
    body = parse(measured[0].store.read(found.run.outputs["pilots"]))
    losses = np.array(body["losses"]).mean(axis=1)
    assert losses.shape == (4,)
    assert (losses > 0).all()
    assert len(set(losses.tolist())) == 4  # each is a training of its own


def test_pilots_are_run_once(measured: tuple[Job, Baseline]) -> None:
    """They are a transformation like all others; the same figures give the same forecast."""
    first, second = (forecast_student(*measured, "half") for _ in range(2))
    assert isinstance(first, StudentForecast)
    assert isinstance(second, StudentForecast)
    assert second.run.reused
    assert first.detail == second.detail


def test_pilots_are_trained_where_the_student_will_be(
    measured: tuple[Job, Baseline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the time of a processor would be forecast for a training on a GPU."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one, and it would be trained")
    monkeypatch.setattr(students, "_device", lambda _: "cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(HeadgateError, match="cuda"):
        forecast_student(*measured, "half")


@pytest.mark.parametrize(
    ("limit", "breach", "left_out"),
    [(-0.9, Action.ROLLBACK, True), (-0.9, Action.WARN, False), (0.99, Action.ROLLBACK, False)],
    ids=["no chance", "a promise that only warns", "every chance"],
)
def test_only_a_student_without_a_chance_is_left_out(
    measured: tuple[Job, Baseline], limit: float, breach: Action, left_out: bool
) -> None:
    """By a promise that stops a promotion; the reason has its figures."""
    job, baseline = measured
    (contract,) = (c for c in job.contracts if c.metric == "recall@10")
    asked = replace(contract, limit=limit, on_breach=breach)
    found = forecast_student(replace(job, contracts=(asked,)), baseline, "half")
    assert isinstance(found, StudentForecast)
    if left_out:
        assert found.advice is Advice.DO_NOT_TRAIN
        assert found.meets == 0
        assert found.hopeless.startswith("not worth its training, its pilots say: of recall@10 it")
    else:
        assert found.hopeless == ""


def test_what_pilots_cannot_tell_is_said(measured: tuple[Job, Baseline]) -> None:
    """No forecast is no reason to leave a student out."""
    job, baseline = measured
    assert (
        forecast_student(*measured, "static") == "a tenth of its training is too little for pilots"
    )
    others = tuple(c for c in job.contracts if c.metric not in ("recall@10", "mrr@10"))
    said = forecast_student(replace(job, contracts=others), baseline, "half")
    assert said == (
        "pilots know recall@10 and mrr@10 of labelled queries, and no contract is on these"
    )


def test_a_part_holds_the_answers_to_its_queries(measured: tuple[Job, Baseline]) -> None:
    """A query whose passage was not drawn is not asked."""
    data = measured[0].inputs.evaluate
    part = sampled_part(data, 0.3, np.random.default_rng(1))  # type: ignore[arg-type]  # a RetrievalSet
    assert len(part.passages) == 18
    assert part.queries.tolist() == part.passages.tolist()  # the k-th answers the k-th
    assert [tuple(part.passages[list(r)]) for r in part.sample.relevant] == [
        (q,) for q in part.queries
    ]


def test_every_pilot_answers_as_many_passages_as_queries(
    measured: tuple[Job, Baseline],
) -> None:
    """Of what the last one is asked, which holds the passages first; no text twice."""
    data = measured[0].inputs.evaluate
    part = sampled_part(data, 0.3, np.random.default_rng(1))  # type: ignore[arg-type]  # a RetrievalSet
    asked = part.asked(data)  # type: ignore[arg-type]  # the same
    places = part.some(10, np.random.default_rng(2))
    assert len(set(places.tolist())) == 10
    assert sum(places < len(part.passages)) == 5
    passages, queries = part.split(np.arange(len(asked), dtype=np.float32)[:, None])
    assert [asked[int(i)] for i in passages[:, 0]] == [data.passages[i] for i in part.passages]  # type: ignore[union-attr]  # the same
    assert [asked[int(i)] for i in queries[:, 0]] == [data.queries[i] for i in part.queries]  # type: ignore[union-attr]  # the same
