"""Where no candidate is accepted: the model as it is, under policies of its own.

Nothing that a stopwatch says decides here: what engines take, and how late answers come under load,
is made up, and a drill may take its time.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headgate.cli.app import run
from headgate.ledger import Store
from headgate.loadtest import LoadResult, run_load
from headgate.loadtest.wire import NOT_SENT, TIMED_OUT
from headgate.objects import short
from headgate.runtime.servable import Servable
from tests.models import outlier_chain

from .endpoints import change, classifier, content_of, measure_briefly, take, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROMISES = """\
contracts:
  agreement: {at_least: 99%, why: a test, on_breach: rollback}
  batch_invariance: {one_of: [exact, within_epsilon], why: a test, on_breach: rollback}
  latency_p95: {at_most: 2s, why: a test, on_breach: rollback}
  device_s_per_1k: {ratio_to_current_at_most: 1000, why: a test, on_breach: rollback}
replay: {seconds: 1.8, blocks: 9}
"""


@pytest.fixture(scope="module", autouse=True)
def patient() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        measure_briefly(patch)
        # Weights are read once a call: batches pay by several times.
        take(patch, lambda model, rows: 2e-3 + 1e-4 * rows)
        patch.setattr("headgate.optimize.load.replay.run_load", in_time)
        patch.setattr("headgate.server.drill._WITHIN_S", 200.0)
        yield


def in_time(*segments: Any, **options: Any) -> list[LoadResult]:
    """The requests are sent, and count as sent when they were due and answered 10 ms later, each
    for a tenth of a millisecond of the server; what a slow machine never came to counts as
    answered, and every other fault as what it is."""
    results = run_load(*segments, **options)
    assert all(any(r.statuses == 200) for r in results), "not slow, but silent"
    return [
        replace(
            result,
            sent_s=result.scheduled_s,
            latencies_s=np.full(result.n, 0.01),
            answered_s=np.full(result.n, 0.01),
            statuses=np.where(
                np.isin(result.statuses, (TIMED_OUT, NOT_SENT)), 200, result.statuses
            ),
            server_cpu_s=1e-4 * result.n,
        )
        for result in results
    ]


@dataclass(frozen=True)
class Job:
    """An endpoint, and what came of it."""

    yaml: Path
    code: int

    @property
    def root(self) -> Path:
        return self.yaml.parent / ".headgate"

    @property
    def report(self) -> Any:
        return json.loads((self.yaml.parent / "report.json").read_text(encoding="utf-8"))

    def runs(self, transformation: str) -> list[Any]:
        with Store.open(self.root) as store:
            found = [e.body for e in store.entries("run")]
        return [r for r in found if r["transformation"] == transformation]


def optimized(
    here: Path, changes: Callable[[Path], None] = lambda yaml: None, *, promote: bool = True
) -> Job:
    """Of which the one candidate depends on its batch by construction; promoted if accepted."""
    yaml = classifier(here)
    yaml.write_text(yaml.read_text(encoding="utf-8") + PROMISES, encoding="utf-8")
    outlier_chain(here / "model.onnx", widths=(64, 128, 128, 16), before=1, strength=1)
    rng = np.random.default_rng(0)
    inputs, at_s = (
        rng.normal(size=(820, 64)).round(3).tolist(),
        rng.exponential(0.02, 500).cumsum(),
    )
    rows = ({"id": f"i{k}", "input": x, "label": k % 3} for k, x in enumerate(inputs[:320]))
    write_rows(here / "evaluate.jsonl", rows)
    asked = zip(at_s.tolist(), inputs[320:], strict=True)
    write_rows(here / "access.jsonl", ({"at_s": at, "input": x} for at, x in asked))
    change(yaml, "{rate_per_s: 50, requests: 60}", "{log: access.jsonl}")
    changes(yaml)
    return Job(yaml, run(["optimize", *["--promote"] * promote, str(yaml)]))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return optimized(tmp_path_factory.mktemp("digits"))


def test_the_model_as_it_is_wins_where_nothing_else_is_accepted(job: Job) -> None:
    """It is certified by every promise and made current over the baseline."""
    report = job.report
    assert (job.code, report["action"]) == (0, "accept")
    assert (report["winner"], report["generation"]) == ("fp32", 1)
    assert report["because"].startswith("the model as it is, with ")
    assert {row["verdict"] for row in report["contracts"]} == {"pass"}
    before, own, dynamic = report["candidates"]
    assert (before["name"], before["verdict"]) == ("fp32", "baseline")
    assert "; chosen, with " in before["why"]
    assert (own["name"], own["verdict"]) == ("fp32, own policies", "accept")
    assert dynamic["verdict"] in ("skipped", "rollback")
    left_out = {share["optimization"] for share in report["shares"]}
    assert left_out == {"batching", "caching", "hardware-aware scheduling"}


def test_it_is_loaded_with_what_its_plan_says_that_it_can_take(job: Job) -> None:
    """Its p95 is promised by itself."""
    (load,) = job.runs("load.replay")
    with Store.open(job.root) as store:
        chosen = [json.loads(store.read(r["z"]["choice"])) for r in job.runs("plan.choose")]
    planned = [c["best"]["max_rate_per_s"] for c in chosen]
    assert load["c"]["most_per_s"] in planned


def test_it_is_the_baselines_build_under_other_policies(job: Job) -> None:
    """Generation 0 comes back as it was."""
    with Store.open(job.root) as store:
        first, now = (Servable.load(store, r.variant) for _, r in store.history("digits"))
    assert now.build.files == first.build.files
    assert now.variant.version != first.variant.version
    assert first.variant.batching.max_requests == first.variant.instances == 1


def test_a_second_job_finds_all_of_it_and_changes_nothing(job: Job) -> None:
    """It is current already, and is held against what it replaced."""
    before, report = content_of(job.root), job.report
    assert run(["optimize", "--promote", str(job.yaml)]) == 0
    assert content_of(job.root) == before
    again = job.report
    assert again["decision"] == report["decision"]
    assert all(step["reused"] for step in again["steps"])


def test_it_is_verified_audited_and_drilled_as_any_release(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    """The drill takes a worse release back to it, in a copy: nobody else sees another current."""
    store = ["--store", str(job.root), "--json"]
    assert run(["verify", *store]) == 0
    assert run(["audit", *store]) == 0
    capsys.readouterr()
    code = run(["drill", *store])
    said = json.loads(capsys.readouterr().out)
    assert (code, said["passed"]) == (0, True)


def test_where_it_is_all_that_is_tried_and_breaks_a_promise_nothing_wins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A floor that the model itself is under: no load is sent, and the baseline stays. `preview`
    says so before, and what to type next says why, though there are no numbers."""

    def wants_more(yaml: Path) -> None:
        more = "contracts:\n  accuracy: {at_least: 99%, why: a test, on_breach: rollback}\n"
        change(yaml, "contracts:\n", more)
        change(yaml, "[int8_dynamic]", "[]")
        assert run(["preview", str(yaml)]) == 3
        assert "It is tried under no other policies: accuracy = 0." in capsys.readouterr().out

    job = optimized(tmp_path, wants_more)
    report = job.report
    assert (job.code, report["winner"], report["generation"]) == (4, "baseline", 0)
    assert "no candidate is left (fp32: accuracy = 0." in report["because"]
    assert report["search"].startswith("no candidate is named beside the model as it is; ")
    (own,) = report["candidates"]
    assert "not chosen under other policies: accuracy = " in own["why"]
    assert job.runs("plan.choose") == job.runs("load.replay") == []
    capsys.readouterr()
    assert run(shlex.split(report["next_command"])[1:]) == 0
    assert "accuracy = 0." in capsys.readouterr().out


