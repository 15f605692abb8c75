"""What is done about a breach, where the world is not as the watch left it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from headgate.errors import Busy, Fault
from headgate.ledger import Store, incidents
from headgate.objects import Action, Axis, Bound, Contract, Release
from headgate.release import Breach, Recovery, Terms
from headgate.runtime import Metrics
from headgate.runtime.escalation import Receipt
from headgate.runtime.journal import Journal
from headgate.runtime.receiver import Receiver
from headgate.runtime.responses import Patience, Responses, Standing
from headgate.runtime.retraining import Retrain, Retraining
from tests.serving import until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Generations 0, 1 and 2 of ``docs``."""
    with Store.open(tmp_path / ".headgate", create=True) as opened:
        for generation in range(3):
            variant = opened.put_bytes(b"variant %d" % generation)
            opened.promote(
                Release("docs", generation, variant, None),
                expected_generation=generation - 1 if generation else None,
            )
        yield opened


def broken(store: Store, generation: int, action: Action) -> Mapping[str, object]:
    """What was done first about a breach by ``generation``: the response, as it is recorded."""
    entry, release = store.history("docs")[generation]
    standing = Standing("docs", generation, release.variant, entry.id, None, 0.0, Terms())

    async def scenario(owner: Receiver) -> None:
        contract = Contract(
            "error_rate", Axis.SAFETY, Bound.AT_MOST, 0.01, "why", action, owner.escalation, "it"
        )
        journal = Journal(store, Metrics())
        responses = Responses(store, journal, Metrics(), patience=Patience((0.001, 0.001)))
        watch = journal.write("watch", lambda: {"endpoint": "docs"})
        breach = Breach(contract, generation, action, False, 0.5, 0.1, 60, 3.0, ("r1",), "it fails")
        responses.breach(breach, standing, watch)
        await until(lambda: bool(owner.got))
        await responses.close()
        await journal.close()

    with Receiver() as owner:
        asyncio.run(asyncio.wait_for(scenario(owner), 60))
    (incident,) = incidents(store, "docs")
    assert store.verify().ok
    done = next(r.body for r in incident.responses if r.body["action"] == action)
    told = next(r.body for r in incident.responses if r.body["action"] == "escalate")
    assert told["outcome"] == "done"
    return done


def test_what_was_promoted_meanwhile_is_not_taken_back(store: Store) -> None:
    """Generation 1 broke the promise; generation 2, which has replaced it, has done nothing."""
    assert broken(store, 1, Action.ROLLBACK)["outcome"] == "generation_moved"
    assert len(store.history("docs")) == 3


def test_at_the_baseline_there_is_nothing_to_roll_back_to(store: Store) -> None:
    """Which is on record; the owner has been told."""
    baseline = store.history("docs")[0][1].variant
    store.promote(
        Release("docs", 3, baseline, None, extra={"restores": "0"}), expected_generation=2
    )
    assert broken(store, 3, Action.ROLLBACK)["outcome"] == "nothing_to_roll_back_to"


