"""`headgate drill` as a user types it: a tiny real model, a real server, nobody harmed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.cli.app import run
from headgate.ledger import Store, incidents

from .test_serve_command import store

__all__ = ["store"]  # a fixture


def test_a_drill_takes_a_bad_release_back_and_touches_nothing(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every step happened, in order; the store has the drill on record and is else as it was."""
    with Store.open(store) as opened:
        before = opened.history("docs")
    code = run(["drill", "--store", str(store), "--json"])
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (code, report["passed"], report["verified"]) == (0, True, True), err
    after = [step["after_s"] for step in report["steps"]]
    assert after == sorted(after)
    assert report["promise"] == "invalid_rate at most 0.05"
    with Store.open(store) as opened:
        assert opened.history("docs") == before
        assert not incidents(opened, "docs"), "no incident of anybody's"
        (entry,) = opened.entries("drill")
        assert entry.body["passed"] is True
        assert entry.body["release"] == before[-1][0].id
        assert opened.verify().ok
    assert not list(store.glob("drill-*"))
