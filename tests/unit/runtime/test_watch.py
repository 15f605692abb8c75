"""A watch beside a release, look by look: what it makes of an earlier run's incidents, and of wall
clocks that are set. Nobody asks over a socket: what requests did is put where a server puts it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headgate.ledger import Incident, Store, incidents
from headgate.objects import Action, Artifact, Axis, BatchInvariance, Bound, Contract, Release
from headgate.release import WatchRule
from headgate.runtime import Deployment, Watch
from headgate.runtime.escalation import NOBODY, Receipt
from headgate.runtime.servable import Servable
from headgate.runtime.traces import Trace
from headgate.testing import ManualClock
from headgate.workload import ServiceCurve
from tests.serving import deployment, until

HOUR_S = 3600.0
IDS = itertools.count()


def contract(
    metric: str = "error_rate",
    limit: float = 0.05,
    action: Action = Action.ESCALATE,
    to: str = "webhook:x",
) -> Contract:
    return Contract(
        metric, Axis.SAFETY, Bound.AT_MOST, limit, "a reason", action, to, "previous", min_n=10
    )


def over(status: int) -> Trace:
    return Trace(
        f"r{next(IDS)}", datetime.now(UTC), "", status, "engine", 1, 3, 1,
        0.0, 0.0, 0.0, 0.001, 0.0, 0.001, 0.001,
    )  # fmt: skip


@dataclass
class World:
    """Two releases of ``words``, an hour old, and an owner. ``step_s`` is how far somebody has set
    the wall clock."""

    store: Store
    told: list[Mapping[str, object]] = field(default_factory=list)
    reachable: bool = True
    clock: ManualClock = field(default_factory=ManualClock)
    step_s: float = 0.0

    def deliver(self, to: str, message: Mapping[str, object]) -> Receipt:
        if to == NOBODY or not self.reachable:
            return Receipt(to, False, None, "nobody is there")
        self.told.append(message)
        return Receipt(to, True, 204, "webhook answered 204")

    def wall(self) -> float:
        made = next(self.store.entries("artifact")).recorded_at
        return datetime.fromisoformat(made).timestamp() + HOUR_S + self.clock.now_s() + self.step_s

    def incidents(self) -> list[Incident]:
        return list(incidents(self.store, "words"))

    def watches(self) -> int:
        return len(list(self.store.entries("watch")))

    def responses(self) -> list[tuple[str, str]]:
        """Action and outcome of each, of all incidents."""
        found = (r.body for i in self.incidents() for r in i.responses)
        return [(body["action"], body["outcome"]) for body in found]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
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
        found = World(store)
        monkeypatch.setattr("headgate.runtime.responses.deliver", found.deliver)
        yield found


class Run:
    """One run of a server that watches; ``see`` is a look a second."""

    def __init__(self, world: World, *contracts: Contract) -> None:
        self._world = world
        self.watch = Watch(
            world.store,
            WatchRule(contracts),
            interval_s=10 * HOUR_S,  # the tests look
            clock=world.clock.now_s,
            wall=world.wall,
        )
        self.deployment: Deployment
        self._running: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """What is current answers from now on."""
        await self.stop()
        current = self._world.store.current("words")
        assert current is not None
        served = self.deployment = replace(deployment(), generation=current.generation)
        await served.start()
        before = self._world.watches()
        self._running = asyncio.create_task(self.watch.run(lambda: served))
        await until(lambda: self._world.watches() > before)

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            await self.deployment.close()

    def see(self, seconds: int, status: int = 200) -> None:
        for _ in range(seconds):
            self._world.clock.advance(1.0)
            for _ in range(20):
                self.deployment.traces.record(over(status))
            self.watch.look()


def lived(world: World, scenario: Callable[[Run], Awaitable[None]], *contracts: Contract) -> None:
    """``scenario`` with what is current, from the start of a server to its end."""

    async def run() -> None:
        one = Run(world, *contracts)
        await one.serve()
        try:
            await scenario(one)
        finally:
            await one.stop()
            await one.watch.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def broken_once(world: World, *contracts: Contract) -> None:
    """A run in which every request fails, until all that follows from it is on record."""

    async def scenario(run: Run) -> None:
        run.see(30, status=500)
        await until(lambda: all(i.responses for i in world.incidents()) and bool(world.incidents()))

    lived(world, scenario, *contracts)


async def nothing(run: Run) -> None:
    """A server starts and ends."""


def test_a_wall_clock_that_is_set_neither_fires_nor_silences(world: World) -> None:
    """A year on and back within a minute opens nothing; what is too old is told though; and setting
    the clock back for half a minute does not close it. Other promises are watched all along."""
    age, errors = contract("age", 2 * HOUR_S), contract("error_rate", 0.05, Action.WARN)

    async def scenario(run: Run) -> None:
        run.see(100)
        world.step_s = 365 * 24 * HOUR_S
        run.see(30)
        assert run.deployment.metrics.breaches == {"age": 0, "error_rate": 0}
        world.step_s = 0.0
        run.see(100)
        assert run.deployment.metrics.breaches == {"age": 0, "error_rate": 0}
        world.step_s = 3 * HOUR_S
        run.see(61)
        assert run.deployment.metrics.breaches == {"age": 1, "error_rate": 0}
        world.step_s = 0.0
        run.see(30, status=500)
        assert run.deployment.metrics.breaches == {"age": 1, "error_rate": 1}
        assert run.deployment.metrics.open_incidents() == 2

    lived(world, scenario, age, errors)
    assert [i.recovery for i in world.incidents()] == [None, None]


def test_a_machine_that_slept_is_told_of_age_alone(world: World) -> None:
    """A week passes in no time: what requests did before and after is one window, and no more; the
    age is known again after a minute."""
    age, errors = contract("age", 24 * HOUR_S), contract("error_rate", 0.05)

    async def scenario(run: Run) -> None:
        run.see(100)
        world.step_s = 7 * 24 * HOUR_S
        run.see(1, status=500)
        run.see(59)
        assert run.deployment.metrics.breaches == {"age": 0, "error_rate": 0}
        run.see(2)
        assert run.deployment.metrics.breaches == {"age": 1, "error_rate": 0}

    lived(world, scenario, age, errors)


def test_an_incident_whose_promise_left_the_file_is_withdrawn(world: World) -> None:
    """With the reason, at the next start; nothing is said to have recovered, nobody is called. If
    it is promised again, it is watched afresh, and an incident is another one."""
    promise, other = contract(), contract("invalid_rate")
    broken_once(world, promise)
    told = len(world.told)
    lived(world, nothing, other)
    (incident,) = world.incidents()
    assert (incident.recovery, incident.withdrawn, incident.open) == (None, True, False)
    body = incident.responses[-1].body
    assert (body["action"], body["said"]) == ("withdraw", "that is promised no more")
    assert len(world.told) == told
    broken_once(world, promise)
    assert [i.open for i in world.incidents()] == [False, True]
    assert world.store.verify().ok


def test_a_changed_action_is_no_reason_to_act_on_old_evidence(world: World) -> None:
    """What was to be warned of is to be rolled back from now on: the incident is withdrawn, and no
    release is taken back for what was seen before."""
    broken_once(world, contract(action=Action.WARN))
    lived(world, nothing, contract(action=Action.ROLLBACK))
    assert world.responses() == [("warn", "done"), ("withdraw", "done")]
    assert len(world.store.history("words")) == 2


def test_incidents_that_several_servers_left_are_all_closed(world: World) -> None:
    """Two servers of one endpoint have opened one each; the run that goes on with both closes both,
    by the same evidence, and tells the owner once."""
    promise = contract()
    broken_once(world, promise)
    first = world.incidents()[0].opened
    twin = world.store.append("incident", first.body)
    receipt = {"action": "escalate", "outcome": "done", "event": "breach", "to": "webhook:x"}
    world.store.append("response", {"incident": twin.id, **receipt})
    world.told.clear()

    async def scenario(run: Run) -> None:
        assert run.deployment.metrics.open_incidents() == 1
        run.see(200)
        await until(lambda: len(world.told) == 1)

    lived(world, scenario, promise)
    assert [i.opened.id for i in world.incidents()] == [first.id, twin.id]
    assert all(i.recovery is not None for i in world.incidents())
    assert [message["event"] for message in world.told] == ["recovery"]


def test_the_owner_hears_of_what_an_earlier_run_rolled_back(world: World) -> None:
    """It died between the rollback and the message, or reached nobody: the next run tells, once,
    though another release answers; and rolls nothing back for it."""
    world.reachable = False
    promise = contract(action=Action.ROLLBACK)

    async def scenario(run: Run) -> None:
        run.see(30, status=500)
        await until(lambda: ("rollback", "done") in world.responses())

    lived(world, scenario, promise)
    world.reachable = True

    async def told(run: Run) -> None:
        await until(lambda: bool(world.told))

    lived(world, told, promise)
    lived(world, nothing, promise)
    (message,) = world.told
    assert (message["release"], message["action"]) == ("words@1", "rollback")
    assert message["outcome"] == "done"
    assert len(world.store.history("words")) == 3


def test_what_was_refused_is_not_tried_at_every_start(world: World) -> None:
    """No command is declared, and none is at the next start. A server that is started again and
    again pages nobody again and again."""
    left(world, contract(action=Action.RETRAIN))

    async def told(run: Run) -> None:
        await until(lambda: len(world.responses()) == 2)

    lived(world, told, contract(action=Action.RETRAIN))
    lived(world, nothing, contract(action=Action.RETRAIN))
    assert sorted(world.responses()) == [("escalate", "done"), ("retrain", "no_command")]
    assert len(world.told) == 1


def left(world: World, promise: Contract, *responses: Mapping[str, object]) -> str:
    """The incident that an earlier run left open about generation 1, and what it did."""
    opened = {
        "endpoint": "words", "generation": 1, "release": world.store.history("words")[1][0].id,
        "promise": promise.promise, "value": 1.0, "low": 0.5, "n": 100, "since_s": 5.0,
        "requests": [], "because": "it failed",
    }  # fmt: skip
    incident = world.store.append("incident", opened).id
    for response in responses:
        world.store.append("response", {"incident": incident, "said": "", **response})
    return incident


TOLD = {"action": "escalate", "outcome": "done", "event": "breach", "to": "webhook:x"}


def test_that_something_is_under_way_is_not_how_it_ended(world: World) -> None:
    """The server died after the owner heard of a rollback that took long, and before they heard
    what came of it: the next run tells, once."""
    promise = contract(action=Action.ROLLBACK)
    left(world, promise, {**TOLD, "told": "under_way"}, {"action": "rollback", "outcome": "done"})
    back = world.store.history("words")[0][1].variant
    world.store.promote(Release("words", 2, back, None), expected_generation=1)

    async def told(run: Run) -> None:
        await until(lambda: bool(world.told))

    lived(world, told, promise)
    lived(world, nothing, promise)
    (message,) = world.told
    assert (message["release"], message["outcome"]) == ("words@1", "done")
    (incident,) = world.incidents()
    assert incident.responses[-1].body["told"] == "done"


@pytest.mark.parametrize(("exit_status", "owed"), [(3, False), (-15, True), (None, True)])
def test_a_command_that_ended_by_itself_is_not_run_again(
    world: World, exit_status: int | None, owed: bool
) -> None:
    """One that failed would fail at every start; one that was ended with the server, or could not
    be begun, is owed."""
    promise = contract(action=Action.RETRAIN)
    left(world, promise, TOLD,
         {"action": "retrain", "outcome": "failed", "exit_status": exit_status})  # fmt: skip
    lived(world, nothing, promise)
    assert (("retrain", "no_command") in world.responses()) is owed


def test_wrong_hits_are_withdrawn_where_there_is_no_cache(world: World) -> None:
    """The release that answers has none: that is on record."""
    promise = contract("wrong_hit_rate")
    left(world, promise, TOLD)
    lived(world, nothing, promise)
    (incident,) = world.incidents()
    assert incident.withdrawn
    assert incident.responses[-1].body["said"] == "the release that answers now keeps no answers"


def test_where_nobody_can_be_told_no_start_tries_again(world: World) -> None:
    """Without a headgate.yaml there is nobody: that is on record once, not at every start."""
    promise = contract(to=NOBODY)
    broken_once(world, promise)
    lived(world, nothing, promise)
    assert world.responses() == [("escalate", "failed")]


def test_an_incident_of_a_release_that_is_gone_is_closed_by_the_one_that_answers(
    world: World,
) -> None:
    """Rolled back, taken over, shown to keep the promise: the chain of one incident, by hand."""
    promise = contract(action=Action.ROLLBACK)

    async def scenario(run: Run) -> None:
        run.see(30, status=500)
        await until(lambda: ("rollback", "done") in world.responses())
        await run.serve()
        run.see(200)
        await until(lambda: world.incidents()[0].recovery is not None)

    lived(world, scenario, promise)
    (incident,) = world.incidents()
    assert incident.opened.body["generation"] == 1
    assert incident.recovery is not None
    assert incident.recovery.body["generation"] == 2
    assert incident.opened.body["promise"] == promise.promise
