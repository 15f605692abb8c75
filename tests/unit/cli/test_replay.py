"""replay and progress: doing it again, and saying how far it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.cli.progress import Progress
from headgate.config import source_digest
from headgate.ledger import Store
from headgate.objects import Action, Axis, Bound, Contract, HardwareProfile, canonical, short
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
    """A decision of the real gate, made on a machine of which nothing else is known."""
    with Store.open(Path(".headgate")) as store:
        return judged(store, ids, "sha256:another")


def judged(store: Store, ids: Ids, environment: str) -> str:
    recorder = Recorder(store, "docs", "search", environment, 0, Path.cwd())
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
    assert lines[1].split() == ["output", "bytes", "recorded", "again"]
    name, the, same, recorded, again = lines[2].split()
    assert (name, the, same) == ("decision", "the", "same")
    assert recorded == again
    assert lines[3].startswith("· the environment differs; what the recorded one was is not in the")
    assert json.loads(cli("replay", decided, "--json").out)["environment"] == {
        "recorded": "sha256:another",
        "differs": True,
        "differences": None,
    }


THERE = HardwareProfile(
    architecture="x86_64",
    flags=("avx2", "avx512_bf16"),
    effective_cores=4,
    memory_bytes=2**34,
    devices=("cpu",),
    libraries={"numpy": "2.1.0", "openvino": "2026.3"},
    python="3.11.2",
    system="Linux glibc 2.36",
)
HERE = replace(
    THERE,
    flags=("avx2",),
    effective_cores=2,
    memory_bytes=2**33,
    libraries={"numpy": "2.2.0"},
    python="3.11.9",
    system="Linux glibc 2.39",
    variables={"OMP_NUM_THREADS": "1"},
)
DIFFER = {
    "effective_cores": ("4", "2"),
    "flags.avx512_bf16": ("there", None),
    "libraries.numpy": ("2.1.0", "2.2.0"),
    "libraries.openvino": ("2026.3", None),
    "python": ("3.11.2", "3.11.9"),
    "system": ("Linux glibc 2.36", "Linux glibc 2.39"),
    "variables.OMP_NUM_THREADS": (None, "1"),
}


def test_a_replay_names_each_part_of_the_environment_that_differs(
    cli: Cli, ids: Ids, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CPU flags, cores, libraries, Python, system and variables; memory changes no answer. For
    people as for machines; and nothing where nothing differs."""
    with Store.open(Path(".headgate")) as store:
        there = store.put_bytes(canonical(THERE.environment))
        entry = judged(store, ids, there)
    monkeypatch.setattr("headgate.engines.probe.read_profile", lambda: HERE)
    said = cli("replay", entry, "--json")
    found = json.loads(said.out)["environment"]
    assert said.code == 0
    assert (found["recorded"], found["differs"]) == (there, True)
    assert {d["part"]: (d["recorded"], d["here"]) for d in found["differences"]} == DIFFER
    lines = cli("replay", entry).out.splitlines()
    assert lines[3] == "· the environment differs from the recorded one:"
    assert lines[4].split() == ["part", "recorded", "here"]
    for part, values in DIFFER.items():
        told = next(line for line in lines if line.startswith(part))
        assert told.split() == [part, *" ".join(v or "–" for v in values).split()]
    monkeypatch.setattr("headgate.engines.probe.read_profile", lambda: THERE)
    assert json.loads(cli("replay", entry, "--json").out)["environment"] == {
        "recorded": there,
        "differs": False,
        "differences": [],
    }
    assert "environment" not in cli("replay", entry).out


def test_a_replay_of_other_bytes_shows_both_digests(cli: Cli, decided: str) -> None:
    """Exit code 3: here the record of the decision was forged."""
    with Store.open(Path(".headgate")) as store:
        body = store.get(decided).body
        forged = store.put_bytes(b"{}")
        entry = store.append("run", {**body, "z": {"decision": forged}}).id
    said = cli("replay", entry, "--json")
    assert said.code == 3
    outputs = json.loads(said.out)["replayed"]["outputs"]
    assert outputs == {"decision": {"recorded": forged, "again": body["z"]["decision"]}}
    line = cli("replay", entry).out.splitlines()[2]
    assert line.split() == ["decision", "others", short(forged), short(body["z"]["decision"])]


def test_a_replay_names_own_functions_that_were_edited_since(
    cli: Cli, ids: Ids, tmp_path: Path
) -> None:
    """They are part of what was run, and found beside the file that -f names."""
    here = tmp_path / "endpoint"
    here.mkdir()
    (here / "headgate.yaml").touch()
    own = here / "own.py"
    own.write_text("def exact(item, output):\n    return 1.0\n", encoding="utf-8")
    metric = {"function": "own:exact", "source": source_digest("own:exact", here)}
    with Store.open(Path(".headgate")) as store:
        body = store.get(judged(store, ids, "sha256:another")).body
        entry = store.append("run", {**body, "c": {**body["c"], "metric": metric}}).id
    asked = ("replay", entry, "-f", str(here), "--store", ".headgate")
    assert json.loads(cli(*asked, "--json").out)["edited"] == []
    own.write_text("def exact(item, output):\n    return 0.5\n", encoding="utf-8")
    assert json.loads(cli(*asked, "--json").out)["edited"] == ["own:exact"]
    assert "· edited since it was recorded: own:exact" in cli(*asked).out


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
