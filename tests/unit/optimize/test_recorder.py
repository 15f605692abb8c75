"""Runs are executed once, resumed, replayed and remembered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from headgate.errors import EngineError, InputError, MissingExtra, Refused
from headgate.ledger import Store
from headgate.optimize.recorder import (
    Call,
    Failed,
    Output,
    Recorded,
    Recorder,
    clean_scratch,
    scratch,
    seconds_of,
    transformation,
)

from .conftest import NewRecorder

BEGAN = datetime(2026, 11, 28, 8, tzinfo=UTC)


@dataclass
class World:
    """What the transformations below see and do, for one test."""

    calls: list[str] = field(default_factory=list)
    fails: bool = False
    error: Exception | None = None
    answer: bytes = b"the answer"
    nap_s: float = 0.0
    at: datetime = BEGAN
    """What the wall clock shows to the recorder; it stands still but for naps."""


WORLD = World()


class Wall(datetime):
    """The type that the recorder asks for the time."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Wall:
        return cls.fromisoformat(WORLD.at.isoformat())


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world as new."""
    monkeypatch.setattr("headgate.optimize.recorder.datetime", Wall)
    WORLD.calls.clear()
    WORLD.fails, WORLD.error, WORLD.answer = False, None, b"the answer"
    WORLD.nap_s, WORLD.at = 0.0, BEGAN
    return WORLD


@transformation("test.make")
def make(call: Call) -> Mapping[str, Output]:
    """Writes a file and returns it, with some bytes; may be told to fail half-way."""
    WORLD.calls.append("make")
    (call.work_dir / "half").write_bytes(b"half")
    call.resume_dir.mkdir(parents=True, exist_ok=True)
    steps = call.resume_dir / "steps"
    steps.write_text((steps.read_text() if steps.exists() else "") + "i")
    if WORLD.fails:
        raise RuntimeError("the power went")
    out = call.work_dir / "out"
    out.write_bytes(WORLD.answer + call.store.read(call.u["in"]))
    return {
        "file": Output(out, "model", "bytes"),
        "steps": Output(steps.read_bytes(), "samples", "text"),
    }


@transformation("test.time", measures=True)
def time(call: Call) -> Mapping[str, Output]:
    """Never the same twice, as a clock."""
    WORLD.calls.append("time")
    return {"seconds": Output(os.urandom(8), "samples", "bytes")}


@transformation("test.break")
def broken(call: Call) -> Mapping[str, Output]:
    """Fails as an engine does, or as the world has it."""
    WORLD.calls.append("break")
    WORLD.at += timedelta(seconds=WORLD.nap_s)
    if WORLD.error is not None:
        raise WORLD.error
    return {"out": Output(b"made", "model", "bytes")}


def runs(store: Store) -> list[str]:
    """What the ledger says was executed."""
    return [str(e.body["transformation"]) for e in store.entries("run")]


def test_a_run_is_executed_once_and_then_reused(
    store: Store, new_recorder: NewRecorder, world: World
) -> None:
    """By the same process or by another one; each asks, and each gets the same outputs."""
    u = {"in": store.put_bytes(b"!")}
    started: list[tuple[str, str]] = []
    first = new_recorder(on_start=lambda *said: started.append(said))
    done = first.run(make, u=u, c={"k": 1}, detail="once")
    again = first.run(make, u=u, c={"k": 1}, detail="for people only")
    elsewhere = new_recorder().run(make, u=u, c={"k": 1})
    assert world.calls == ["make"]
    assert runs(store) == ["test.make"]
    assert started == [("test.make", "once")]
    assert (done.reused, again.reused, elsewhere.reused) == (False, True, True)
    assert done.entry == again.entry == elsewhere.entry
    assert done.outputs == elsewhere.outputs
    assert store.read(done.outputs["file"]) == b"the answer!"
    assert first.runs == [done, again]


def test_outputs_are_registered_with_owner_lineage_and_maker(
    store: Store, recorder: Recorder
) -> None:
    """Nothing that a run made is without an owner or a past."""
    u = {"in": store.put_bytes(b"!")}
    done = recorder.run(make, u=u, c={})
    artifact = store.artifact(done.outputs["file"])
    assert artifact is not None
    assert (artifact.id, artifact.owner, artifact.made_by, artifact.lineage) == (
        "docs/test.make/file",
        "search",
        done.entry,
        (u["in"],),
    )


@pytest.mark.parametrize(
    "change",
    ["u", "c", "environment", "seed", "code"],
)
def test_whatever_can_change_an_output_makes_it_another_run(
    change: str, store: Store, new_recorder: NewRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """z = T(u; c, e) and the seed: each of them is part of what a run is found by."""
    u, c = {"in": store.put_bytes(b"!")}, {"k": 1}
    before = new_recorder().run(make, u=u, c=c)
    fields: dict[str, object] = {}
    if change == "u":
        u = {"in": store.put_bytes(b"?")}
    elif change == "c":
        c = {"k": 2}
    elif change == "code":
        monkeypatch.setattr("headgate.optimize.recorder.code_digest", lambda module: "sha256:new")
    else:
        fields = {"environment": "sha256:there"} if change == "environment" else {"seed": 1}
    after = new_recorder(**fields).run(make, u=u, c=c)
    assert not after.reused
    assert after.entry != before.entry


def test_a_run_whose_output_is_gone_is_executed_again(
    store: Store, recorder: Recorder, world: World
) -> None:
    """An entry without its artifact is no result."""
    u = {"in": store.put_bytes(b"!")}
    done = recorder.run(make, u=u, c={})
    store.path_of(done.outputs["file"]).unlink()
    assert not recorder.run(make, u=u, c={}).reused
    assert world.calls == ["make", "make"]


def test_fresh_takes_measurements_of_time_again_once(
    store: Store, new_recorder: NewRecorder, world: World
) -> None:
    """What does not measure time is reused; what was taken in this very job is not taken again."""
    u = {"in": store.put_bytes(b"!")}
    new_recorder().run(make, u=u, c={})
    old = new_recorder().run(time, u=u, c={})
    world.calls.clear()
    fresh = new_recorder(fresh_measurements=True)
    fresh.run(make, u=u, c={})
    first, second = fresh.run(time, u=u, c={}), fresh.run(time, u=u, c={})
    assert world.calls == ["time"]
    assert old.entry != first.entry == second.entry
    assert new_recorder().run(time, u=u, c={}).entry == first.entry


def test_what_asks_a_foreign_server_is_asked_again_by_every_job(
    new_recorder: NewRecorder, store: Store
) -> None:
    """Once a job: no digest says that it is still the same one, and the run says that it asked."""
    u = {"in": store.put_bytes(b"x")}
    entries = []
    for _ in range(2):
        recorder = new_recorder()
        first = recorder.run(make, u=u, c={}, foreign=True)
        assert recorder.run(make, u=u, c={}, foreign=True).entry == first.entry
        entries.append(first.entry)
        assert store.get(first.entry).body["c"]["foreign"] is True
        assert recorder.replay(store.get(first.entry)).foreign
    assert entries[0] != entries[1]
    ours = new_recorder().run(make, u=u, c={})
    assert not ours.reused
    assert not new_recorder().replay(store.get(ours.entry)).foreign


def test_what_fails_is_not_recorded_and_can_be_resumed(
    store: Store, recorder: Recorder, world: World
) -> None:
    """No entry, no scratch; what it saved to resume from is there for the next try, then gone."""
    u = {"in": store.put_bytes(b"!")}
    work = store.root / "work" / recorder.endpoint
    world.fails = True
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the power went"):
            recorder.run(make, u=u, c={})
    assert runs(store) == recorder.runs == []
    assert [p.name.partition("-")[0] for p in work.iterdir()] == ["resume"]
    world.fails = False
    done = recorder.run(make, u=u, c={})
    assert store.read(done.outputs["steps"]) == b"iii"
    assert list(work.iterdir()) == []


def test_another_run_has_another_place_to_resume_from(
    store: Store, recorder: Recorder, world: World
) -> None:
    """Half of one run must never become half of another."""
    u = {"in": store.put_bytes(b"!")}
    world.fails = True
    with pytest.raises(RuntimeError):
        recorder.run(make, u=u, c={"k": 1})
    world.fails = False
    done = recorder.run(make, u=u, c={"k": 2})
    assert store.read(done.outputs["steps"]) == b"i"


def test_what_a_killed_process_left_is_cleaned_but_for_what_it_resumes_from(
    store: Store,
) -> None:
    """kill -9 leaves scratch behind."""
    work = store.root / "work"
    for name in ("docs/tmpabc", "docs/resume-123", "others/tmpabc"):
        (work / name).mkdir(parents=True)
        (work / name / "half").touch()
    clean_scratch(store, "docs")
    assert [p.name for p in (work / "docs").iterdir()] == ["resume-123"]
    assert [p.name for p in (work / "others").iterdir()] == ["tmpabc"]


def test_scratch_lies_in_the_store_and_goes(store: Store) -> None:
    """Nothing is written beside the store, not even for a moment."""
    with scratch(store, "docs") as directory:
        assert directory.is_relative_to(store.root)
        assert list(directory.iterdir()) == []
    assert not directory.exists()


def test_a_replay_tells_which_outputs_are_the_same(
    store: Store, recorder: Recorder, world: World
) -> None:
    """Executed again on the same inputs, compared output by output, and nothing is recorded."""
    done = recorder.run(make, u={"in": store.put_bytes(b"!")}, c={})
    before = [e.id for e in store.entries()]
    same = recorder.replay(store.get(done.entry))
    assert same.identical
    assert (same.transformation, same.entry, same.measures) == ("test.make", done.entry, False)
    world.answer = b"another answer"
    different = recorder.replay(store.get(done.entry))
    assert not different.identical
    assert {name: o.same for name, o in different.outputs.items()} == {"file": False, "steps": True}
    assert different.outputs["file"].recorded == done.outputs["file"]
    assert [e.id for e in store.entries()] == before
    assert not any(p.is_file() for p in (store.root / "work").rglob("*"))


def test_a_replay_says_what_differs_from_the_recorded_machine_and_code(
    store: Store, new_recorder: NewRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other bytes under another environment or other code are no surprise."""
    done = new_recorder().run(time, u={}, c={})
    entry = store.get(done.entry)
    here = new_recorder().replay(entry)
    assert (here.identical, here.measures) == (False, True)
    assert (here.environment_differs, here.code_differs) == (False, False)
    assert new_recorder(environment="sha256:there").replay(entry).environment_differs
    monkeypatch.setattr("headgate.optimize.recorder.code_digest", lambda module: "sha256:new")
    assert new_recorder().replay(entry).code_differs


