"""Engines that hang in a live plane: told, left behind, replaced. The clock is the test's."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from prometheus_client import generate_latest

from headgate.errors import EngineError
from headgate.runtime import Answers, Deployment, Rejected
from tests.serving import WordEngine, deployment, expected, until


class Watched:
    """A deployment that is looked after by hand, a second at a time."""

    def __init__(self, *engines: WordEngine, **options: object) -> None:
        self.now_s = 100.0
        self.engines = engines
        self.d: Deployment = deployment(
            *engines,
            hangs_after_s=5.0,
            clock=lambda: self.now_s,
            **options,  # type: ignore[arg-type]  # a test's own keywords
        )

    def lived(self, scenario: Callable[[Watched], Awaitable[None]]) -> None:
        """Runs ``scenario`` on the deployment, started, and closes it, whatever happens."""

        async def living() -> None:
            await self.d.start()
            try:
                await asyncio.wait_for(scenario(self), 60)
            finally:
                for engine in self.engines:
                    engine.open.set()
                await asyncio.wait_for(self.d.close(), 60)

        asyncio.run(living())

    async def seconds(self, count: int) -> None:
        """Time passes while somebody looks. An engine that is not held answers its canaries."""
        for _ in range(count):
            self.now_s += 1.0
            self.d.live.look()
            await until(lambda: all(not self.engines[i].open.is_set() for i in self.proving))

    @property
    def proving(self) -> list[int]:
        return list(self.d.plane._slots.proving)  # type: ignore[attr-defined]

    async def ask(self, *texts: str) -> list[list[float]]:
        live = self.d.live
        encoded = await live.encode(texts)
        answers: Answers = await live.submit(encoded, keys=[self.d.key(e, "") for e in encoded])
        return [np.asarray(value).tolist() for value in answers.values]

    def asked(self, *texts: str) -> asyncio.Task[list[list[float]]]:
        return asyncio.create_task(self.ask(*texts))

    def metric(self, line: str) -> bool:
        return line in generate_latest(self.d.metrics.registry).decode()


def held() -> WordEngine:
    engine = WordEngine()
    engine.open.clear()
    return engine


async def entered(engine: WordEngine) -> None:
    """Until the engine has been called once more."""
    assert await asyncio.to_thread(engine.entered.acquire, timeout=30)


async def hung(task: asyncio.Task[list[list[float]]]) -> None:
    with pytest.raises(EngineError) as told:
        await task
    assert told.value.reason == "engine_hung"


def test_a_wedged_engine_is_replaced_and_its_callers_are_told() -> None:
    """They hear of it while the engine still hangs; who waited is answered by the successor."""
    wedged, successor = held(), WordEngine()

    async def scenario(w: Watched) -> None:
        first = w.asked("one", "two")
        await entered(wedged)
        waits = w.asked("three")
        await w.seconds(5)
        await hung(first)
        assert await waits == [expected("three")]
        assert await w.ask("four") == [expected("four")]
        assert successor.rows_run == 2
        assert not wedged.closed, "never under its feet"
        assert w.metric('headgate_engine_failures_total{reason="engine_hung"} 1.0')
        assert w.metric('headgate_engine_replacements_total{outcome="loaded"} 1.0')
        assert w.metric("headgate_instances_in_service 1.0")
        assert w.metric("headgate_in_flight_batches 0.0")

    Watched(wedged, successors=[successor]).lived(scenario)
    assert successor.closed


def test_an_engine_that_comes_back_late_is_heard_no_more_and_frees_itself() -> None:
    """Its answer is nobody's and is not cached; its own thread closes it and ends."""
    wedged, successor = held(), WordEngine()

    async def scenario(w: Watched) -> None:
        first = w.asked("same")
        await entered(wedged)
        await w.seconds(5)
        await hung(first)
        await until(lambda: w.d.ready)
        wedged.open.set()
        await until(lambda: wedged.closed)
        assert w.d.plane.stats().stale_events == 1  # type: ignore[attr-defined]
        assert await w.ask("same") == [expected("same")]
        assert successor.rows_run == 1
        assert w.metric("headgate_engine_seconds_count 1.0")

    Watched(wedged, successors=[successor], cache_bytes=100_000).lived(scenario)