def test_a_ledger_that_is_held_is_asked_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process writes; at the second attempt it has done."""
    promote, held = store.promote, [Busy("another process holds the ledger")]

    def promoting(release: Release, *, expected_generation: int | None) -> object:
        if held:
            raise held.pop()
        return promote(release, expected_generation=expected_generation)

    monkeypatch.setattr(store, "promote", promoting)
    assert broken(store, 2, Action.ROLLBACK)["outcome"] == "done"
    assert [r.extra.get("restores") for _, r in store.history("docs")][-1] == "1"


def test_retraining_without_a_command_is_said(store: Store) -> None:
    """Nothing is made up; the owner has been told."""
    assert broken(store, 2, Action.RETRAIN)["outcome"] == "no_command"


@dataclass
class Owner:
    """Who is told. Nobody listens while ``mute`` is set; nobody is there while ``away`` is."""

    told: list[Mapping[str, object]] = field(default_factory=list)
    attempts: int = 0
    mute: threading.Event = field(default_factory=threading.Event)
    away: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)

    def deliver(self, to: str, message: Mapping[str, object]) -> Receipt:
        self.attempts += 1
        if self.mute.is_set():
            self.free.wait(60)
        if self.away.is_set():
            return Receipt(to, False, None, "unreachable")
        self.told.append(message)
        return Receipt(to, True, 204, "webhook answered 204")


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Owner]:
    found = Owner()
    monkeypatch.setattr("headgate.runtime.responses.deliver", found.deliver)
    yield found
    found.free.set()


QUICK = Patience(
    (0.001,), later_act_s=0.001, later_tell_s=0.001, soon_s=0.001, written_s=0.001, takeover_s=0.001
)


class Acting:
    """Responses to what generation 2 of ``docs`` does."""

    def __init__(
        self, store: Store, patience: Patience = QUICK, retrain: Retrain | None = None
    ) -> None:
        entry, release = store.history("docs")[2]
        self.standing = Standing("docs", 2, release.variant, entry.id, None, 0.0, Terms())
        self.metrics = Metrics()
        self.journal = Journal(store, self.metrics)
        retraining = None if retrain is None else Retraining(store, retrain)
        self.responses = Responses(
            store, self.journal, self.metrics, retraining=retraining, patience=patience
        )
        self._watch = self.journal.write("watch", lambda: {"endpoint": "docs"})

    def breaks(self, action: Action, metric: str = "error_rate") -> Contract:
        """The contract that it breaks."""
        contract = Contract(
            metric, Axis.SAFETY, Bound.AT_MOST, 0.01, "why", action, "webhook:x", "it"
        )
        breach = Breach(contract, 2, action, False, 0.5, 0.1, 60, 3.0, ("r1",), "it fails")
        self.responses.breach(breach, self.standing, self._watch)
        return contract

    def recovers(self, contract: Contract) -> None:
        self.responses.recovery(Recovery(contract, 2, 0.0, 90, "it works"), self.standing)

    async def close(self) -> None:
        await self.responses.close()
        await self.journal.close()


def lived(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


def outcomes(store: Store) -> list[tuple[str, str]]:
    """Action and outcome of every response, in order."""
    return [(e.body["action"], e.body["outcome"]) for e in store.entries("response")]


def outcomes_told(owner: Owner) -> list[object]:
    return [message.get("outcome", message["event"]) for message in owner.told]


def test_a_rollback_waits_for_nobody_who_is_told(store: Store, owner: Owner) -> None:
    """More messages than there are threads are on their way to an owner who does not answer; the
    release is rolled back, and that is on record, before any of them has ended."""
    owner.mute.set()

    async def scenario() -> None:
        acting = Acting(store)
        for i in range(64):
            acting.breaks(Action.ESCALATE, f"metric_{i}")
        await until(lambda: owner.attempts > 0)
        acting.breaks(Action.ROLLBACK)
        await until(lambda: ("rollback", "done") in outcomes(store))
        assert owner.told == []
        owner.free.set()
        await acting.close()

    lived(scenario)
    assert [r.extra.get("restores") for _, r in store.history("docs")][-1] == "1"


def test_retraining_waits_for_nobody_who_is_told(
    store: Store, owner: Owner, tmp_path: Path
) -> None:
    """The command runs, and ends, while the owner does not answer."""
    owner.mute.set()
    retrain = Retrain(f'{sys.executable} -c "pass"', tmp_path)

    async def scenario() -> None:
        acting = Acting(store, retrain=retrain)
        acting.breaks(Action.RETRAIN)
        await until(lambda: owner.attempts > 0)
        await until(lambda: ("retrain", "done") in outcomes(store))
        assert owner.told == []
        owner.free.set()
        await acting.close()

    lived(scenario)


def test_a_rollback_is_tried_until_it_is_done_and_the_owner_hears_that_it_is_not(
    store: Store, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for longer than a few attempts: the owner is told that it is under way, and
    how it ended once there was room."""
    promote, full = store.promote, threading.Event()
    full.set()

    def promoting(release: Release, *, expected_generation: int | None) -> object:
        if full.is_set():
            raise Fault("no space left on the device")
        return promote(release, expected_generation=expected_generation)

    monkeypatch.setattr(store, "promote", promoting)

    async def scenario() -> None:
        acting = Acting(store)
        acting.responses.answering = 3
        acting.breaks(Action.ROLLBACK)
        await until(lambda: acting.metrics.watch_failures["rollback"] > 10)
        await until(lambda: outcomes_told(owner) == ["under_way"])
        full.clear()
        await until(lambda: outcomes_told(owner) == ["under_way", "done"])
        await acting.close()

    lived(scenario)
    assert outcomes(store).count(("rollback", "done")) == 1
    assert len(store.history("docs")) == 4


