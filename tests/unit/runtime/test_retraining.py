"""The owner's command that makes a new candidate: run once at a time, recorded, ended in time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.errors import Fault
from headgate.ledger import Store, hold
from headgate.objects import Artifact
from headgate.runtime.retraining import Retrain, Retraining
from tests.serving import until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / ".headgate", create=True) as opened:
        yield opened


def python(script: str) -> str:
    return f'{sys.executable} -c "{script}"'


def test_its_run_names_the_variant_and_holds_what_it_printed(store: Store, tmp_path: Path) -> None:
    """Run beside headgate.yaml; exit status 0 is done."""
    variant = store.put_bytes(b"a variant")
    command = python("import os; print(os.getcwd())")
    ended = asyncio.run(Retraining(store, Retrain(command, tmp_path)).run("docs", variant))
    assert (ended.outcome, ended.exit_status) == ("done", 0)
    assert ended.run is not None
    run = store.get(ended.run).body
    assert run["u"] == {"variant": variant}
    assert run["c"]["command"] == command
    assert store.read(run["z"]["output"]).decode().strip() == str(tmp_path.resolve())
    assert store.verify().ok


@pytest.mark.parametrize("script", ["print('trained')", "pass", "raise SystemExit(3)"])
def test_nothing_is_missing_from_the_evidence_after_it(
    store: Store, tmp_path: Path, script: str
) -> None:
    """Whatever it printed, and however it ended: the run, the machine and the log are owned, and
    held to what their kinds are held to."""
    content = b"a variant"
    model = Artifact("docs/model", store.put_bytes(b"w"), "model", "onnx", "search", 1)
    hold(store, model)
    variant = Artifact(
        "docs/variant/v", store.put_bytes(content), "variant", "json Servable", "search",
        len(content), lineage=(model.version,),
    )  # fmt: skip
    hold(store, variant)
    retraining = Retraining(store, Retrain(python(script), tmp_path))
    ended = asyncio.run(retraining.run("docs", variant.version))
    assert ended.run is not None
    assert store.gaps() == ()
    run = store.get(ended.run).body
    assert run["owner"] == "search"
    log = store.artifact(run["z"]["output"])
    assert log is not None
    assert (log.kind, log.made_by, log.owner) == ("log", ended.run, "search")


def test_a_program_that_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
    """Nothing ran, so no run is on record."""
    retraining = Retraining(store, Retrain("/no/such/program", tmp_path))
    ended = asyncio.run(retraining.run("docs", store.put_bytes(b"v")))
    assert (ended.outcome, ended.run) == ("failed", None)
    assert "/no/such/program" in ended.said


def test_one_runs_at_a_time_and_ends_with_the_server(store: Store, tmp_path: Path) -> None:
    """A second breach starts no second; a server that ends leaves no process behind."""
    ready = tmp_path / "ready"
    script = f"import pathlib, time; pathlib.Path('{ready}').touch(); time.sleep(600)"

    async def scenario() -> None:
        retraining = Retraining(store, Retrain(python(script), tmp_path))
        first = asyncio.create_task(retraining.run("docs", store.put_bytes(b"v")))
        await until(ready.exists)
        assert (await retraining.run("docs", "v")).outcome == "running_already"
        retraining.end()
        assert (await first).exit_status == -15

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_run_that_cannot_be_recorded_is_said(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ran, and the disk was full."""

    def full(path: Path) -> str:
        raise Fault("no space left on the device")

    monkeypatch.setattr(store, "put_file", full)
    retraining = Retraining(store, Retrain(python("pass"), tmp_path))
    ended = asyncio.run(retraining.run("docs", store.put_bytes(b"v")))
    assert (ended.outcome, ended.run) == ("done", None)
    assert "no space left" in ended.said


def test_a_command_that_will_not_end_is_killed(store: Store, tmp_path: Path) -> None:
    """It was asked to, and goes on: nothing of it outlives the server."""
    ready = tmp_path / "ready"
    script = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path('{ready}').touch(); time.sleep(600)"
    )

    async def scenario() -> None:
        retraining = Retraining(store, Retrain(python(script), tmp_path))
        running = asyncio.create_task(retraining.run("docs", store.put_bytes(b"v")))
        await until(ready.exists)
        retraining.end()
        assert not running.done()
        retraining.kill()
        assert (await running).exit_status == -9

    asyncio.run(asyncio.wait_for(scenario(), 60))
