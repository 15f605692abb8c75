"""The live plane on a real event loop, with engines that can be held, fail or lie."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.dataplane import DataPlane, Event, Looked
from headgate.errors import EngineError, RequestError, TooLong
from headgate.objects import BatchingSpec
from headgate.runtime import Answers, Deployment, Rejected
from headgate.workload import Pair
from tests.serving import WordEngine, deployment, expected, until


def lived(deployed: Deployment, scenario: Callable[[Deployment], Awaitable[None]]) -> None:
    """Runs ``scenario`` on a started deployment and closes it, whatever happens."""

    async def living() -> None:
        await deployed.start()
        try:
            await asyncio.wait_for(scenario(deployed), 30)
        finally:
            for engine in deployed.engines:
                if isinstance(engine, WordEngine):
                    engine.open.set()
            await deployed.close()

    asyncio.run(living())


async def ask(d: Deployment, *texts: str, **options: object) -> Answers:
    encoded = await d.live.encode(texts)
    keys = [d.key(e, "") for e in encoded]
    return await d.live.submit(encoded, keys=keys, **options)  # type: ignore[arg-type]


async def entered(engine: WordEngine) -> None:
    """Until the engine has been called once more."""
    await asyncio.to_thread(engine.entered.acquire)


def plain(answers: Answers) -> list[list[float]]:
    return [np.asarray(value).tolist() for value in answers.values]


def test_answers_come_in_the_order_of_the_items() -> None:
    """Whatever batches the items went through, values[i] answers item i."""
    texts = [f"{'a' * (i % 7 + 1)} " * (i % 5 + 1) for i in range(50)]

    async def scenario(d: Deployment) -> None:
        assert plain(await ask(d, *texts)) == [expected(t) for t in texts]

    lived(deployment(WordEngine(), WordEngine()), scenario)


def test_the_items_of_one_call_run_together() -> None:
    """All items of a call are taken in before the first batch is formed."""
    engine = WordEngine()

    async def scenario(d: Deployment) -> None:
        answers = await ask(d, "a b", "c d", "e f")
        assert [len(b) for b in engine.batches] == [3]
        assert answers.batch_size == 3
        assert answers.source == "engine"

    lived(deployment(engine), scenario)


def test_no_items_need_no_engine() -> None:
    """An empty call is answered with nothing."""

    async def scenario(d: Deployment) -> None:
        assert (await d.live.submit([], keys=[])).values == []

    lived(deployment(), scenario)


def test_twins_and_repeats_are_not_computed_again() -> None:
    """An equal request in flight is joined, an equal one from before comes from the cache."""
    engine = WordEngine()

    async def scenario(d: Deployment) -> None:
        engine.open.clear()
        first = asyncio.create_task(ask(d, "same"))
        await entered(engine)
        twin = asyncio.create_task(ask(d, "same"))
        await asyncio.sleep(0)  # let it reach the plane
        engine.open.set()
        assert (await first).source == "engine"
        assert (await twin).source == "twin"
        again = await ask(d, "same")
        assert again.source == "cache"
        assert again.started_s is None
        assert plain(again) == [expected("same")]
        assert engine.rows_run == 1

    lived(deployment(engine, cache_bytes=100_000), scenario)


def test_what_was_cancelled_while_it_waited_never_runs() -> None:
    """The caller is gone: its queued items are taken back, its neighbours are answered."""
    engine = WordEngine()

    async def scenario(d: Deployment) -> None:
        engine.open.clear()
        running = asyncio.create_task(ask(d, "running"))
        await entered(engine)
        gone = asyncio.create_task(ask(d, "gone one", "gone two"))
        stays = asyncio.create_task(ask(d, "stays"))
        await asyncio.sleep(0)
        assert d.live.in_flight == 4
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        engine.open.set()
        await running
        assert plain(await stays) == [expected("stays")]
        assert engine.rows_run == 2
        assert d.metrics.cancelled == 1
        assert d.live.in_flight == 0

    lived(deployment(engine), scenario)


def test_a_cancelled_leader_leaves_its_twin_an_answer() -> None:
    """Work that somebody still waits for goes on when the one who began it hangs up."""
    engine = WordEngine()

    async def scenario(d: Deployment) -> None:
        engine.open.clear()
        running = asyncio.create_task(ask(d, "running"))
        await entered(engine)
        leader = asyncio.create_task(ask(d, "same words"))
        await asyncio.sleep(0)
        twin = asyncio.create_task(ask(d, "same words"))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.wait([leader])
        engine.open.set()
        await running
        assert plain(await twin) == [expected("same words")]

    lived(deployment(engine, cache_bytes=100_000), scenario)


def test_a_poisonous_item_fails_alone() -> None:
    """One bad item of eight: seven are answered, and the engine serves on."""
    engine = WordEngine()

    async def scenario(d: Deployment) -> None:
        engine.open.clear()
        running = asyncio.create_task(ask(d, "running"))
        await entered(engine)
        texts = [*(f"fine {'x' * i}" for i in range(1, 8)), "poison pill"]
        asked = [asyncio.create_task(ask(d, text)) for text in texts]
        await asyncio.sleep(0)
        engine.open.set()
        *fine, bad = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(bad, EngineError)
        for text, answers in zip(texts, fine, strict=False):
            assert isinstance(answers, Answers)
            assert plain(answers) == [expected(text)]
        await running
        assert plain(await ask(d, "still there")) == [expected("still there")]
        assert d.metrics.engine_failures["engine"] >= 2

    lived(deployment(engine), scenario)


def test_any_exception_of_an_engine_is_survived() -> None:
    """A crash that is no EngineError reaches the caller as one, and is counted."""
    crashes = [True]

    def crash_once(out: np.ndarray) -> np.ndarray:
        if crashes:
            crashes.pop()
            raise SystemExit("the library gave up")
        return out

    async def scenario(d: Deployment) -> None:
        with pytest.raises(EngineError, match="the library gave up"):
            await ask(d, "a")
        assert d.metrics.engine_failures == {"engine": 1}
        assert plain(await ask(d, "b")) == [expected("b")]

    lived(deployment(WordEngine(crash_once)), scenario)


def test_a_row_that_is_not_finite_fails_alone() -> None:
    """The output contract keeps NaN from its caller and spares the rest of the batch."""

    def spoil(out: np.ndarray) -> np.ndarray:
        out[out[:, 0] == 1.0] = np.nan
        return out

    engine = WordEngine(spoil)

    async def scenario(d: Deployment) -> None:
        engine.open.clear()
        running = asyncio.create_task(ask(d, "running"))
        await entered(engine)
        both = [asyncio.create_task(ask(d, text)) for text in ("a", "bb")]
        await asyncio.sleep(0)
        engine.open.set()
        bad, good = await asyncio.gather(*both, return_exceptions=True)
        await running
        assert [len(b) for b in engine.batches] == [1, 2]
        assert isinstance(bad, EngineError)
        assert bad.reason == "output_contract"
        assert isinstance(good, Answers)

    lived(deployment(engine), scenario)


@pytest.mark.parametrize(
    "spoil", [lambda out: out[:, :1], lambda out: out[:0], lambda out: np.float32(1.0)]
)
def test_an_output_of_the_wrong_shape_is_an_error(
    spoil: Callable[[np.ndarray], np.ndarray],
) -> None:
    """An engine that returns another shape than promised does not reach a caller."""

    async def scenario(d: Deployment) -> None:
        with pytest.raises(EngineError, match="shape"):
            await ask(d, "a")

    lived(deployment(WordEngine(spoil)), scenario)


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    """What is beyond the bound is refused at once; what was admitted is answered."""
    engine = WordEngine()

    async def scenario(d: Deployment) -> None:
        engine.open.clear()
        admitted = [asyncio.create_task(ask(d, "first"))]
        await entered(engine)
        admitted += [asyncio.create_task(ask(d, text)) for text in ("second", "third")]
        await asyncio.sleep(0)
        with pytest.raises(Rejected) as refused:
            await ask(d, "fourth")
        assert refused.value.reason == "queue_full"
        assert refused.value.retry_after_s is not None
        assert +d.metrics.rejects == {"queue_full": 1}
        engine.open.set()
        await asyncio.gather(*admitted)

    lived(deployment(engine, max_queue_requests=2), scenario)


def test_a_call_is_let_in_whole_or_not_at_all() -> None:
    """One waits and two may: a call of three is refused, and none of its items stays behind."""
    engine = WordEngine()

    async def scenario(d: Deployment) -> None:
        engine.open.clear()
        running = asyncio.create_task(ask(d, "running"))
        await entered(engine)
        waits = asyncio.create_task(ask(d, "waits"))
        await asyncio.sleep(0)
        with pytest.raises(Rejected) as refused:
            await ask(d, "one", "two", "three")
        assert refused.value.reason == "queue_full"
        assert d.live.in_flight == 2
        engine.open.set()
        await asyncio.gather(running, waits)
        assert engine.rows_run == 2

    lived(deployment(engine, max_queue_requests=2), scenario)


def test_a_deadline_ends_the_wait_for_an_engine_that_hangs() -> None:
    """The caller hears at its deadline, though the batch is still on the engine."""
    engine = WordEngine()

    async def scenario(d: Deployment) -> None:
        engine.open.clear()
        with pytest.raises(Rejected) as refused:
            await ask(d, "a", deadline_s=d.clock() + 0.05)
        assert refused.value.reason == "deadline"
        assert d.metrics.rejects["deadline"] == 1

    lived(deployment(engine), scenario)


def test_draining_answers_what_was_admitted_and_refuses_the_rest() -> None:
    """drain() returns only when nothing is in flight."""
    engine = WordEngine()

    async def scenario(d: Deployment) -> None:
        engine.open.clear()
        admitted = asyncio.create_task(ask(d, "a"))
        await entered(engine)
        draining = asyncio.create_task(d.live.drain())
        await asyncio.sleep(0)
        with pytest.raises(Rejected) as refused:
            await ask(d, "b")
        assert refused.value.reason == "draining"
        assert not draining.done()
        assert not d.ready
        engine.open.set()
        assert plain(await admitted) == [expected("a")]
        await draining
        assert d.live.in_flight == 0

    lived(deployment(engine), scenario)


def test_a_deadline_that_passes_before_the_encoder_has_time_is_told_at_once() -> None:
    """One text holds the encoder's thread; who waits for it is told in time, and never encoded."""
    held, entered = threading.Event(), threading.Event()
    seen: list[object] = []

    class Held:
        def __init__(self, inner: object) -> None:
            self.inner = inner

        def encode(self, items: Sequence[object], *, truncate: bool = False) -> object:
            seen.extend(items)
            entered.set()
            held.wait(30)
            return self.inner.encode(items, truncate=truncate)  # type: ignore[attr-defined]

        def collate(self, encoded: object) -> object:
            return self.inner.collate(encoded)  # type: ignore[attr-defined]

    first, late, last = ("word " * 500 + name for name in ("first", "late", "last"))
    d = deployment()
    d.codec = Held(d.codec)  # type: ignore[assignment]

    async def scenario(d: Deployment) -> None:
        holding = asyncio.create_task(d.live.encode([first], truncate=True))
        await asyncio.to_thread(entered.wait)
        for deadline_s in (d.clock() - 1.0, d.clock() + 0.01):
            with pytest.raises(Rejected) as refused:
                await d.live.encode([late], truncate=True, deadline_s=deadline_s)
            assert refused.value.reason == "deadline"
        held.set()
        await holding
        await d.live.encode([last], truncate=True, deadline_s=d.clock() + 60.0)
        assert seen == [first, last]
        assert d.metrics.rejects["deadline"] == 2

    lived(d, scenario)


