"""`headgate drill` as a user types it: a tiny real model, a real server, nobody harmed."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from headgate.cli.app import run
from headgate.ledger import Store, incidents

from .test_serve_command import store

__all__ = ["store"]  # a fixture


def test_a_drill_takes_a_bad_release_back_and_touches_nothing(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every step happened, in order, though the same promise is broken in production just now; the
    store has the drill on record and is else as it was. What a drill that was killed has left is
    gone."""
    left = store / "drill-killed" / ".headgate"
    left.mkdir(parents=True)
    (left / "ledger.sqlite").touch(mode=0o444)
    level = logging.getLogger("headgate").level
    with Store.open(store) as opened:
        before = opened.history("docs")
        release, _ = before[-1]
        promise = "invalid_rate at most 0.05 (rollback)"
        body = {"endpoint": "docs", "generation": 0, "release": release.id, "promise": promise}
        own = opened.append("incident", body)
    code = run(["drill", "--store", str(store), "--json"])
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (code, report["passed"], report["verified"]) == (0, True, True), err
    after = [step["after_s"] for step in report["steps"]]
    assert after == sorted(after)
    assert report["promise"] == promise
    assert logging.getLogger("headgate").level == level
    with Store.open(store) as opened:
        assert opened.history("docs") == before
        (incident,) = incidents(opened, "docs")
        assert (incident.opened, incident.responses, incident.recovery) == (own, [], None)
        (entry,) = opened.entries("drill")
        assert entry.body["passed"] is True
        assert entry.body["release"] == release.id
        assert opened.verify().ok
    assert not list(store.glob("drill-*"))


def test_a_drill_that_is_held_is_left_alone(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two at a time the second is refused, and takes nothing from the first."""
    held = store / "drill-held"
    held.mkdir()
    try:
        with Store.open(store) as opened, opened.lock("the drill of this store"):
            assert run(["drill", "--store", str(store)]) == 1
        assert "the drill of this store is locked by process" in capsys.readouterr().err
        assert held.exists()
    finally:
        held.rmdir()
