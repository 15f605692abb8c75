"""Chains come to the same whoever does the work, and helpers never outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from headgate.errors import EngineError
from headgate.ledger import Store
from headgate.objects import canonical, parse
from headgate.optimize.chains import Chain, follow, follow_all
from headgate.optimize.recorder import Asked, Call, Output, Recorder, transformation

from .conftest import NewRecorder

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
"""No test takes as long; one that would never end fails then."""


@pytest.fixture(autouse=True)
def _helpers_find_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever pytest was started."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another process does."""
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def in_helper() -> bool:
    return Path(sys.argv[0]).name == "helper.py"


@transformation("test.square")
def square(call: Call) -> Mapping[str, Output]:
    """Of a number or, in the second run of a chain, of the first run's output."""
    print("an endpoint's own function may print")  # noqa: T201
    x = parse(call.store.read(call.u["x"])) if "x" in call.u else call.c["x"]
    return {"y": Output(canonical(x * x), "samples", "json")}


@transformation("test.meet")
def meet(call: Call) -> Mapping[str, Output]:
    """Ends only while another of the same is being executed."""
    here, there = (call.root / f"here-{call.c[who]}" for who in ("me", "you"))
    here.touch()
    until(there.exists)
    return {"pid": Output(canonical(os.getpid()), "samples", "json")}


@transformation("test.die")
def die(call: Call) -> Mapping[str, Output]:
    """Takes the helper with it that executes it; ends here once one has."""
    if in_helper():
        (call.root / "taken").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    until((call.root / "taken").exists)
    return {"y": Output(canonical(call.c["x"]), "samples", "json")}


@transformation("test.fail")
def fail(call: Call) -> Mapping[str, Output]:
    """As an engine may, wherever it is executed."""
    if call.c["x"] == 1:
        raise EngineError("no kernel for Erf")
    return {"y": Output(canonical(call.c["x"]), "samples", "json")}


@transformation("test.hang")
def hang(call: Call) -> Mapping[str, Output]:
    """Says who executes it, and ends when it is let go."""
    (call.root / ("helper" if in_helper() else "parent")).write_text(str(os.getpid()))
    until((call.root / "let-go").exists)
    return {"y": Output(canonical(call.c["x"]), "samples", "json")}


def fourth_power(store: Store, x: float) -> Chain[object]:
    """Two runs, the second on the output of the first."""
    first = yield Asked(square, {}, {"x": x}, f"{x}, squared")
    second = yield Asked(square, {"x": first.outputs["y"]}, {}, f"{x}, squared twice")
    return parse(store.read(second.outputs["y"]))


def lone(store: Store, asked: Asked) -> Chain[object]:
    """One run."""
    done = yield asked
    (output,) = done.outputs.values()
    return parse(store.read(output))


def entries(store: Store) -> list[tuple[object, ...]]:
    """What the ledger says was done, but for when."""
    keep = ("transformation", "u", "c", "z", "id", "version", "lineage", "owner")
    return [(e.kind, *(e.body.get(name) for name in keep)) for e in store.entries()]


def recorder_on(store: Store, root: Path, **changes: object) -> Recorder:
    fields = {"endpoint": "docs", "owner": "search", "environment": "sha256:here", "seed": 0}
    return Recorder(store=store, root=root, **{**fields, **changes})  # type: ignore[arg-type]  # a test's own keywords


def test_chains_come_to_the_same_whatever_the_number_of_processes(tmp_path: Path) -> None:
    """Results, ledger and what the recorder tells; a run that two chains ask for is made once."""
    numbers = (3.5, 2, 0.1, 2, 7)
    seen = []
    for processes in (1, 2, 4):
        told: list[tuple[str, str]] = []
        with Store.open(tmp_path / str(processes), create=True) as store:
            recorder = recorder_on(store, tmp_path, on_start=lambda *said: told.append(said))  # noqa: B023
            chains = [fourth_power(store, x) for x in numbers]
            results = follow_all(recorder, chains, processes=processes)
            seen.append((results, entries(store), told, [r.reused for r in recorder.runs]))
    assert seen[0] == seen[1] == seen[2]
    results, _, told, reused = seen[0]
    assert results == pytest.approx([x**4 for x in numbers])
    assert reused == [False, False, False, True, False] * 2
    assert [detail for _, detail in told[:4]] == [f"{x}, squared" for x in (3.5, 2, 0.1, 7)]