def test_only_runs_of_known_transformations_can_be_replayed(
    store: Store, recorder: Recorder, tmp_path: Path
) -> None:
    """Anything else is refused with its id."""
    note = store.append("note", {"transformation": "test.make"})
    with pytest.raises(Refused) as caught:
        recorder.replay(note)
    assert caught.value.reason == "not_replayable"
    with pytest.raises(AssertionError, match=r"two transformations are called test\.make"):
        transformation("test.make")(make.work)


UNSUPPORTED = EngineError("no kernel for Erf\nat node 7", where="model.onnx", fix="another engine")


def test_a_failure_stands_until_something_changes(new_recorder: NewRecorder, store: Store) -> None:
    """The second run says what failed without trying; another environment or --fresh tries."""
    WORLD.error = UNSUPPORTED
    first = new_recorder(failures_stand=True)
    with pytest.raises(EngineError, match=r"no kernel for Erf\nat node 7"):
        first.run(broken, u={}, c={})
    with pytest.raises(
        EngineError, match=r"no kernel for Erf; so it was before .*--fresh"
    ) as again:
        new_recorder(failures_stand=True).run(broken, u={}, c={})
    assert (again.value.where, again.value.reason) == ("model.onnx", "engine")
    assert WORLD.calls == ["break"]
    (failure,) = store.entries("failure")
    assert (failure.body["transformation"], failure.body["what"]) == (
        "test.break",
        UNSUPPORTED.what,
    )
    assert first.runs == []

    WORLD.error = None
    fresh = new_recorder(failures_stand=True, fresh_measurements=True).run(broken, u={}, c={})
    run = store.get(fresh.entry)
    assert run.body["key"] == failure.body["key"]
    new_recorder(failures_stand=True, environment="sha256:there").run(broken, u={}, c={})
    new_recorder(failures_stand=True).run(broken, u={}, c={"options": 1})
    assert WORLD.calls == ["break"] * 4


