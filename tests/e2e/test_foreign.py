"""optimize on a server that is not ours: measured by its URL, judged alone, never promoted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headgate.cli.app import run
from headgate.ledger import Store
from tests.foreign import Answer, Asked, Foreign, embeddings, honest
from tests.serving import Served

from .endpoints import write_rows

pytestmark = pytest.mark.slow

SECRET = "s3cret-value"
DIGEST = "sha256:" + 64 * "0"
HEAD = """\
endpoint: {endpoint}
owner: {{team: search, escalate: "command:true"}}
task: {task}
model: {{{model}}}
data: {{evaluate: evaluate.jsonl}}
workload: {{rate_per_s: 50, requests: 6}}
prices: {{device_second: 0.00002}}
contracts:
  {quality}: {{at_least: 0.5, why: w, on_breach: rollback}}
  batch_invariance: {{one_of: [exact, within_epsilon], why: w, on_breach: rollback}}
  latency_p95:
    - {{at_most: 1h, why: w, on_breach: rollback}}
    - {{ratio_to_current_at_most: 1.1, why: w, on_breach: rollback}}
  cost_per_1k: {{at_most: 1000, why: w, on_breach: rollback}}
"""


def embedder(here: Path, url: str, more: str = "") -> Path:
    """Passages of which ``Foreign`` ranks the longest first, whatever is asked."""
    passages = [{"id": f"p{k}", "passage": "x" * (10 * k)} for k in range(1, 10)]
    queries = [{"id": f"q{k}", "query": f"query {k}", "relevant": ["p9"]} for k in range(40)]
    write_rows(here / "evaluate.jsonl", [*passages, *queries])
    return describe(here, "docs", "embed", f"url: '{url}'{more}", "mrr@10")


def describe(here: Path, endpoint: str, task: str, model: str, quality: str) -> Path:
    yaml = here / "headgate.yaml"
    text = HEAD.format(endpoint=endpoint, task=task, model=model, quality=quality)
    yaml.write_text(text, encoding="utf-8")
    return yaml


def backwards(asked: Asked) -> Answer:
    """The shortest passage first: as if another model had been deployed."""
    if not asked.path.endswith("/v1/embeddings"):
        return honest(asked)
    body = embeddings(asked.body["input"])
    for row in body["data"]:
        row["embedding"] = [1 / row["embedding"][0]]
    return Answer(body)


@dataclass(frozen=True)
class Measured:
    """A job, and another after the server was exchanged."""

    here: Path
    codes: tuple[int, int]
    reports: tuple[dict[str, Any], dict[str, Any]]

    @property
    def store(self) -> Store:
        return Store.open(self.here / ".headgate")

    def replay(self, transformation: str) -> int:
        """The first run of that name again."""
        entry = next(s["entry"] for s in self.reports[0]["steps"] if s["name"] == transformation)
        return run(["replay", entry, "--store", str(self.here / ".headgate")])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """The server is still there, and backwards."""
    here = tmp_path_factory.mktemp("foreign")
    with pytest.MonkeyPatch.context() as patch, Foreign() as foreign:
        patch.setenv("TEI_TOKEN", SECRET)
        more = ", server: tiny 1.0, headers: {Authorization: 'Bearer ${TEI_TOKEN}'}"
        yaml = embedder(here, foreign.url + "/team", more)
        codes, reports = [], []
        for answer in (honest, backwards):
            foreign.answer = answer
            codes.append(run(["optimize", "--promote", str(yaml)]))
            reports.append(json.loads((here / "report.json").read_text()))
        assert {a.headers["authorization"] for a in foreign.asked} == {f"Bearer {SECRET}"}
        assert {a.path for a in foreign.asked} == {"/team/v1/models", "/team/v1/embeddings"}
        sizes = [len(a.body["input"]) for a in foreign.asked if a.body is not None]
        assert max(sizes) == 32  # of 40 short queries: what TEI takes at a time
        yield Measured(here, (codes[0], codes[1]), (reports[0], reports[1]))


def verdicts(measured: Measured, which: int) -> list[tuple[str, str]]:
    """Metric and verdict of each contract that the job's decision judges."""
    with measured.store as store:
        entry = store.get(measured.reports[which]["decision"])
        decision = json.loads(store.read(entry.body["z"]["decision"]))
    return [(r["contract"]["metric"], r["verdict"]) for r in decision["results"]]


def test_it_is_measured_and_judged_alone(measured: Measured) -> None:
    """By the promises that need no other release; its cost is nobody's to know, so not accepted."""
    report = measured.reports[0]
    assert (measured.codes[0], report["action"], report["judged"]) == (4, "unknown", "server")
    assert report["because"] == (
        "no candidate can be made of a server that is not ours; alone: not enough is known: "
        "cost_per_1k: there are no samples of it"
    )
    assert verdicts(measured, 0) == [
        ("mrr@10", "pass"),
        ("batch_invariance", "pass"),
        ("latency_p95", "pass"),  # within an hour; relative to another release says nothing
        ("cost_per_1k", "unknown"),
    ]
    (only,) = report["candidates"]
    assert (only["name"], only["batch_invariance"]) == ("server", "exact")
    assert "mrr@10 100.0 %" in only["why"]
    assert set(only["figures"]) == {"latency_p95"}
    assert report["curves"][0]["points"]