def test_long_texts_are_encoded_off_the_event_loop() -> None:
    """Short texts inline, long ones in a thread; a pair is as long as both of its texts."""
    threads: list[str] = []

    class Noting:
        def __init__(self, inner: object) -> None:
            self.inner = inner

        def encode(self, items: Sequence[object], *, truncate: bool = False) -> object:
            threads.append(threading.current_thread().name)
            return self.inner.encode(items, truncate=truncate)  # type: ignore[attr-defined]

        def collate(self, encoded: object) -> object:
            return self.inner.collate(encoded)  # type: ignore[attr-defined]

    d = deployment()
    d.codec = Noting(d.codec)  # type: ignore[assignment]

    async def scenario(d: Deployment) -> None:
        await d.live.encode(["short"])
        await d.live.encode(["word " * 1000], truncate=True)
        with pytest.raises(TooLong):
            await d.live.encode(["word " * 1000])
        with pytest.raises(RequestError):  # this codec takes texts alone
            await d.live.encode([Pair("word " * 40, "word ")] * 10)
        main = threading.current_thread().name
        assert threads[0] == main
        assert len(threads) == 4
        assert main not in threads[1:]

    lived(d, scenario)


def test_the_callers_own_code_runs_before_and_after_the_model() -> None:
    """preprocess sees items, postprocess a batch's outputs."""

    async def scenario(d: Deployment) -> None:
        assert plain(await ask(d, "a")) == [[6.0, 4.0]]

    changed = deployment(
        preprocess=lambda text: f"{text} bb", postprocess=lambda outputs: outputs * 2
    )
    lived(changed, scenario)