def test_what_is_kept_again_meanwhile_is_not_rolled_back(
    store: Store, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is held for minutes, and the release has recovered: nothing is taken back."""

    def held(release: Release, *, expected_generation: int | None) -> object:
        raise Busy("another process holds the ledger")

    monkeypatch.setattr(store, "promote", held)

    async def scenario() -> None:
        acting = Acting(store)
        contract = acting.breaks(Action.ROLLBACK)
        await until(lambda: acting.metrics.watch_failures["rollback"] > 2)
        acting.recovers(contract)
        await until(lambda: ("rollback", "moot") in outcomes(store))
        await acting.close()

    lived(scenario)
    assert outcomes_told(owner)[-1] == "recovery"
    assert len(store.history("docs")) == 3


def test_an_owner_who_is_away_for_hours_hears_the_last_word(store: Store, owner: Owner) -> None:
    """A promise breaks and recovers a hundred times meanwhile. One message waits, however many
    there were; each attempt that is given up is on record, none of those that follow is."""
    owner.away.set()

    async def scenario() -> None:
        acting = Acting(store)
        for _ in range(100):
            contract = acting.breaks(Action.ESCALATE)
            acting.recovers(contract)
        acting.breaks(Action.ESCALATE)
        entries = 3 + 1 + 101 + 100  # releases, watch, incidents, recoveries
        entries += 101 + 100  # receipts of breaches and of recoveries
        await until(lambda: len(list(store.entries())) == entries)
        await until(lambda: len(acting.responses._tasks) == 1)
        attempts = owner.attempts
        await until(lambda: owner.attempts > attempts + 10)
        assert len(list(store.entries())) == entries
        owner.away.clear()
        await until(lambda: outcomes_told(owner) == ["breach"])
        await until(lambda: outcomes(store)[-1] == ("escalate", "done"))
        assert not acting.responses._tasks
        await acting.close()

    lived(scenario)
    assert outcomes(store).count(("escalate", "failed")) == 201


def test_a_rollback_that_does_not_take_over_is_told(store: Store, owner: Owner) -> None:
    """It is done in the ledger; what it brought back cannot be loaded, say, and the bad release
    answers on. Whoever was told that it is done hears that it is not over."""

    async def scenario() -> None:
        acting = Acting(store)
        acting.responses.answering = 2
        acting.breaks(Action.ROLLBACK)
        await until(lambda: outcomes_told(owner)[-1:] == ["not_serving"])
        await acting.close()

    lived(scenario)
    assert owner.told[-1]["said"] == (
        "docs is at generation 3, which restores generation 1, and has not taken over: docs@2 "
        "answers still"
    )


def test_an_owner_who_never_answers_holds_up_no_later_word(store: Store, owner: Owner) -> None:
    """Every thread that tells hangs. An attempt is given up all the same, and so is whatever there
    is a later word on."""
    owner.mute.set()

    async def scenario() -> None:
        acting = Acting(store, replace(QUICK, attempt_s=0.001))
        for _ in range(20):
            acting.recovers(acting.breaks(Action.ESCALATE))
        acting.breaks(Action.ESCALATE)
        await until(lambda: len(acting.responses._tasks) == 1)
        await until(lambda: outcomes(store).count(("escalate", "failed")) == 41)
        owner.free.set()
        await acting.close()

    lived(scenario)