def test_it_is_measured_anew_because_it_may_be_another(measured: Measured) -> None:
    """The ledger has the runs of the first job, and nothing tells whether they still stand: only
    what does not ask the server is reused. The second server breaks its promise."""
    again = measured.reports[1]
    reused = {step["name"]: step["reused"] for step in again["steps"]}
    assert reused.pop("workload.draw")
    assert not any(reused.values())
    assert (measured.codes[1], again["action"]) == (3, "rollback")
    assert verdicts(measured, 1)[0] == ("mrr@10", "fail")


def test_what_is_undeclared_is_unauditable_and_said(measured: Measured) -> None:
    """In the report, and where the ledger shows what was measured."""
    notes = "\n".join(measured.reports[0]["notes"])
    assert "model_digest, tokenizer_digest, precision not declared" in notes
    assert "It is never promoted" in notes
    assert "since they compare two builds: latency_p95 ratio to current at most 1.1." in notes
    with measured.store as store:
        (server,) = {
            e.body["version"] for e in store.entries("artifact") if e.body["kind"] == "server"
        }
        known = json.loads(store.read(server))
    assert known["declared"] == {
        "model_digest": None,
        "tokenizer_digest": None,
        "server": "tiny 1.0",
        "precision": None,
    }
    assert known["headers"] == {"Authorization": "Bearer ${TEI_TOKEN}"}


def test_it_is_neither_released_nor_served(
    measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    """--promote was asked for; what a release serves must be in the store."""
    store = ("--store", str(measured.here / ".headgate"))
    with measured.store as opened:
        assert opened.history("docs") == []
    assert run(["promote", measured.reports[0]["decision"], *store]) == 3
    assert run(["serve", "--variant", measured.reports[0]["winner_id"], *store]) == 2
    assert "it has no model to serve" in capsys.readouterr().err


def test_a_replay_asks_the_server_again_and_may_differ(
    measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is no finding; the decision on what was measured comes out the same."""
    assert measured.replay("measure.quality") == 0
    said = capsys.readouterr().out
    assert "measure.quality came out different" in said
    assert "it asks a server that is not ours, which may answer otherwise today" in said
    assert measured.replay("gate.decide") == 0
    assert "gate.decide came out the same" in capsys.readouterr().out


def test_no_secret_is_on_record(measured: Measured) -> None:
    """Neither in the store nor in a report."""
    files = [p for p in measured.here.rglob("*") if p.is_file()]
    assert len(files) > 10
    assert [p for p in files if SECRET.encode() in p.read_bytes()] == []


def test_a_classifier_is_measured_over_v2(tmp_path: Path) -> None:
    """Numbers in, a class out: the sum of the input, which is the label."""
    rows = [{"id": f"i{k}", "input": [k % 3, 0.0], "label": k % 3} for k in range(40)]
    write_rows(tmp_path / "evaluate.jsonl", rows)
    with Foreign() as foreign:
        model = f"url: '{foreign.url}', name: sums"
        yaml = describe(tmp_path, "sums", "classify", model, "accuracy")
        assert run(["optimize", str(yaml)]) == 4
    (only,) = json.loads((tmp_path / "report.json").read_text())["candidates"]
    assert "accuracy 100.0 %" in only["why"]


def test_headgates_own_server_is_measured_like_any_other(tmp_path: Path) -> None:
    """Everything declared: nothing is unauditable, and still nothing is promoted."""
    declared = f"model_digest: '{DIGEST}', tokenizer_digest: '{DIGEST}', precision: fp32"
    with Served() as s:
        yaml = embedder(tmp_path, s.url, f", server: headgate, {declared}")
        assert run(["optimize", "--promote", str(yaml)]) == 4
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["candidates"][0]["batch_invariance"] == "exact"
    assert not any("unauditable" in note for note in report["notes"])
    assert report["generation"] is None


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer({"error": "no GPU"}, status=500), "it answers 500 Internal Server Error: no GPU"),
        (Answer({"data": []}), "the answer has 0 embeddings"),
    ],
)
def test_a_server_that_fails_ends_the_job_with_its_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: Answer, what: str
) -> None:
    """Exit code 1: nothing was measured, and nothing is said of what was not."""

    def failing(asked: Asked) -> Answer:
        return answer if asked.path.endswith("/v1/embeddings") else honest(asked)

    with Foreign(failing) as foreign:
        assert run(["optimize", str(embedder(tmp_path, foreign.url))]) == 1
    assert what in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()