def test_answers_cannot_be_changed_by_who_gets_them() -> None:
    """A cached answer is shared: it is read-only and does not hold its batch in memory."""

    async def scenario(d: Deployment) -> None:
        value = (await ask(d, "a", "b")).values[0]
        assert isinstance(value, np.ndarray)
        assert value.base is None
        with pytest.raises(ValueError, match="read-only"):
            value[0] = 1.0

    lived(deployment(), scenario)


def test_a_wake_up_that_the_plane_asks_for_is_delivered() -> None:
    """A policy that holds requests back is asked again when it wants to be."""
    from headgate.dataplane import Action, Answer, Arrived, PlaneStats, Wake, Woke

    class Holding:
        in_flight = 0

        def __init__(self) -> None:
            self.held: list[Arrived] = []

        def handle_all(self, events: Sequence[Event], now_s: float) -> list[Action]:
            if isinstance(events[0], Arrived):
                self.held += [e for e in events if isinstance(e, Arrived)]
                return [Wake(now_s + 0.01), Wake(now_s + 0.001)]
            if isinstance(events[0], Woke):
                return [Answer(r, "woken", "engine") for e in self.held for r in e.requests]
            return []

        def stats(self) -> PlaneStats:
            raise NotImplementedError

    d = deployment()
    d.plane = Holding()  # type: ignore[assignment]

    async def scenario(d: Deployment) -> None:
        assert (await ask(d, "a")).values == ["woken"]

    lived(d, scenario)


