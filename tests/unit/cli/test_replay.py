"""replay and progress: doing it again, and saying how far it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.cli.progress import Progress
from headgate.ledger import Store
from headgate.objects import Action, Axis, Bound, Contract
from headgate.optimize.gate import judge_candidate
from headgate.optimize.recorder import Recorder
from headgate.release import ClassLabel, Rule

from .conftest import Cli, Ids

NO_STRANGERS = Contract(
    "batch_invariance", Axis.SAFETY, Bound.ONE_OF, 0.0, "no strangers", Action.ROLLBACK,
    "command:x", "previous generation", ("exact",),
)  # fmt: skip


@pytest.fixture
def decided(ids: Ids) -> str:
    """A decision of the real gate, made on another machine."""
    with Store.open(Path(".headgate")) as store:
        recorder = Recorder(store, "docs", "search", "sha256:another", 0, Path.cwd())
        _, run = judge_candidate(
            recorder,
            candidate=ids.student,
            current=ids.baseline,
            rule=Rule("docs", "holdout", "sha256:data", (NO_STRANGERS,), {}, {}, seed=0),
            samples={"batch_invariance": ClassLabel("batch_invariance", "exact", 2)},
            measurements={},
        )
        return run.entry


def test_a_decision_comes_out_the_same_anywhere(cli: Cli, decided: str) -> None:
    """The gate is pure: another machine is noted, and changes nothing."""
    said = cli("replay", decided)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("gate.decide came out the same  run ")
    assert [line.split() for line in lines[1:3]] == [
        ["output", "bytes"],
        ["decision", "the", "same"],
    ]
    assert lines[3] == "· this machine or its libraries differ from the recorded ones"


def test_a_replay_records_nothing(cli: Cli, decided: str) -> None:
    """It is a question to the ledger, not an entry of it."""
    with Store.open(Path(".headgate")) as store:
        before = [entry.id for entry in store.entries()]
    assert json.loads(cli("replay", decided, "--json").out)["identical"] is True
    with Store.open(Path(".headgate")) as store:
        assert [entry.id for entry in store.entries()] == before


def test_what_no_run_made_cannot_be_replayed(cli: Cli, ids: Ids) -> None:
    """The model came from outside; a transformation that is gone cannot run."""
    said = cli("replay", ids.model)
    assert said.code == 2
    assert "no run made it; it is an entry of kind artifact" in said.err
    assert cli("replay", ids.student).code == 3


def test_progress_is_a_line_a_step_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr, without control characters, and nothing for the shares between."""
    with Progress() as progress:
        progress.start("export", "MiniLM-L6")
        progress.update(0.5, "half")
        progress.start("quantize")
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("] ")[1] for line in err.splitlines()] == ["export  MiniLM-L6", "quantize"]
    assert "\x1b" not in err
