"""Entries on their way: in order, again and again, and nothing lost without a count."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from headgate.errors import Fault
from headgate.ledger import Store
from headgate.ledger.signing import SigningKey
from headgate.runtime import Metrics
from headgate.runtime.journal import Journal


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / ".headgate", create=True) as opened:
        yield opened


def test_entries_are_written_in_order_and_know_those_before(store: Store) -> None:
    """A body is made when its turn has come: by then the id of what it belongs to is known."""

    async def scenario() -> None:
        journal = Journal(store, Metrics())
        first = journal.write("incident", lambda: {"n": 1})
        second = journal.write("response", lambda: {"incident": first.result()})
        assert await second is not None
        await journal.close()

    asyncio.run(scenario())
    first, second = store.entries()
    assert second.body["incident"] == first.id


def test_a_full_disk_keeps_entries_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure is counted, and once it can be written it is."""
    metrics, append, refusals = Metrics(), store.append, [Fault("no space left")] * 2

    def failing(kind: str, body: Mapping[str, object], **options: Any) -> object:
        if refusals:
            raise refusals.pop()
        return append(kind, body)

    monkeypatch.setattr(store, "append", failing)

    async def scenario() -> None:
        journal = Journal(store, metrics, pause_s=0.001)
        assert await journal.write("incident", lambda: {"n": 1}) is not None
        await journal.close()

    asyncio.run(scenario())
    assert metrics.watch_failures["ledger"] == 2
    assert metrics.watch_failures["lost"] == 0
    assert len(list(store.entries())) == 1


def test_what_was_written_is_signed_off_the_loop_once_nothing_waits(store: Store) -> None:
    """One signature for entries that came together, another for one that came while it was made."""
    key, threads = SigningKey.generate(), set[int]()

    async def scenario() -> None:
        journal = Journal(store, Metrics(), sign=sign)
        together = [journal.write("incident", dict) for _ in range(3)]
        await asyncio.wait(together)
        await journal.write("response", lambda: {"n": 3})
        await journal.close()

    def sign() -> None:
        threads.add(threading.get_ident())
        store.checkpoint(key)

    asyncio.run(scenario())
    kinds = [entry.kind for entry in store.entries()]
    assert kinds == ["incident"] * 3 + ["checkpoint", "response", "checkpoint"]
    assert threading.get_ident() not in threads
    assert store.verify(keys=[key.public]).unsigned == 0


def test_where_signing_fails_the_record_stands(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and told, and the next entry is written and signed all the same."""
    metrics, key, refusals = Metrics(), SigningKey.generate(), [Fault("the key is out of reach")]

    def sign() -> None:
        if refusals:
            raise refusals.pop()
        store.checkpoint(key)

    async def scenario() -> None:
        journal = Journal(store, metrics, sign=sign)
        await journal.write("incident", lambda: {"n": 1})
        await journal.write("response", lambda: {"n": 2})
        await journal.close()

    asyncio.run(scenario())
    assert metrics.watch_failures["signing"] == 1
    assert "not signed: the key is out of reach" in caplog.text
    assert [entry.kind for entry in store.entries()] == ["incident", "response", "checkpoint"]


def test_what_has_no_canonical_form_does_not_hold_up_the_others(store: Store) -> None:
    """It is lost, which is counted; what comes after it is written."""
    metrics = Metrics()

    async def scenario() -> None:
        journal = Journal(store, metrics)
        lost = journal.write("incident", lambda: {"n": object()})
        kept = journal.write("incident", lambda: {"n": 2})
        assert (await lost, await kept is None) == (None, False)
        await journal.close()

    asyncio.run(scenario())
    assert metrics.watch_failures["lost"] == 1


def test_what_still_waits_at_the_end_is_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that stays full does not keep a server from ending."""
    metrics = Metrics()

    def failing(kind: str, body: object, **options: Any) -> object:
        raise Fault("no space left")

    monkeypatch.setattr(store, "append", failing)

    async def scenario() -> None:
        journal = Journal(store, metrics, pause_s=60.0)
        waiting = [journal.write("incident", lambda: {"n": 1}) for _ in range(3)]
        await journal.close(within_s=0.01)
        assert [done.result() for done in waiting] == [None, None, None]

    asyncio.run(scenario())
    assert metrics.watch_failures["lost"] == 3


def test_an_entry_that_cannot_be_made_does_not_hold_up_the_others(store: Store) -> None:
    """Whatever is wrong with it, and not with the disk: what comes after it is written."""
    metrics = Metrics()

    def missing() -> Mapping[str, object]:
        raise KeyError("value")

    async def scenario() -> None:
        journal = Journal(store, metrics)
        lost = journal.write("incident", missing)
        kept = journal.write("incident", lambda: {"n": 2})
        assert (await lost, await kept is None) == (None, False)
        await journal.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert metrics.watch_failures["lost"] == 1