def test_a_helper_works_while_this_process_does(
    store: Store, recorder: Recorder, tmp_path: Path
) -> None:
    """Two that wait for each other: in turns neither would end. Then the helper is gone."""
    both = [lone(store, Asked(meet, {}, {"me": i, "you": 1 - i})) for i in (0, 1)]
    pids = follow_all(recorder, both, processes=2)
    assert len(set(pids)) == 2
    assert os.getpid() in pids
    (helper,) = set(pids) - {os.getpid()}
    assert not psutil.pid_exists(int(str(helper)))


@pytest.mark.parametrize(("chains", "processes"), [(3, 1), (1, 8), (0, 8)])
def test_where_nothing_can_go_side_by_side_there_are_no_helpers(
    chains: int, processes: int, store: Store, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One core, one chain, or none at all."""
    monkeypatch.setattr("headgate.optimize.ahead.subprocess.Popen", None)
    asked = [fourth_power(store, x) for x in range(chains)]
    assert follow_all(recorder, asked, processes=processes) == [x**4 for x in range(chains)]


def test_what_is_recorded_starts_no_helpers(
    store: Store, new_recorder: NewRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is run again takes no longer than before there were any."""
    for x in (1, 2, 3):
        follow(new_recorder(), fourth_power(store, x))
    monkeypatch.setattr("headgate.optimize.ahead.subprocess.Popen", None)
    again = new_recorder()
    chains = [fourth_power(store, x) for x in (1, 2, 3)]
    assert follow_all(again, chains, processes=2) == [1, 16, 81]
    assert all(run.reused for run in again.runs)


def test_what_a_helper_does_not_finish_is_done_here(store: Store, recorder: Recorder) -> None:
    """It may be killed for its memory; the others are not told of it."""
    chains = [lone(store, Asked(die, {}, {"x": x})) for x in range(3)]
    assert follow_all(recorder, chains, processes=2) == [0, 1, 2]


def test_where_no_helper_can_be_started_all_is_done_here(
    store: Store, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on processes, or no memory for another."""

    def refused(*args: object, **kwargs: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr("headgate.optimize.ahead.subprocess.Popen", refused)
    chains = [fourth_power(store, x) for x in (1, 2, 3)]
    assert follow_all(recorder, chains, processes=3) == [1, 16, 81]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_an_error_is_raised_in_its_turn(processes: int, store: Store, recorder: Recorder) -> None:
    """What comes before it is recorded, what comes after is not, and the failure is entered."""
    chains = [lone(store, Asked(fail, {}, {"x": x})) for x in range(3)]
    with pytest.raises(EngineError, match="no kernel for Erf"):
        follow_all(recorder, chains, processes=processes)
    assert [e.body["c"]["x"] for e in store.entries("run")] == [0]
    assert [e.body["what"] for e in store.entries("failure")] == ["no kernel for Erf"]


PARENT = """
import signal
import sys
from pathlib import Path
from headgate.ledger import Store
from headgate.optimize.chains import follow_all
from tests.unit.optimize.test_chains import Asked, hang, lone, recorder_on
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
root = Path(sys.argv[1])
with Store.open(root / ".headgate") as store:
    chains = [lone(store, Asked(hang, {}, {"x": x})) for x in range(2)]
    follow_all(recorder_on(store, root), chains, processes=2)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_job_leaves_no_helper_and_a_store_that_goes_on(
    how: signal.Signals, store: Store, recorder: Recorder, tmp_path: Path
) -> None:
    """Killed while both work: the helper goes too, nothing is recorded, all of it can be done."""
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:
        try:
            said = [tmp_path / "helper", tmp_path / "parent"]
            until(lambda: all(path.exists() and path.read_text() for path in said))
            helper = int(said[0].read_text())
            parent.send_signal(how)
            assert parent.wait(PATIENCE_S) != 0
        finally:
            parent.kill()
    until(lambda: gone(helper))
    assert [*store.entries()] == []
    (tmp_path / "let-go").touch()
    chains = [lone(store, Asked(hang, {}, {"x": x})) for x in range(2)]
    assert follow_all(recorder, chains, processes=2) == [0, 1]
    assert store.verify().ok


def gone(pid: int) -> bool:
    """A zombie has ended too, whoever should have waited for it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
