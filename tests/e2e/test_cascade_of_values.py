"""A cascade of a predictor, from headgate.yaml to its callers: a forest, and a student that knows
how far off it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate import engines
from headgate.distillation import escalates
from headgate.ledger import Store
from headgate.objects import parts_of

from .cascades import Job, ask, forest_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPLITS = {"train": range(800), "calibrate": range(800, 1600), "evaluate": range(1600, 2600)}
RANGE, MARGIN = 30.0, 0.9

TEACHER = """\
from sklearn.datasets import make_friedman1
from sklearn.ensemble import RandomForestRegressor

def estimator():
    numbers, values = make_friedman1(2600, noise=1.0, random_state=0)
    return RandomForestRegressor(80, random_state=0).fit(numbers[:800], values[:800])
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


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    here = tmp_path_factory.mktemp("values")
    (here / "metric.py").write_text(METRIC, encoding="utf-8")
    numbers, values = made_up()
    splits = {
        name: ({"id": f"v{k}", "input": numbers[k].tolist(), "label": values[k]} for k in places)
        for name, places in SPLITS.items()
    }
    return forest_job(here, "predict", TEACHER, splits, PROMISES)


def test_the_cascade_wins_and_keeps_the_margin_of_the_endpoints_own_metric(job: Job) -> None:
    """Half of the margin, as a share of the range, is its risk, at 95 %."""
    assert job.report["winner"] == "mlp_cascade"
    verdicts = {row["rule"]: row["verdict"] for row in job.report["contracts"]}
    assert verdicts["error not above current by 0.9"] == "pass"
    (found,) = job.runs("cascade.threshold")
    with Store.open(job.store) as store:
        learnt = json.loads(store.read(found["z"]["thresholds"]))
    assert list(learnt) == ["error"]
    threshold = learnt["error"]
    assert threshold["risk"] == pytest.approx(MARGIN / RANGE / 2)
    assert threshold["lost_share"] < threshold["risk_bound"] <= threshold["risk"]
    assert threshold["n"] == len(SPLITS["calibrate"])
    assert 0 < threshold["escalated_share"] < 0.7
    assert parts_of(job.winner.build).threshold == threshold["least"]


def test_callers_get_the_values_that_the_policy_says(job: Job) -> None:
    """Over HTTP, alone and in company, and never the column of doubts; who escalates on the
    workload is on record, by the same policy."""
    rows = made_up()[0][1600:1800]
    (found,) = job.runs("cascade.escalations")
    with Store.open(job.store) as store:
        build = job.winner.build
        parts = parts_of(build)
        student, teacher = (
            engines.load(part, store.path_of) for part in (parts.student, parts.teacher)
        )
        codec = engines.codec_for(build, store.path_of)
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
    with job.served() as url:
        together = np.array(ask(url, rows.tolist()))
        alone = np.array([ask(url, [row]) for row in rows[:20].tolist()])
    assert np.allclose(together.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
    assert np.allclose(alone.reshape(-1, 1), expected[:20], rtol=1e-5, atol=1e-5)
