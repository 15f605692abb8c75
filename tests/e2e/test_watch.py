"""A release that breaks its promises while it serves: real sockets, a real ledger, fake engines."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.errors import Fault
from headgate.ledger import Incident, Store, incidents
from headgate.ledger.memory import Memory
from headgate.ledger.signing import SigningKey
from headgate.objects import (
    Action,
    Artifact,
    Axis,
    BatchInvariance,
    Bound,
    Contract,
    Release,
)
from headgate.release import WatchRule
from headgate.runtime import Deployment, Watch
from headgate.runtime.receiver import Receiver
from headgate.runtime.retraining import Retrain
from headgate.runtime.servable import Servable
from headgate.workload import ServiceCurve
from tests.serving import Served, WordEngine, deployment, eventually

LOOK_S = 0.05
"""The watch's seconds are shorter here."""


def contract(
    to: str, *, metric: str = "latency_p95", limit: float = 30.0, action: Action = Action.ROLLBACK
) -> Contract:
    return Contract(
        metric, Axis.LATENCY, Bound.AT_MOST, limit, "a budget", action, to, "previous", min_n=10
    )


def wrong(out: NDArray[np.float32]) -> NDArray[np.float32]:
    """No answer; who gets none has waited for ever, so that no clock decides these tests."""
    return out * np.nan


