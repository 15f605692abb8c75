"""A cascade from headgate.yaml to its callers: made, priced, served, and asked."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate import engines
from headgate.distillation import escalates, fewest_items
from headgate.ledger import Store
from headgate.objects import parts_of

from .cascades import Job, ask, forest_job
from .endpoints import HEADGATE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_TRAIN, _CALIBRATE, _EVALUATE = range(600), range(600, 1000), range(1000, 1797)

TEACHER = """\
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

def estimator():
    pixels, labels = load_digits(return_X_y=True)
    train = np.random.default_rng(0).permutation(len(pixels))[:600]
    return RandomForestClassifier(150, random_state=0).fit(pixels[train], labels[train])
"""
PROMISES = """\
contracts:
  accuracy: {not_below_current_by: 4%, why: a test, on_breach: rollback}
  batch_invariance: {one_of: [exact, within_epsilon], why: a test, on_breach: rollback}
  latency_p95: {ratio_to_current_at_most: 1000, why: a test, on_breach: rollback}
  device_s_per_1k: {ratio_to_current_at_most: 1000, why: a test, on_breach: rollback}
candidates: [linear_cascade]
replay: {seconds: 0.4, blocks: 9}
"""


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))  # they come by who wrote them
    return pixels[order].astype(np.float32), labels[order].astype(np.int64)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A forest of 150 trees on scikit-learn's digits, and a linear student before it."""
    pixels, labels = digits()
    splits = {
        name: (
            {"id": f"d{k}", "input": pixels[k].tolist(), "label": int(labels[k])} for k in places
        )
        for name, places in (
            ("train", _TRAIN),
            ("calibrate", _CALIBRATE),
            ("evaluate", _EVALUATE),
        )
    }
    here = tmp_path_factory.mktemp("digits")
    return forest_job(here, "classify", TEACHER, splits, PROMISES)


def test_the_cascade_is_made_accepted_planned_and_certified(job: Job) -> None:
    """Like any other candidate: every step of the report is there, its prediction too."""
    assert job.report["winner"] == "linear_cascade"
    assert job.winner.build.engine == "cascade"
    verdicts = {row["rule"]: row["verdict"] for row in job.report["contracts"]}
    assert verdicts["accuracy not below current by 0.04"] == "pass"
    assert {p["quantity"] for p in job.report["predictions"]} >= {"p50", "p95"}
    assert "distillation" in {share["optimization"] for share in job.report["shares"]}


def test_its_threshold_keeps_the_margin_that_the_contract_declares(job: Job) -> None:
    """Half of it, at 95 %, by items that neither trained nor judged it."""
    (found,) = job.runs("cascade.threshold")
    with Store.open(job.store) as store:
        learnt = json.loads(store.read(found["z"]["thresholds"]))
    assert list(learnt) == ["accuracy"]
    threshold = learnt["accuracy"]
    assert threshold["risk"] == 0.02
    assert threshold["risk_bound"] <= 0.02
    assert threshold["n"] == len(_CALIBRATE) >= fewest_items(0.02)
    assert 0 < threshold["escalated_share"] < 0.5
    assert parts_of(job.winner.build).threshold == threshold["least"]


def test_what_its_teacher_was_worth_is_on_record(job: Job) -> None:
    """Against a control that learnt from the labels alone, in as many steps on the same items."""
    (found,) = job.runs("distill.gain")
    with Store.open(job.store) as store:
        gain = json.loads(store.read(found["z"]["gain"]))
    assert gain["metric"] == "accuracy"
    assert gain["low"] < gain["value"] < gain["high"]
    assert len(job.runs("distill.head")) == 2
    assert any(gain["reason"] in note for note in job.report["notes"])


def test_the_simulator_asks_the_policy_that_serves(job: Job) -> None:
    """Who escalates on the workload is on record, and is what the policy says of its items."""
    (found,) = job.runs("cascade.escalations")
    with Store.open(job.store) as store:
        recorded = np.load(store.path_of(found["z"]["escalated.npy"]))
        lines = store.read(found["u"]["workload"]).decode().splitlines()
        parts = parts_of(job.winner.build)
        student = engines.load(parts.student, store.path_of)
        codec = engines.codec_for(parts.student, store.path_of)
    items = codec.encode([np.array(json.loads(line)["input"]) for line in lines])
    scores = student.run(codec.collate(items))
    assert np.array_equal(escalates(scores, parts.threshold, "classify"), recorded)


def test_its_certificate_says_how_fast_it_is_and_what_escalates(job: Job) -> None:
    """A bound that was measured on the workload's items, or the cause why it claims nothing."""
    (found,) = job.runs("cascade.escalations")
    with Store.open(job.store) as store:
        share = np.load(store.path_of(found["z"]["escalated.npy"])).mean()
        issued = store.latest("certificate", build=job.winner.build.version)
        assert issued is not None
        speed = json.loads(store.read(issued.body["certificate"]))["speed"]
    assert speed["escalated_share"] == pytest.approx(share)
    assert speed["speedup"]["low"] <= speed["speedup"]["value"] <= speed["speedup"]["high"]
    assert (speed["slow"] is None) == (speed["speedup"]["low"] > 1.05)


def test_its_plan_replays_to_the_same_bytes(job: Job) -> None:
    """In another process, with who escalates as one of its inputs."""
    with Store.open(job.store) as store:
        plan = next(
            e for e in store.entries("run")
            if e.body["transformation"] == "plan.simulate" and "escalated.npy" in e.body["u"]
        )  # fmt: skip
    command = [*HEADGATE, "replay", plan.id, "-f", str(job.yaml), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["identical"] is True


def scores_of(url: str, items: Sequence[list[float]]) -> NDArray[np.float64]:
    """(items, classes), in the order of the classes."""
    return np.array(
        [[p["score"] for p in sorted(r, key=lambda p: int(p["label"]))] for r in ask(url, items)]
    )


def test_callers_get_the_answers_that_the_policy_says(job: Job) -> None:
    """Over HTTP, alone and in company: the student's row or the teacher's; and who escalated is
    counted."""
    pixels, _ = digits()
    rows = pixels[1000:1200]
    with Store.open(job.store) as store:
        parts = parts_of(job.winner.build)
        student, teacher = (
            engines.load(part, store.path_of) for part in (parts.student, parts.teacher)
        )
        codec = engines.codec_for(parts.teacher, store.path_of)
    batch = codec.collate(codec.encode(list(rows)))
    scores, answers = student.run(batch), teacher.run(batch)
    asked = escalates(scores, parts.threshold, "classify")
    assert 0 < asked.sum() < len(rows)
    with job.served() as url:
        together = scores_of(url, rows.tolist())
        alone = np.concatenate([scores_of(url, [row]) for row in rows[:20].tolist()])
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as reply:
            metrics = reply.read().decode()
    expected = np.where(asked[:, None], answers, scores)
    assert np.allclose(together, expected, rtol=0, atol=1e-5)
    assert np.allclose(alone, expected[:20], rtol=0, atol=1e-5)
    counted = re.search(r"^headgate_cascade_escalated_total (\S+)$", metrics, re.MULTILINE)
    assert counted is not None
    # The twenty that come again may be counted again, and so may a canary of the server's own.
    assert float(counted[1]) >= asked.sum()
