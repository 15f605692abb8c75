"""What is done about a breach, where the world is not as the watch left it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from headgate.errors import Busy
from headgate.ledger import Store, incidents
from headgate.objects import Action, Axis, Bound, Contract, Release
from headgate.release import Breach, Terms
from headgate.runtime import Metrics
from headgate.runtime.journal import Journal
from headgate.runtime.receiver import Receiver
from headgate.runtime.responses import Responses, Standing
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
        responses = Responses(store, journal, Metrics(), pauses_s=(0.001, 0.001))
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
