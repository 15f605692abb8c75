"""incidents: which promises were broken, and what was done; show has the evidence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.ledger import Store

from .conftest import Cli, Ids


def opened(root: Path, *, closed: bool) -> str:
    """An incident of generation 0, rolled back in vain; the id of its entry."""
    with Store.open(root / ".headgate") as store:
        ((release, _),) = store.history("docs")
        incident = store.append(
            "incident",
            {
                "endpoint": "docs",
                "generation": 0,
                "release": release.id,
                "promise": "latency_p95 at most 0.1",
                "at": "2026-01-01T10:00:00.000Z",
                "requests": ["r1", "r2"],
                "because": "requests that took longer than 100 ms, or failed: 31 %",
            },
        )
        for action, outcome in (("rollback", "nothing_to_roll_back_to"), ("escalate", "done")):
            store.append(
                "response", {"incident": incident.id, "action": action, "outcome": outcome}
            )
        if closed:
            store.append("recovery", {"incident": incident.id, "release": release.id, "n": 90})
        assert store.verify().ok
    return incident.id


def test_incidents_are_listed_with_what_was_done(
    cli: Cli, ids: Ids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newest first, and whether they are over."""
    monkeypatch.setenv("COLUMNS", "120")
    opened(tmp_path, closed=True)
    opened(tmp_path, closed=False)
    said = cli("incidents").out.splitlines()
    assert said[0] == "docs  2 incidents, 1 open; times are UTC"
    assert said[2].endswith("open")
    assert "latency_p95 at most 100 ms" in said[2]
    listed = json.loads(cli("incidents", "--json").out)
    assert [incident["recovery"] is None for incident in listed] == [False, True]
    outcomes = [response["body"]["outcome"] for response in listed[0]["responses"]]
    assert outcomes == ["nothing_to_roll_back_to", "done"]


def test_no_incident_is_one_line(cli: Cli, ids: Ids) -> None:
    """Nothing to list is no table."""
    assert cli("incidents").out == "docs  0 incidents, 0 open; times are UTC"


def test_an_incident_is_shown_with_its_responses(cli: Cli, ids: Ids, tmp_path: Path) -> None:
    """One id is enough to see what was seen, what was done, and how it ended."""
    incident = opened(tmp_path, closed=True)
    shown = json.loads(cli("show", incident, "--json").out)
    assert list(shown["content"]) == ["response 1", "response 2", "recovery"]
    assert "latency_p95 at most 0.1" in cli("show", incident).out


def test_a_withdrawn_incident_is_neither_open_nor_closed_by_evidence(
    cli: Cli, ids: Ids, tmp_path: Path
) -> None:
    """The reason is in its responses."""
    incident = opened(tmp_path, closed=False)
    with Store.open(tmp_path / ".headgate") as store:
        withdrawn = {"action": "withdraw", "outcome": "done", "said": "that is promised no more"}
        store.append("response", {"incident": incident, **withdrawn})
    said = cli("incidents").out.splitlines()
    assert said[0] == "docs  1 incident, 0 open; times are UTC"
    assert said[2].endswith("withdrawn")
    (listed,) = json.loads(cli("incidents", "--json").out)
    assert (listed["state"], listed["recovery"]) == ("withdrawn", None)
    assert "that is promised no more" in cli("show", incident).out


def test_evidence_goes_before_a_withdrawal_and_the_first_evidence_before_others(
    cli: Cli, ids: Ids, tmp_path: Path
) -> None:
    """Servers of one endpoint watch each for itself, and may close one incident twice."""
    incident = opened(tmp_path, closed=True)
    with Store.open(tmp_path / ".headgate") as store:
        store.append("recovery", {"incident": incident, "n": 7})
        withdrawn = {"action": "withdraw", "outcome": "done", "said": "that is promised no more"}
        store.append("response", {"incident": incident, **withdrawn})
    (listed,) = json.loads(cli("incidents", "--json").out)
    assert listed["state"] == "closed"
    assert listed["recovery"]["body"]["n"] == 90