def test_one_of_two_that_hangs_leaves_the_server_ready() -> None:
    """The other makes progress: it is slower, and that is no reason to lose it too."""
    wedged, other = held(), WordEngine()

    async def scenario(w: Watched) -> None:
        first = w.asked("one")
        await entered(wedged)
        await w.seconds(5)
        await hung(first)
        await until(lambda: w.d.live.replacements.reason is not None)
        assert w.d.ready
        assert w.metric("headgate_instances_in_service 1.0")
        assert await w.ask("two") == [expected("two")]

    Watched(wedged, other).lived(scenario)


def test_an_overdue_call_is_no_progress_even_before_anybody_looks() -> None:
    """Readiness does not wait for the next look."""
    wedged = held()

    async def scenario(w: Watched) -> None:
        first = w.asked("one")
        await entered(wedged)
        await w.seconds(4)
        assert w.d.ready
        w.now_s += 1.0
        assert w.d.unready == "an engine makes no progress"
        wedged.open.set()
        assert await first == [expected("one")]
        assert w.d.ready

    Watched(wedged).lived(scenario)


def test_a_canary_that_hangs_is_replaced_like_a_call() -> None:
    """Nobody asked anything, and the next who asks is answered."""
    wedged, successor = held(), WordEngine()

    async def scenario(w: Watched) -> None:
        await w.seconds(2)
        assert w.proving == [0]
        await w.seconds(5)
        await until(lambda: w.d.ready)
        assert await w.ask("one") == [expected("one")]
        assert w.metric('headgate_engine_failures_total{reason="engine_hung"} 1.0')

    Watched(wedged, successors=[successor]).lived(scenario)


def test_two_hang_at_once_and_both_are_replaced() -> None:
    """Each call is told, each slot filled."""
    wedged = held(), held()
    successors = WordEngine(), WordEngine()

    async def scenario(w: Watched) -> None:
        first = [w.asked("one"), w.asked("two")]
        for engine in wedged:
            await entered(engine)
        await w.seconds(5)
        for task in first:
            await hung(task)
        await until(lambda: w.metric("headgate_instances_in_service 2.0"))
        assert await w.ask("three") == [expected("three")]

    Watched(*wedged, successors=successors).lived(scenario)


def test_what_cannot_be_loaded_is_tried_again_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """Meanwhile whoever would wait for it is refused; then everything is as before."""
    wedged, successor = held(), WordEngine()
    there = threading.Event()

    def load(number: int) -> WordEngine:
        if not there.is_set():
            raise OSError("the disk is gone")
        return successor

    async def scenario(w: Watched) -> None:
        w.d.live.replacements._first_pause_s = 0.001
        first = w.asked("one")
        await entered(wedged)
        waits = w.asked("two")
        await w.seconds(5)
        await hung(first)
        with pytest.raises(Rejected) as refused:
            await waits
        assert refused.value.reason == "no_engine"
        with pytest.raises(Rejected):
            await w.ask("three")
        assert "the disk is gone" in str(w.d.unready)
        assert not w.d.beyond_repair
        await until(lambda: w.d.metrics.replacements["failed"] >= 3)
        there.set()
        await until(lambda: w.d.ready)
        assert w.d.live.replacements.reason is None
        assert await w.ask("four") == [expected("four")]

    with caplog.at_level(logging.WARNING, "headgate.runtime"):
        w = Watched(wedged)
        w.d.load_engine = load
        w.lived(scenario)
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "engine 0 hangs: its callers were told, a successor is loaded"
    assert said[1].startswith("engine 0 has no successor yet: loading: OSError: the disk is gone")
    assert said[-1] == "engine 0 has a successor"


