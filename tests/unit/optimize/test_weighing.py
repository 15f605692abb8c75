"""Builds are weighed two at a time, recorded one after the other, and never weighed for nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from headgate.ledger import Store
from headgate.optimize import pilots
from headgate.optimize.job import Job
from headgate.optimize.pilots import pilot_memories, weighed_at_once
from headgate.optimize.recorder import Recorder

from .conftest import NewRecorder
from .fakes import build
from .test_chains import PATIENCE_S, gone, until

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
WEIGHS = """
import json, os, sys, time
from pathlib import Path
asked = json.loads(sys.stdin.readline())
root, name = Path(asked["root"]), asked["build"]["name"]
print(os.getpid(), file=(root / name).open("a"), flush=True)
give_up = time.monotonic() + 60
def until(path):
    while not path.exists():
        assert time.monotonic() < give_up
        time.sleep(0.01)
{does}
print(json.dumps({{"peak_bytes": len(name)}}))
"""
HANGS = 'until(root / "let-go")'


def weighs_as(does: str) -> tuple[str, ...]:
    """The command of a process that says who it is, does so, and answers."""
    return (sys.executable, "-c", WEIGHS.format(does=does))


def job_of(recorder: Recorder, *, cores: int = 2) -> Job:
    """As much of a job as weighing looks at."""
    known = {"store": recorder.store, "recorder": recorder, "cores": cores}
    return cast("Job", SimpleNamespace(**known, queries=[], behaviour={}))


def weigh(recorder: Recorder, *names: str, cores: int = 2) -> Any:
    """Builds of a few bytes."""
    model = recorder.store.put_bytes(b"a model")
    builds = {name: build(name, files={"model.onnx": model}, tokenizer=None) for name in names}
    return pilot_memories(job_of(recorder, cores=cores), builds)


def pid_of(path: Path) -> int:
    """Of the process that said so there; waits for it."""
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


@pytest.fixture(autouse=True)
def _memory_is_plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has."""
    monkeypatch.setattr(pilots, "available_memory_bytes", lambda: 1 << 40)


@pytest.mark.parametrize(
    ("cores", "file_mib", "available_mib", "at_once"),
    [
        (2, 0, 640, 2),
        (2, 0, 639, 1),
        (2, 100, 1440, 2),
        (2, 100, 1439, 1),
        (1, 0, 100_000, 1),
        (8, 0, 100_000, 2),
    ],
)
def test_two_are_weighed_at_once_where_cores_and_free_memory_allow(
    cores: int, file_mib: int, available_mib: int, at_once: int
) -> None:
    """A process takes 320 MiB, and four times its files."""
    assert weighed_at_once(cores, file_mib * MIB, available_mib * MIB) == at_once