def test_a_failure_is_no_run(new_recorder: NewRecorder, store: Store) -> None:
    """Where failures do not stand it is tried again, and entered once."""
    WORLD.error = UNSUPPORTED
    for _ in range(2):
        with pytest.raises(EngineError, match="no kernel"):
            new_recorder().run(broken, u={}, c={})
    assert WORLD.calls == ["break"] * 2
    assert len(list(store.entries("failure"))) == 1
    assert runs(store) == []


def test_what_failed_took_its_time_too_also_where_it_stands(
    new_recorder: NewRecorder, store: Store
) -> None:
    """The entry says how long, so that whoever is told of it later counts the same."""
    WORLD.error, WORLD.nap_s = UNSUPPORTED, 50.0
    first = new_recorder(failures_stand=True)
    before = first.asked
    with pytest.raises(EngineError):
        first.run(broken, u={}, c={})
    (failure,) = store.entries("failure")
    assert failure.body["seconds"] == first.seconds_since(before) == 50.0
    again = new_recorder(failures_stand=True)
    for _ in range(2):
        with pytest.raises(EngineError, match="so it was before"):
            again.run(broken, u={}, c={})
    assert again.seconds_since(frozenset()) == 50.0
    assert again.asked == {failure.id}


@transformation("test.resume")
def resume(call: Call) -> Mapping[str, Output]:
    """Goes on from an hour's work, with ten seconds more."""
    call.went_on_after(3600.0)
    WORLD.at += timedelta(seconds=10.0)
    return {"out": Output(b"trained", "model", "bytes")}