def test_ten_thousand_requests_with_a_third_cancelled() -> None:
    """No hang, no misdelivery, and what was cancelled in the queue does not run."""
    engines = WordEngine(), WordEngine()
    spec = BatchingSpec(max_requests=16, max_padded_tokens=256)

    async def scenario(d: Deployment) -> None:
        rng = np.random.default_rng(7)
        lost, answered = 0, 0
        for _ in range(20):
            texts = [f"{'a' * int(n)} b" for n in rng.integers(1, 9, 500)]
            asked = [asyncio.create_task(ask(d, t)) for t in texts]
            await asyncio.sleep(0)
            for i in np.flatnonzero(rng.random(500) < 0.3):
                lost += asked[i].cancel()
            for text, outcome in zip(
                texts, await asyncio.gather(*asked, return_exceptions=True), strict=True
            ):
                if isinstance(outcome, Answers):
                    assert plain(outcome) == [expected(text)]
                    answered += 1
                else:
                    assert isinstance(outcome, asyncio.CancelledError)
        assert answered + lost == 10_000
        assert d.live.in_flight == 0
        await d.live.drain()

    lived(deployment(*engines, batching=spec), scenario)


def test_who_still_waits_when_it_is_closed_is_refused() -> None:
    """A release that gave up on an engine that hangs leaves no caller hanging with it; whoever asks
    it afterwards is refused too."""
    engine = WordEngine()
    d = deployment(engine)

    async def scenario() -> None:
        await d.start()
        engine.open.clear()
        waiting = asyncio.create_task(ask(d, "held"))
        await entered(engine)
        closing = asyncio.create_task(d.close())
        with pytest.raises(Rejected, match="shutting down"):
            await waiting
        engine.open.set()
        await closing
        with pytest.raises(Rejected, match="shutting down"):
            await ask(d, "late")

    asyncio.run(asyncio.wait_for(scenario(), 30))


