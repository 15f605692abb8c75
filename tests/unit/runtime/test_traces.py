"""Traces: kept in a ring, written in batches, dropped only with a count."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from headgate.runtime import Metrics, Trace, TraceLog


def trace(request_id: str = "r") -> Trace:
    return Trace(
        request_id=request_id,
        at=datetime.fromtimestamp(0.25, UTC),
        tenant="",
        status=200,
        source="engine",
        items=2,
        tokens=10,
        batch_size=4,
        read_s=0.1,
        encode_s=0.2,
        queue_s=0.3,
        engine_s=0.4,
        respond_s=0.5,
        total_s=1.5,
        device_s=0.2,
    )


def test_a_record_carries_the_versions_and_the_time() -> None:
    """What is constant is stored once and joined when a record is read."""
    log = TraceLog({"release": "e@1", "build": "sha256:b"}, Metrics())
    log.record(trace())
    (record,) = log.recent()
    assert record["release"] == "e@1"
    assert record["build"] == "sha256:b"
    assert record["at"] == "1970-01-01T00:00:00.250000Z"
    assert record["request_id"] == "r"
    assert record["device_s"] == 0.2


def test_the_ring_keeps_the_latest() -> None:
    """Bounded: the oldest records go first."""
    log = TraceLog({}, Metrics(), ring=2)
    for name in "abc":
        log.record(trace(name))
    assert [r["request_id"] for r in log.recent()] == ["b", "c"]


def test_everything_reaches_the_sink_by_the_end() -> None:
    """Closing writes what is left."""
    written: list[bytes] = []

    async def scenario() -> None:
        log = TraceLog({"release": "e@1"}, Metrics(), written.extend)
        log.start()
        for name in "abc":
            log.record(trace(name))
        await log.close()

    asyncio.run(scenario())
    assert [json.loads(line)["request_id"] for line in written] == ["a", "b", "c"]


def test_what_does_not_fit_is_counted() -> None:
    """Never silent: too many pending, or a sink that fails."""
    metrics = Metrics()

    def broken(lines: Sequence[bytes]) -> None:
        raise OSError("disk full")

    async def scenario() -> None:
        log = TraceLog({}, metrics, broken, max_pending=2)
        log.start()
        for name in "abc":
            log.record(trace(name))
        assert metrics.traces_dropped == 1
        await log.close()

    asyncio.run(scenario())
    assert metrics.traces_dropped == 3


def test_what_was_not_seen_yet_is_seen_once() -> None:
    """Whoever watches asks for what is new; what the ring let go is gone."""
    log = TraceLog({}, Metrics(), ring=3)
    log.record(trace("a"))
    assert [t.request_id for t in log.unseen()] == ["a"]
    assert log.unseen() == []
    for name in "bcde":
        log.record(trace(name))
    assert [t.request_id for t in log.unseen()] == ["c", "d", "e"]