def test_what_was_done_before_a_kill_was_spent_too(new_recorder: NewRecorder) -> None:
    """The run says so beside its outputs, which are the same whether it was killed or not."""
    first = new_recorder()
    done = first.run(resume, u={}, c={})
    assert done.seconds == 3610.0
    read = new_recorder().run(resume, u={}, c={})
    assert (read.reused, read.seconds) == (True, done.seconds)
    assert first.replay(first.store.get(done.entry)).identical
    assert first.seconds_since(frozenset()) == 3610.0


def lasted(entry: str, began: int, ended: int, *, earlier_s: float = 0.0) -> Recorded:
    """A run between two seconds of a minute."""
    at = f"2026-11-28T08:00:{ended:02}.000Z"
    return Recorded("any", entry, {}, False, ended - began + earlier_s, at, earlier_s)


def test_what_runs_side_by_side_is_spent_once() -> None:
    """A budget is of the clock: here 0 to 10 s and 20 to 30, and an hour before a kill."""
    runs = [
        lasted("b", 2, 8),
        lasted("a", 0, 6),
        lasted("c", 6, 10),
        lasted("d", 20, 30, earlier_s=3600.0),
    ]
    assert seconds_of(runs) == pytest.approx(3620.0)
    assert seconds_of([*runs, *runs]) == pytest.approx(3620.0), "asked for more than once"
    failed = Failed("e", 5.0, "2026-11-28T08:00:35.000Z")
    assert seconds_of([*runs, failed]) == pytest.approx(3625.0)
    assert seconds_of([]) == 0.0


@pytest.mark.parametrize(
    "error",
    [
        InputError("it raised", where="own:step", reason="function_failed"),
        MissingExtra.of("openvino", needed_for="int8"),
        ValueError("a fault of ours"),
    ],
)
def test_what_may_pass_is_tried_again(new_recorder: NewRecorder, error: Exception) -> None:
    """A user's function may depend on anything; an extra may be installed; a fault is mended."""
    for _ in range(2):
        WORLD.error = error
        with pytest.raises(type(error)):
            new_recorder(failures_stand=True).run(broken, u={}, c={})
    assert WORLD.calls == ["break"] * 2