@pytest.mark.parametrize("forgotten", [0, 1])
def test_littles_law_is_watched_while_it_serves(
    forgotten: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gauge that never comes back to zero is found out by what callers waited."""
    plain_gauge = DataPlane.in_flight.fget  # type: ignore[attr-defined]  # a property
    gauge = property(lambda plane: plain_gauge(plane) + forgotten)
    monkeypatch.setattr(DataPlane, "in_flight", gauge)
    ticks = itertools.count()

    async def scenario(d: Deployment) -> None:
        for i in range(500):
            await ask(d, f"text {i}")

    d = deployment(WordEngine(), clock=lambda: next(ticks) * 0.01)
    lived(d, scenario)
    assert d.metrics.littles_law_error() is not None
    assert (d.metrics.littles_law_breaches > 0) is bool(forgotten)


def test_hits_of_the_cache_are_checked_while_an_engine_is_idle() -> None:
    """An engine proves itself on what was answered from the cache; an answer that it would give
    otherwise now is a wrong hit, and nobody's request was touched for it."""
    drift = [0.0]
    engine = WordEngine(lambda out: out + np.float32(drift[0]))

    async def scenario(d: Deployment) -> None:
        for wrong in (0, 1):
            drift[0] = 100.0 * wrong
            await ask(d, "hello")
            assert (await ask(d, "hello")).source == "cache"
            await until(lambda: d.live.hits_checked == 1 + wrong)  # noqa: B023
            assert d.live.wrong_hits == wrong

    lived(deployment(engine, cache_bytes=10_000, canary_interval_s=0.01), scenario)


def test_checking_hits_takes_a_twentieth_of_an_engine_at_most() -> None:
    """A hit may be the longest text there is: after a second of checking the canary, which is
    short, proves that the engine makes progress for nineteen."""
    seconds = [0.0]

    def taking_its_time(out: NDArray[np.float32]) -> NDArray[np.float32]:
        seconds[0] += 1.0 if out[0, 1] == 3 else 0.5  # the canary has two words
        return out

    async def scenario(d: Deployment) -> None:
        async def hits() -> None:
            while True:
                await ask(d, "a long text")
                await asyncio.sleep(0.001)

        asking = asyncio.create_task(hits())
        await until(lambda: d.live.hits_checked == 4)
        asking.cancel()

    engine = WordEngine(taking_its_time)
    lived(
        deployment(engine, cache_bytes=10_000, canary_interval_s=0.001, clock=lambda: seconds[0]),
        scenario,
    )
    assert seconds[0] >= 1 + 3 * 20, "one to answer, and three pauses between four checks"


def test_an_engine_that_fails_says_nothing_of_the_cache() -> None:
    """What cannot be computed again is no wrong hit, and no checked one."""
    failing = [False]

    def change(out: NDArray[np.float32]) -> NDArray[np.float32]:
        if failing[0]:
            raise RuntimeError("out of memory")
        return out

    engine = WordEngine(change)

    async def scenario(d: Deployment) -> None:
        await ask(d, "hello")
        failing[0] = True
        calls = len(engine.batches)
        await ask(d, "hello")
        await until(lambda: any(b.shape == (1, 1) for b in engine.batches[calls:]))
        failing[0] = False
        await until(lambda: d.live.instances[0].failing_since_s is None)
        assert (d.live.hits_checked, d.live.wrong_hits) == (0, 0)

    lived(deployment(engine, cache_bytes=10_000, canary_interval_s=0.01), scenario)


def test_an_engine_has_as_long_for_a_hit_as_that_takes() -> None:
    """Whoever looks says how long the item is that is to be computed again."""
    lengths: list[int] = []

    class Spied:
        def __init__(self, plane: DataPlane) -> None:
            self._plane = plane

        def __getattr__(self, name: str) -> object:
            return getattr(self._plane, name)

        def handle_all(self, events: Sequence[Event], now_s: float) -> object:
            lengths.extend(event.length for event in events if isinstance(event, Looked))
            return self._plane.handle_all(events, now_s)

    async def scenario(d: Deployment) -> None:
        await ask(d, "a text of five words")
        await ask(d, "a text of five words")
        await until(lambda: d.live.hits_checked == 1)
        await until(lambda: lengths[-1] == 1)

    d = deployment(cache_bytes=10_000, canary_interval_s=0.01)
    lived(replace(d, plane=cast("DataPlane", Spied(d.plane))), scenario)
    assert set(lengths) == {1, 5}, "a canary is short"


def test_answers_that_break_the_contract_are_counted() -> None:
    """Once for each item, whatever else its call asked for."""
    engine = WordEngine(lambda out: out * np.nan)

    async def scenario(d: Deployment) -> None:
        with pytest.raises(EngineError):
            await ask(d, "one", "two")
        await until(lambda: d.live.invalid_answers == 2)

    lived(deployment(engine), scenario)