@dataclass
class World:
    """A store with two releases of ``words``; the second is what is served first."""

    store: Store
    metrics: Callable[[], str] = str

    def versions(self) -> list[str]:
        return [release.variant for _, release in self.store.history("words")]

    def incidents(self) -> list[Incident]:
        return list(incidents(self.store, "words"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Store.open(tmp_path / ".headgate", create=True) as store:
        for generation in (0, 1):
            made = deployment()
            variant = replace(made.variant, name=f"words-{generation}")
            content = Servable(
                "words", "embed", variant, made.build, ServiceCurve(1e-3, 1e-5, 1e-6, 0.0),
                BatchInvariance.EXACT, False, None, None,
            ).content  # fmt: skip
            version = store.put_bytes(content)
            store.register(
                Artifact("words/variant", version, "variant", "json", "search", len(content))
            )
            store.promote(
                Release("words", generation, version, None),
                expected_generation=generation - 1 if generation else None,
            )
        yield World(store)


@contextmanager
def served(
    world: World,
    broken: Callable[[NDArray[np.float32]], object],
    *contracts: Contract,
    then: Callable[[NDArray[np.float32]], object] | None = None,
    **options: object,
) -> Iterator[str]:
    """Generation 1 misbehaves as ``broken`` does; what comes after it as ``then``. Asked all along
    by one caller."""
    first = replace(deployment(WordEngine(broken)), generation=1)
    seen = [1]

    def following() -> Deployment | None:
        current = world.store.current("words")
        assert current is not None
        if current.generation == seen[0]:
            return None
        seen[0] = current.generation
        after = deployment(WordEngine(then))
        return replace(after, generation=current.generation, metrics=first.metrics)

    watch = Watch(
        world.store,
        WatchRule(contracts),
        interval_s=LOOK_S,
        **options,  # type: ignore[arg-type]  # a test's own keywords
    )
    ended = threading.Event()

    def ask(url: str) -> None:
        with httpx.Client(timeout=30) as client:
            while not ended.is_set():
                client.post(f"{url}/v1/embeddings", json={"model": "words", "input": "a word"})

    with Served(first, next_release=following, watch=watch) as server:
        callers = [threading.Thread(target=ask, args=(server.url,)) for _ in range(2)]
        for caller in callers:
            caller.start()
        try:
            yield server.url
        finally:
            ended.set()
            for caller in callers:
                caller.join(30)


def heard(owner: Receiver) -> list[Mapping[str, object]]:
    """What the owner was told, but for what was under way still: on a slow disk a rollback is."""
    return [told for told in owner.got if told.get("outcome") != "under_way"]


def test_a_bad_release_is_rolled_back_and_its_owner_told(world: World) -> None:
    """Detected, taken back, told with a receipt, and closed once the release that returned has
    shown that it keeps the promise; all of it in a ledger that verifies."""
    with Receiver() as owner:
        promise = contract(owner.escalation)
        with served(world, wrong, promise) as url:
            eventually(lambda: len(heard(owner)) == 2, "the owner was not told")
            release = httpx.get(f"{url}/v1/models").headers["x-headgate-release"]
            counted = httpx.get(f"{url}/metrics").text
    assert release == "words@2"
    first, second, third = world.versions()
    assert third == first != second
    (incident,) = world.incidents()
    assert incident.recovery is not None
    breach, over = heard(owner)
    assert (breach["event"], breach["outcome"], over["event"]) == ("breach", "done", "recovery")
    assert breach["incident"] == over["incident"] == incident.opened.id
    done = {
        r.body["action"]: r.body for r in incident.responses if r.body.get("event") != "recovery"
    }
    assert {a: body["outcome"] for a, body in done.items()} == {
        "rollback": "done",
        "escalate": "done",
    }
    releases = [entry.id for entry, _ in world.store.history("words")]
    assert incident.opened.body["release"] == releases[1]
    assert done["rollback"]["release"] == incident.recovery.body["release"] == releases[2]
    assert (done["escalate"]["status"], done["escalate"]["attempts"]) == (204, 1)
    assert 1 <= len(incident.opened.body["requests"]) <= 5
    watches = list(world.store.entries("watch"))
    assert watches[0].seq < incident.opened.seq, "the rule was on record before"
    assert incident.opened.body["watch"] == watches[0].id
    assert 'headgate_breaches_total{metric="latency_p95"} 1.0' in counted
    assert 'headgate_responses_total{action="rollback",outcome="done"} 1.0' in counted
    assert "headgate_open_incidents 0.0" in counted
    assert world.store.verify().ok


def test_a_rollback_at_night_is_signed_before_anybody_types_a_command(
    world: World, tmp_path: Path
) -> None:
    """The rule, the incident, the release that returned and what came of it, under one key; and
    whoever writes the ledger anew finds that the server's signer remembers."""
    key = SigningKey.generate()
    key.write(tmp_path / "key.pem")
    with (
        Receiver() as owner,
        served(
            world, wrong, contract(owner.escalation), sign=lambda: world.store.checkpoint(key)
        ) as url,
    ):
        eventually(lambda: len(owner.got) == 2, "the owner was not told")
        counted = httpx.get(f"{url}/metrics").text
    assert 'headgate_watch_failures_total{what="signing"} 0.0' in counted
    report = world.store.verify(keys=[key.public], memory=Memory.beside(tmp_path / "key.pem"))
    assert report.ok, report.findings
    assert (report.unsigned, report.remembered) == (0, report.signed)
    (incident,) = world.incidents()
    assert incident.recovery is not None
    released = world.store.history("words")[-1][0]
    assert max(incident.recovery.seq, released.seq) <= report.signed


def test_wrong_answers_are_a_breach_of_their_own(world: World) -> None:
    """NaN is refused to the caller, counted as an invalid answer, and the release warned about."""
    with served(world, wrong, contract("webhook:http://127.0.0.1:1", metric="invalid_rate",
                                       limit=0.01, action=Action.WARN)):  # fmt: skip
        eventually(lambda: any(i.responses for i in world.incidents()), "nothing was noticed")
    (incident,) = world.incidents()
    assert [(r.body["action"], r.body["outcome"]) for r in incident.responses] == [("warn", "done")]
    assert incident.recovery is None
    assert len(world.versions()) == 2, "a warning changes nothing"


def test_a_refusing_webhook_is_tried_again(world: World) -> None:
    """Twice 503, and then it has it: three attempts on the receipt."""
    with (
        Receiver(refusals=2) as owner,
        served(world, wrong, contract(owner.escalation, action=Action.ESCALATE)),
    ):
        eventually(lambda: any(i.responses for i in world.incidents()), "nobody was told")
    (incident,) = world.incidents()
    (receipt,) = incident.responses
    assert (receipt.body["outcome"], receipt.body["attempts"]) == ("done", 3)


def test_a_release_that_returns_as_bad_is_not_taken_back_again(world: World) -> None:
    """Generation 0 is as bad: the machine is to blame, and people are asked."""
    with Receiver() as owner, served(world, wrong, contract(owner.escalation), then=wrong):
        eventually(lambda: len(heard(owner)) == 2, "the owner was not told")
    assert [told["action"] for told in heard(owner)] == ["rollback", "escalate"]
    (incident,) = world.incidents()
    assert incident.responses[-1].body["again"] is True
    assert len(world.versions()) == 3


def test_what_a_rollback_brought_back_is_not_rolled_back_further(world: World) -> None:
    """Whoever rolled back, and long ago too: its owner is told; the server goes on."""
    world.store.promote(
        Release("words", 2, world.versions()[1], None, extra={"restores": "1"}),
        expected_generation=1,
    )
    with Receiver() as owner, served(world, wrong, contract(owner.escalation), then=wrong):
        eventually(lambda: any(i.responses for i in world.incidents()), "nobody was told")
    assert [told["action"] for told in heard(owner)] == ["escalate"]
    assert len(world.versions()) == 3


def test_retraining_runs_the_declared_command_and_records_it(world: World, tmp_path: Path) -> None:
    """Its exit status, its output and its run; the owner hears of it."""
    script = "import pathlib; pathlib.Path('ran').touch(); print('a new candidate'); exit(3)"
    command = f'{sys.executable} -c "{script}"'
    retrain = Retrain(command, tmp_path)
    with (
        Receiver() as owner,
        served(world, wrong, contract(owner.escalation, action=Action.RETRAIN), retrain=retrain),
    ):
        eventually(lambda: heard(owner), "it did not run")
    assert (tmp_path / "ran").exists()
    (incident,) = world.incidents()
    by_action = {r.body["action"]: r.body for r in incident.responses}
    told, ran = by_action["escalate"], by_action["retrain"]
    assert (heard(owner)[0]["action"], heard(owner)[0]["outcome"]) == ("retrain", "failed")
    assert (told["action"], told["outcome"]) == ("escalate", "done")
    assert (ran["action"], ran["outcome"], ran["exit_status"]) == ("retrain", "failed", 3)
    run = world.store.get(ran["run"])
    assert world.store.read(run.body["z"]["output"]) == b"a new candidate\n"
    assert world.store.verify().ok


def test_a_full_disk_stops_neither_serving_nor_telling(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner hears of the breach while nothing can be written; it is written once that can."""
    full = threading.Event()
    full.set()
    append = world.store.append

    def on_a_full_disk(kind: str, body: Mapping[str, object]) -> object:
        if full.is_set() and kind != "watch":
            raise Fault("no space left on the device")
        return append(kind, body)

    monkeypatch.setattr(world.store, "append", on_a_full_disk)
    with (
        Receiver() as owner,
        served(world, wrong, contract(owner.escalation, action=Action.ESCALATE)) as url,
    ):
        eventually(lambda: heard(owner), "the owner was not told")
        assert owner.got[0]["incident"] is None
        assert httpx.get(f"{url}/health").status_code == 200
        assert 'headgate_watch_failures_total{what="ledger"}' in httpx.get(f"{url}/metrics").text
        full.clear()
        eventually(lambda: any(i.responses for i in world.incidents()), "it was never written")
    assert world.store.verify().ok


@pytest.mark.parametrize("tried", [False, True], ids=["it died before", "the disk was full"])
def test_a_rollback_that_an_earlier_run_owes_is_made_up_for(world: World, tried: bool) -> None:
    """The incident is on record, its rollback is not, and the release that broke its promise is
    what the next run serves: it is taken back at once, whatever it does now."""
    with Receiver() as owner:
        promise = contract(owner.escalation)
        release, _ = world.store.history("words")[-1]
        owed = world.store.append(
            "incident",
            {
                "endpoint": "words",
                "generation": 1,
                "release": release.id,
                "promise": promise.promise,
                "value": 1.0,
                "low": 0.5,
                "n": 100,
                "since_s": 5.0,
                "requests": ["r1"],
                "because": "it was slow",
            },
        )
        for action, outcome in [("rollback", "failed"), ("escalate", "done")] if tried else []:
            body = {"incident": owed.id, "action": action, "outcome": outcome, "said": ""}
            world.store.append("response", body)
        with served(world, lambda out: out, promise):
            eventually(lambda: heard(owner), "the owner was not told")
    told = heard(owner)[0]
    assert (told["incident"], told["action"], told["outcome"]) == (owed.id, "rollback", "done")
    first, _, third = world.versions()
    assert third == first
    (incident,) = world.incidents()
    rollbacks = [r.body["outcome"] for r in incident.responses if r.body["action"] == "rollback"]
    assert rollbacks == (["failed", "done"] if tried else ["done"])
    assert world.store.verify().ok


def test_an_incident_outlives_the_server(world: World) -> None:
    """The next run of the server finds it open, tells nobody again, and closes it by evidence."""
    with Receiver() as owner:
        promise = contract(owner.escalation, action=Action.ESCALATE)
        with served(world, wrong, promise):
            eventually(lambda: heard(owner), "the owner was not told")
        with served(world, lambda out: out, promise):
            eventually(lambda: len(heard(owner)) == 2, "it was never closed")
    assert [told["event"] for told in heard(owner)] == ["breach", "recovery"]
    (incident,) = world.incidents()
    assert incident.recovery is not None