def test_all_files_of_a_build_count(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cascade has two models."""
    seen = []
    monkeypatch.setattr(pilots, "_WEIGHS", weighs_as(""))
    monkeypatch.setattr(pilots, "weighed_at_once", lambda *said: seen.append(said) or 1)
    files = {name: recorder.store.put_bytes(name.encode()) for name in ("four", "seven..")}
    both = build("both", files=files, tokenizer=None)
    one = build("one", files={"four": files["four"]}, tokenizer=None)
    pilot_memories(job_of(recorder), {"both": both, "one": one})
    assert seen == [(2, 11, 1 << 40)]


def test_two_are_weighed_side_by_side_and_recorded_in_their_order(
    new_recorder: NewRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ends only after the second has; one thread records, and only it tells."""
    waits = 'until(root / "second-ended") if name == "first" else (root / "second-ended").touch()'
    monkeypatch.setattr(pilots, "_WEIGHS", weighs_as(waits))
    told: list[object] = []
    recorder = new_recorder(
        on_start=lambda name, detail: told.append((detail, threading.current_thread())),
        on_progress=lambda share, detail: told.append("progress"),
    )
    assert weigh(recorder, "first", "second") == {"first": 5, "second": 6}
    assert [e.body["c"]["build"]["name"] for e in recorder.store.entries("run")] == [
        "first",
        "second",
    ]
    here = threading.current_thread()
    assert told == [("first", here), ("second", here)]
    (tmp_path / "second-ended").unlink()
    assert weigh(recorder, "first", "second") == {"first": 5, "second": 6}, "as it is recorded"


@pytest.mark.parametrize("cores", [1, 2])
def test_what_fails_is_weighed_once_and_the_others_go_on(
    cores: int, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two it is, the first or the second, and however many are weighed."""
    fails = 'if "bad" in name: sys.exit("no kernel for Erf")'
    monkeypatch.setattr(pilots, "_WEIGHS", weighs_as(fails))
    names = ("bad1", "bad2", "good1", "bad3", "good2")
    assert weigh(recorder, *names, cores=cores) == {"good1": 5, "good2": 5}
    assert all(len((tmp_path / name).read_text().splitlines()) == 1 for name in names)
    failed = [(e.body["where"], e.body["what"]) for e in recorder.store.entries("failure")]
    said = "a process that serves it ends: no kernel for Erf"
    assert failed == [("bad1", said), ("bad2", said), ("bad3", said)]


def test_what_hangs_is_given_up_once(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilots, "_WEIGHS", weighs_as(HANGS))
    monkeypatch.setattr(pilots, "_MEMORY_TIMEOUT_S", 0.01)
    assert weigh(recorder, "one", "two") == {}
    assert all("timed out" in e.body["what"] for e in recorder.store.entries("failure"))
    assert len([*recorder.store.entries("failure")]) == 2


def test_a_complaint_that_is_no_text_is_shown_as_it_can_be(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library says what it likes."""
    says = 'sys.stderr.buffer.write(b"no kernel \\xff\\n"); sys.exit(1)'
    monkeypatch.setattr(pilots, "_WEIGHS", weighs_as(says))
    assert weigh(recorder, "one") == {}
    (failure,) = recorder.store.entries("failure")
    assert failure.body["what"] == "a process that serves it ends: no kernel \\xff"


def test_where_no_process_is_to_be_had_nothing_is_known_of_memory(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preview goes on without it."""
    monkeypatch.setattr(pilots, "_WEIGHS", ("/nowhere/python",))
    assert weigh(recorder, "one", "two") == {}


def test_an_error_here_ends_those_that_are_being_weighed(
    new_recorder: NewRecorder, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would ask for them; the third is not begun, and nothing is recorded."""
    running = []

    def broken(name: str, detail: str) -> None:
        running.extend([pid_of(tmp_path / "one"), pid_of(tmp_path / "two")])
        raise RuntimeError("no terminal")

    ends = f'try: {HANGS}\nfinally: (root / "ended").touch()'
    monkeypatch.setattr(pilots, "_WEIGHS", weighs_as(ends))
    with pytest.raises(RuntimeError, match="no terminal"):
        weigh(new_recorder(on_start=broken), "one", "two", "three")
    assert all(map(gone, running))
    assert not (tmp_path / "ended").exists()
    assert not (tmp_path / "three").exists()
    assert [*store.entries("run"), *store.entries("failure")] == []


PARENT = """
import signal
import sys
from pathlib import Path
from headgate.ledger import Store
from headgate.optimize import pilots
from tests.unit.optimize.test_chains import recorder_on
from tests.unit.optimize.test_weighing import HANGS, weigh, weighs_as
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
pilots._WEIGHS = weighs_as(HANGS)
pilots.available_memory_bytes = lambda: 1 << 40
root = Path(sys.argv[1])
with Store.open(root / ".headgate") as store:
    weigh(recorder_on(store, root), "one", "two", "three")
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_job_leaves_none_that_is_weighed(
    how: signal.Signals, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends while both hang, and they with it; nothing is recorded."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        try:
            running = [pid_of(tmp_path / name) for name in ("one", "two")]
            parent.send_signal(how)
            assert parent.wait(PATIENCE_S / 2) != 0
        finally:
            parent.kill()
    until(lambda: all(map(gone, running)))
    assert not (tmp_path / "three").exists()
    assert [*store.entries("run"), *store.entries("failure")] == []