def test_pauses_between_attempts_grow() -> None:
    """One second, two, four, and a minute at most."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds >= 1.0:
            pauses.append(seconds)
            seconds = 0.0 if len(pauses) < 9 else 1e6
        await sleep(seconds)

    wedged = held()

    async def scenario(w: Watched) -> None:
        first = w.asked("one")
        await entered(wedged)
        await w.seconds(5)
        await hung(first)
        await until(lambda: len(pauses) == 9)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headgate.runtime.replacements.asyncio.sleep", noted)
        w = Watched(wedged)
        w.d.canary_interval_s = 0.5  # below what is noted; the clock stands still between looks
        w.lived(scenario)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_where_engine_after_engine_hangs_the_process_is_to_be_restarted() -> None:
    """Four threads are left behind and a fifth: nothing more is loaded, neither ready nor live, and
    whoever waits is refused. One that comes back makes room again."""
    wedged = [held() for _ in range(5)]
    successor = WordEngine()

    async def scenario(w: Watched) -> None:
        w.d.live.replacements._first_pause_s = 0.001
        for engine in wedged:
            assert not w.d.beyond_repair
            asked = w.asked("poison for all of them")
            await entered(engine)
            await w.seconds(5)
            await hung(asked)
        await until(lambda: w.d.live.replacements.reason is not None)
        assert w.d.beyond_repair
        assert "restart the server" in str(w.d.unready)
        with pytest.raises(Rejected) as refused:
            await w.ask("anything")
        assert refused.value.reason == "no_engine"
        wedged[2].open.set()
        await until(lambda: w.d.ready)
        assert not w.d.beyond_repair
        assert await w.ask("anything") == [expected("anything")]

    w = Watched(wedged[0], successors=[*wedged[1:], successor])
    w.engines = (*wedged, successor)
    w.lived(scenario)


def test_loading_that_hangs_is_given_up_too() -> None:
    """The next attempt may succeed; what comes late is closed by its own thread."""
    wedged, late, successor = held(), WordEngine(), WordEngine()
    loading, go_on = threading.Event(), threading.Event()

    def load(number: int) -> WordEngine:
        if loading.is_set():
            return successor
        loading.set()
        assert go_on.wait(30)
        return late

    async def scenario(w: Watched) -> None:
        w.d.live.replacements._first_pause_s = 0.001
        first = w.asked("one")
        await entered(wedged)
        await w.seconds(5)
        await hung(first)
        await until(lambda: w.d.ready)
        assert await w.ask("two") == [expected("two")]
        assert not late.closed
        go_on.set()
        await until(lambda: late.closed)

    w = Watched(wedged, load_timeout_s=0.05)
    w.d.load_engine = load
    w.lived(scenario)


def test_draining_ends_though_an_engine_hangs() -> None:
    """Everybody is told or answered, and then it is over."""
    wedged, successor = held(), WordEngine()

    async def scenario(w: Watched) -> None:
        first = w.asked("one")
        await entered(wedged)
        waits = w.asked("two")
        await asyncio.sleep(0)
        drained = asyncio.create_task(w.d.live.drain())
        await w.seconds(5)
        await hung(first)
        assert await waits == [expected("two")]
        await drained

    Watched(wedged, successors=[successor]).lived(scenario)


def test_draining_does_not_wait_for_a_successor_that_nobody_needs() -> None:
    """Everybody was told: it is over, though none can be loaded."""
    wedged = held()

    async def scenario(w: Watched) -> None:
        first = w.asked("one")
        await entered(wedged)
        drained = asyncio.create_task(w.d.live.drain())
        await w.seconds(5)
        await hung(first)
        await drained

    Watched(wedged).lived(scenario)


def test_closing_does_not_wait_for_what_was_left_behind() -> None:
    """Nor for a successor that is being loaded: that one is closed by its own thread."""
    wedged, successor = held(), WordEngine()
    go_on = threading.Event()

    def load(number: int) -> WordEngine:
        assert go_on.wait(30)
        return successor

    async def scenario() -> None:
        w = Watched(wedged)
        w.d.load_engine = load
        await w.d.start()
        first = w.asked("one")
        await entered(wedged)
        await w.seconds(5)
        await hung(first)
        (left,) = w.d.live.instances
        left.close = lambda: pytest.fail("waited")  # type: ignore[method-assign, assignment, misc]
        await w.d.close()
        assert not wedged.closed
        go_on.set()
        await until(lambda: successor.closed)
        wedged.open.set()
        await until(lambda: wedged.closed)

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_who_leaves_while_the_engine_hangs_is_told_nothing_more() -> None:
    """Its neighbour in the batch is."""
    wedged = held()

    async def scenario(w: Watched) -> None:
        both = [w.asked("one"), w.asked("two")]
        await entered(wedged)
        await asyncio.sleep(0)
        both[0].cancel()
        await asyncio.wait([both[0]])
        await w.seconds(5)
        assert both[0].cancelled()
        with pytest.raises((EngineError, Rejected)):
            await both[1]
        assert w.d.live.in_flight == 0

    Watched(wedged).lived(scenario)