def hold_out(yaml: Path, *, seed: int) -> None:
    """New rows of the holdout."""
    inputs = np.random.default_rng(seed).normal(size=(320, 64)).round(3).tolist()
    rows = ({"id": f"h{k}", "input": x, "label": k % 3} for k, x in enumerate(inputs))
    write_rows(yaml.parent / "holdout.jsonl", rows)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an endpoint that was accepted on a holdout, and not promoted."""
    here = tmp_path_factory.mktemp("certified")

    def holds_out(yaml: Path) -> None:
        change(yaml, "[int8_dynamic]", "[]")
        change(yaml, "evaluate: evaluate.jsonl", "evaluate: evaluate.jsonl, holdout: holdout.jsonl")
        hold_out(yaml, seed=1)

    job = optimized(here, holds_out, promote=False)
    assert job.report["because"].endswith("all 4 contracts are kept on holdout")
    return here


@pytest.fixture
def certified(accepted: Path, tmp_path: Path) -> Job:
    """A copy of it."""
    shutil.copytree(accepted, tmp_path, dirs_exist_ok=True)
    return Job(tmp_path / "headgate.yaml", 0)


def looked_at(job: Job) -> list[str]:
    """The holdouts, one for each look."""
    with Store.open(job.root) as store:
        return [e.body["dataset"] for e in store.entries("holdout_use")]


def test_who_edits_a_promise_and_does_what_is_said_is_judged_by_it(
    certified: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    """New rows, and times that are taken again. New rows alone would spend a look at them and end
    where it began: the load test on record was seen by the rule of before."""
    job = certified
    change(job.yaml, "at_least: 99%", "at_least: 98%")
    capsys.readouterr()
    assert run(["gate", job.report["winner_id"], "-f", str(job.yaml)]) == 4
    *_, told = capsys.readouterr().err.partition("or keep it, give new rows under data.holdout")
    hold_out(job.yaml, seed=2)
    (command,) = told.split("`")[1::2]
    run(shlex.split(command)[1:])
    report = job.report
    assert (report["action"], report["generation"]) == ("accept", 1), report["because"]
    assert "agreement at least 0.98" in [row["rule"] for row in report["contracts"]]
    assert len(job.runs("load.replay")) == 2
    assert len(looked_at(job)) == len(set(looked_at(job))) == 2, "one look at each"


def test_who_puts_a_promise_back_is_led_to_what_it_was_decided_by(certified: Job) -> None:
    """Though times were taken again by the other rule meanwhile: that costs a look, and the way
    back costs none. What the report has to be pasted bare measures nothing."""
    job, decision = certified, certified.report["decision"]
    change(job.yaml, "at_least: 99%", "at_least: 98%")
    assert run(["optimize", "--promote", str(job.yaml)]) == 4
    edited, before = job.report, content_of(job.root)
    run(shlex.split(edited["next_command"])[1:])
    assert content_of(job.root) == before
    back, keep = edited["next_why"].split("`")[-4::2]
    assert back == f"headgate optimize --promote {job.yaml}"
    assert run(shlex.split(keep)[1:]) == 4, "without the new rows that it asks for first"
    assert (len(job.runs("load.replay")), len(looked_at(job))) == (2, 2)
    earlier = f"headgate promote {short(decision)} -f {job.yaml}"
    assert f"Put back what was edited and type `{earlier}`; or keep it" in job.report["next_why"]
    change(job.yaml, "at_least: 98%", "at_least: 99%")
    assert run(["gate", edited["winner_id"], "-f", str(job.yaml)]) == 0
    assert run(shlex.split(back)[1:]) == 4, "its times are those of the other rule"
    report = job.report
    assert report["next_command"] == earlier
    assert "Put back" not in report["next_why"]
    assert run(shlex.split(earlier)[1:]) == 0
    with Store.open(job.root) as store:
        current = store.current("digits")
    assert current is not None
    assert (current.generation, current.decision) == (1, decision)
    assert (len(job.runs("load.replay")), len(looked_at(job))) == (2, 2)
