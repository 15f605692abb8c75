"""A cascade of a predictor, from headgate.yaml to its callers: a forest, and a student that knows
how far off it is."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate import engines
from headgate.cli.app import run
from headgate.distillation import escalates
from headgate.ledger import Store
from headgate.objects import parts_of
from headgate.runtime.servable import Servable

from .endpoints import change, measure_briefly, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HEADGATE = [sys.executable, "-m", "headgate"]
SPLITS = {"train": range(800), "calibrate": range(800, 1600), "evaluate": range(1600, 2600)}
RANGE, MARGIN = 30.0, 0.9

TEACHER = """\
from sklearn.datasets import make_friedman1
from sklearn.ensemble import RandomForestRegressor

def estimator():
    numbers, values = make_friedman1(2600, noise=1.0, random_state=0)
    return RandomForestRegressor(300, random_state=0).fit(numbers[:800], values[:800])
"""
METRIC = """\
def error(item, output):
    return min(abs(float(output[0]) - item["label"]), 30.0)
"""
PROMISES = """\
metrics:
  error: {function: "metric:error", direction: lower_is_better, range: [0, 30]}
contracts:
  error: {not_above_current_by: 0.9, why: a test, on_breach: rollback}
  batch_invariance: {one_of: [exact, within_epsilon], why: a test, on_breach: rollback}
  latency_p95: {ratio_to_current_at_most: 1000, why: a test, on_breach: rollback}
  device_s_per_1k: {ratio_to_current_at_most: 1000, why: a test, on_breach: rollback}
candidates: [mlp_cascade]
replay: {seconds: 0.4, blocks: 9}
"""


def made_up() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Ten numbers, of which five say what the value is (Friedman, 1991)."""
    from sklearn.datasets import make_friedman1

    numbers, values = make_friedman1(2600, noise=1.0, random_state=0)
    return numbers.astype(np.float32), values


@dataclass(frozen=True)
class Job:
    """The endpoint, and what the job reported of it."""

    yaml: Path
    report: dict[str, Any]

    @property
    def store(self) -> Path:
        return self.yaml.parent / ".headgate"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    here = tmp_path_factory.mktemp("values")
    assert run(["init", str(here), "--task", "predict"]) == 0
    (here / "forest.py").write_text(TEACHER, encoding="utf-8")
    (here / "metric.py").write_text(METRIC, encoding="utf-8")
    numbers, values = made_up()
    for name, places in SPLITS.items():
        rows = ({"id": f"v{k}", "input": numbers[k].tolist(), "label": values[k]} for k in places)
        write_rows(here / f"{name}.jsonl", rows)
    yaml = here / "headgate.yaml"
    change(yaml, "onnx: model.onnx", 'sklearn: "forest:estimator"')
    more = "  train: train.jsonl\n  calibrate: calibrate.jsonl\n"
    change(yaml, "evaluate: evaluate.jsonl\n", f"evaluate: evaluate.jsonl\n{more}")
    change(yaml, "rate_per_s: 20", "rate_per_s: 20\n  requests: 400")
    text = yaml.read_text(encoding="utf-8")
    yaml.write_text(re.sub(r"(?ms)^contracts:\n.*?\n\n", PROMISES, text), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        measure_briefly(patch)
        assert run(["optimize", str(yaml)]) in (0, 4)
    report = json.loads((here / "report.json").read_text(encoding="utf-8"))
    return Job(yaml, report)


def winner(job: Job) -> Servable:
    with Store.open(job.store) as store:
        return Servable.load(store, job.report["winner_id"])


def outputs_of(job: Job, transformation: str) -> list[dict[str, str]]:
    with Store.open(job.store) as store:
        runs = [e.body for e in store.entries("run")]
    return [r["z"] for r in runs if r["transformation"] == transformation]


def test_the_cascade_wins_and_keeps_the_margin_of_the_endpoints_own_metric(job: Job) -> None:
    """Half of the margin, as a share of the range, is its risk, at 95 %."""
    assert job.report["winner"] == "mlp_cascade"
    verdicts = {row["rule"]: row["verdict"] for row in job.report["contracts"]}
    assert verdicts["error not above current by 0.9"] == "pass"
    (outputs,) = outputs_of(job, "cascade.threshold")
    with Store.open(job.store) as store:
        learnt = json.loads(store.read(outputs["thresholds"]))
    assert list(learnt) == ["error"]
    threshold = learnt["error"]
    assert threshold["risk"] == pytest.approx(MARGIN / RANGE / 2)
    assert threshold["lost_share"] < threshold["risk_bound"] <= threshold["risk"]
    assert threshold["n"] == len(SPLITS["calibrate"])
    assert 0 < threshold["escalated_share"] < 0.7
    assert parts_of(winner(job).build).threshold == threshold["least"]


@contextlib.contextmanager
def served(job: Job) -> Iterator[str]:
    variant = ["--variant", job.report["winner_id"]]
    command = [*HEADGATE, "serve", "-f", str(job.yaml), *variant, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()


def ask(url: str, items: Sequence[list[float]]) -> NDArray[np.float64]:
    """Values, (items, 1), as ``/predict`` gives them."""
    body = json.dumps({"inputs": items}).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return np.array(json.loads(reply.read()))


def test_callers_get_the_values_that_the_policy_says(job: Job) -> None:
    """Over HTTP, alone and in company, and never the column of doubts; who escalates on the
    workload is on record, by the same policy."""
    rows = made_up()[0][1600:1800]
    with Store.open(job.store) as store:
        build = winner(job).build
        parts = parts_of(build)
        student, teacher = (
            engines.load(part, store.path_of) for part in (parts.student, parts.teacher)
        )
        codec = engines.codec_for(build, store.path_of)
        (found,) = [
            e.body
            for e in store.entries("run")
            if e.body["transformation"] == "cascade.escalations"
        ]
        recorded = np.load(store.path_of(found["z"]["escalated.npy"]))
        lines = store.read(found["u"]["workload"]).decode().splitlines()
    items = [np.array(json.loads(line)["input"]) for line in lines]
    asked = escalates(student.run(codec.collate(codec.encode(items))), parts.threshold, build.task)
    assert np.array_equal(asked, recorded)
    batch = codec.collate(codec.encode(list(rows)))
    outputs = student.run(batch)
    asked = escalates(outputs, parts.threshold, build.task)
    assert 0 < asked.sum() < len(rows)
    expected = np.where(asked[:, None], teacher.run(batch), outputs[:, :-1])
    with served(job) as url:
        together = ask(url, rows.tolist())
        alone = np.concatenate([ask(url, [row]) for row in rows[:20].tolist()])
    assert np.allclose(together.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
    assert np.allclose(alone.reshape(-1, 1), expected[:20], rtol=1e-5, atol=1e-5)
