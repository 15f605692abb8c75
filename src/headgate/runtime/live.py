"""The live shell of the data plane: real time, one thread an engine, callers that wait.

Delivers events to the pure ``DataPlane`` and carries out what it decides. All of its state lives
on one event loop; engine threads only compute and report back. One future a call and no task, so
that an item costs little beside its engine time. Knows nothing of HTTP and decides nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headgate.dataplane.events import (
    Action,
    Answer,
    Arrived,
    Cancelled,
    Draining,
    Event,
    Failed,
    Finished,
    Looked,
    Probe,
    Proved,
    Reject,
    Run,
    Wake,
    Woke,
)
from headgate.dataplane.stats import PlaneStats
from headgate.errors import EngineError, RequestError
from headgate.runtime.answers import Answers, Carried, Rejected
from headgate.runtime.instance import Instance, Postprocess
from headgate.runtime.known_texts import KnownTexts
from headgate.runtime.littles_law import LittlesLaw
from headgate.runtime.metrics import Metrics
from headgate.runtime.replacements import Replacements
from headgate.workload import Codec, Encoded, Engine, Pair

__all__ = ["LivePlane", "Plane", "Preprocess"]

_INLINE_CHARACTERS = 2_000
"""Texts up to this many characters in all (about a millisecond of tokenizing) are encoded on the
event loop; handing them to a thread and back would cost more than it frees."""
_CHECKING_SHARE = 0.05
"""Of one engine's time, at most: what checking hits of the cache may take. A hit may be as long as
any request, and who comes meanwhile waits for it."""
_LOST_S = 60.0
_ITEM_CHARACTERS = 64
"""What an item that is no text counts as."""
_LAW = "a caller is forgotten or counted twice, or times are taken wrongly; distrust the metrics"
_log = logging.getLogger("headgate.runtime")


Preprocess = Callable[[object], object]
"""The caller's own: one item in, one item out."""


class Plane(Protocol):
    """What the shell needs of ``headgate.dataplane.DataPlane``."""

    @property
    def in_flight(self) -> int: ...

    def predicted_wait_s(self, now_s: float) -> float: ...

    def in_service(self, now_s: float) -> Sequence[int]: ...

    def handle_all(self, events: Iterable[Event], now_s: float) -> list[Action]: ...

    def stats(self) -> PlaneStats: ...


class LivePlane:
    """``submit`` items, await their answers; call ``look`` about once a second.

    ``engines`` are the plane's instances, by index; ``load_engine`` makes another, warm, where one
    hangs. ``canary`` is an item that they answer. ``postprocess``, ``item_shape``, ``unit``: see
    ``Instance`` and ``output.rows``. ``same`` says whether two answers to an item are the same, so
    that hits of the cache can be checked while an engine is idle. ``known_texts`` is used where
    there is no ``preprocess``. Make and use it on one running event loop.
    """

    def __init__(
        self,
        plane: Plane,
        engines: Sequence[Engine],
        codec: Codec,
        *,
        canary: Encoded,
        load_engine: Callable[[int], Engine],
        load_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        preprocess: Preprocess | None = None,
        postprocess: Postprocess | None = None,
        item_shape: tuple[int, ...] | None = None,
        unit: bool = False,
        metrics: Metrics | None = None,
        known_texts: KnownTexts | None = None,
        same: Callable[[NDArray[np.generic], NDArray[np.generic]], bool] = np.array_equal,
    ) -> None:
        self.metrics = metrics or Metrics()
        self.metrics.plane = plane.stats
        self.metrics.batches_in_flight = lambda: sum(i.busy for i in self.instances)
        self.metrics.in_service = lambda: len(self._plane.in_service(self._clock()))
        self.invalid_answers = 0
        """Of these engines; the metrics' are those of all releases."""
        self.hits_checked = self.wrong_hits = 0
        """Cached answers that an idle engine computed again; those that came out otherwise. What it
        could not compute is neither."""
        self._check_again_s = -math.inf
        self._hit: tuple[Encoded, NDArray[np.generic]] | None = None
        self._same = same
        self._law = LittlesLaw()
        self.metrics.littles_law_error = lambda: self._law.error
        self._plane = plane
        self._codec = codec
        self._canary = canary
        self._preprocess = preprocess
        self._known_texts = known_texts if preprocess is None else None
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count()
        self._draining = False
        self._drained = asyncio.Event()
        self._closed = False
        self._calls: set[Answers] = set()
        self._wake: asyncio.TimerHandle | None = None
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")

        def instance(number: int, load: Callable[[], Engine]) -> Instance:
            return Instance(
                number,
                load,
                codec,
                self._report,
                loop=self._loop,
                clock=clock,
                postprocess=postprocess,
                item_shape=item_shape,
                unit=unit,
            )

        self.instances = [instance(n, partial(_itself, e)) for n, e in enumerate(engines)]
        self.replacements = Replacements(
            self.instances,
            lambda number: instance(number, partial(load_engine, number)),
            self._tell,
            self.metrics,
            load_timeout_s=load_timeout_s,
        )

    @property
    def in_flight(self) -> int:
        """Items that were admitted and are not answered yet."""
        return self._plane.in_flight

    def predicted_wait_s(self) -> float:
        """Seconds until what is asked now would start."""
        return self._plane.predicted_wait_s(self._clock())

    @property
    def draining(self) -> bool:
        return self._draining

    def look(self) -> None:
        """After the instances: gives up the calls that are overdue, lets who is idle prove itself.
        What it costs has nothing to do with the number of requests."""
        self._tell(Looked() if self._hit is None else Looked(self._hit[0].length))

    def working(self, stale_after_s: float) -> bool:
        """Whether there is an instance in service, and none of those in service, which all get
        their share of the work, has given only bad answers for ``stale_after_s``."""
        now_s = self._clock()
        serving = [self.instances[number] for number in self._plane.in_service(now_s)]
        failing_s = (now_s - i.failing_since_s for i in serving if i.failing_since_s is not None)
        return (
            bool(serving)
            and all(instance.alive for instance in serving)
            and all(seconds <= stale_after_s for seconds in failing_s)
        )

    async def encode(
        self,
        items: Sequence[object],
        *,
        truncate: bool = False,
        tenant: str = "",
        deadline_s: float | None = None,
    ) -> list[Encoded]:
        """Items as the codec encodes them: short texts here and now, others in a thread.

        Raises what ``Codec.encode`` raises, and ``Rejected`` where ``deadline_s``, as in
        ``submit``, passes while they wait for the thread.
        """
        known = self._known_texts
        if known is None:
            return await self._tokenized(items, truncate, deadline_s)
        found = [known.get(item, truncate=truncate, tenant=tenant) for item in items]
        new = [i for i, encoded in enumerate(found) if encoded is None]
        if new:
            try:
                tokenized = await self._tokenized([items[i] for i in new], truncate, deadline_s)
            except RequestError:  # it names an item by its index: among all of them, please
                return await self._tokenized(items, truncate, deadline_s)
            for i, encoded in zip(new, tokenized, strict=True):
                found[i] = encoded
                known.put(items[i], encoded, truncate=truncate, tenant=tenant)
        return [encoded for encoded in found if encoded is not None]

    async def _tokenized(
        self, items: Sequence[object], truncate: bool, deadline_s: float | None
    ) -> list[Encoded]:
        # The caller's own code runs off the loop, always.
        if self._preprocess is None and sum(map(_characters, items)) <= _INLINE_CHARACTERS:
            return self._codec.encode(items, truncate=truncate)
        if self._closed:
            raise Rejected("draining")
        if deadline_s is None:
            return await self._in_thread(items, truncate)
        left = asyncio.timeout(deadline_s - self._clock())
        try:
            async with left:  # it cancels, and what the thread has not begun by then never begins
                return await self._in_thread(items, truncate)
        except TimeoutError:
            if not left.expired():
                raise  # the caller's own code said so
            self.metrics.rejects["deadline"] += 1
            raise Rejected("deadline") from None

    def _in_thread(self, items: Sequence[object], truncate: bool) -> asyncio.Future[list[Encoded]]:
        return self._loop.run_in_executor(self._encoder, self._encode, items, truncate)

    async def submit(
        self,
        encoded: Sequence[Encoded],
        *,
        keys: Sequence[bytes],
        tenant: str = "",
        deadline_s: float | None = None,
        group: str = "",
        priority: int = 0,
    ) -> Answers:
        """Answers all items, or raises: ``Rejected``, or the error of the first that failed.

        ``keys[i]`` identifies ``encoded[i]`` (``caching.request_key``), or is empty where it is to
        be computed for this caller alone; ``deadline_s`` is absolute
        on the plane's clock; ``priority`` counts among the tenant's own requests. Cancelling the
        caller cancels its items: those that wait never run.
        """
        if self._closed:
            raise Rejected("draining")
        now_s = self._clock()
        call = Answers(len(encoded), now_s, self._loop.create_future())
        for index, (payload, key) in enumerate(zip(encoded, keys, strict=True)):
            request = Carried(
                next(self._ids),
                key,
                payload.length,
                now_s,
                tenant,
                deadline_s,
                group,
                priority,
                payload=payload,
                call=call,
                index=index,
            )
            call.requests.append(request)
        if not call.requests:
            return call
        self._tell_at(now_s, Arrived(tuple(call.requests)))
        if call.future.done():  # the cache had it all, or it was refused
            return call.future.result()
        timer = None
        if deadline_s is not None:
            timer = self._loop.call_later(max(0.0, deadline_s - now_s), self._expire, call)
        self._calls.add(call)
        try:
            return await call.future
        except asyncio.CancelledError:
            if not call.future.cancelled():
                call.future.exception()  # it came too late to be raised; take note of it
            self.metrics.cancelled += 1
            self._abandon(call)
            raise
        finally:
            self._calls.discard(call)
            if timer is not None:
                timer.cancel()

    async def drain(self) -> None:
        """Refuses new items from now on; returns when all that was admitted is answered."""
        self._draining = True
        self._tell(Draining())
        self._notice_drained()
        await self._drained.wait()

    async def close(self) -> None:
        """Ends the threads and frees the engines. What is still in flight is refused; a thread that
        hangs is left: at once, where that is known, or after some seconds."""
        self._closed = True
        self.replacements.close()
        for call in list(self._calls):
            if not call.future.done():
                call.future.set_exception(Rejected("draining"))
        self._encoder.shutdown(wait=False, cancel_futures=True)
        if self._wake is not None:
            self._wake.cancel()
        # Each in a thread of its own: one that hangs must not keep the next from being freed.
        ending = [i for i in self.instances if not i.abandoned]
        await asyncio.gather(*(asyncio.to_thread(i.close) for i in ending))

    def _encode(self, items: Sequence[object], truncate: bool) -> list[Encoded]:
        if self._preprocess is not None:
            items = [self._preprocess(item) for item in items]
        return self._codec.encode(items, truncate=truncate)

    def _report(
        self,
        instance: Instance,
        event: Finished | Failed | Proved,
        started_s: float,
        ended_s: float,
    ) -> None:
        """An instance is through with a batch, or with a canary."""
        if not instance.abandoned and not isinstance(event, Proved):
            self._count(event, started_s, ended_s)
        self._tell(event)

    def _count(self, event: Finished | Failed, started_s: float, ended_s: float) -> None:
        batch, metrics = event.batch, self.metrics
        size = batch.size
        metrics.engine_s.observe(ended_s - started_s)
        metrics.batch_size.observe(size)
        metrics.padded_tokens.observe(batch.padded_tokens)
        metrics.padding_share.observe(batch.padding_share)
        if isinstance(event, Failed):
            reason = getattr(event.error, "reason", "engine")
            metrics.engine_failures[reason] += 1
        for request in batch.requests:
            assert isinstance(request, Carried)
            metrics.queue_wait_s.observe(started_s - request.arrived_at_s)
            request.call.ran(started_s, ended_s, size)

    def _tell(self, *events: Event) -> None:
        self._tell_at(self._clock(), *events)

    def _tell_at(self, now_s: float, *events: Event) -> None:
        self._act(self._plane.handle_all(events, now_s), now_s)
        if self._law.changed(self._plane.in_flight, now_s):
            self.metrics.littles_law_breaches += 1
            _log.error("L and lambda * W differ by %.0f %%: %s", 100 * (self._law.error or 0), _LAW)

    def _act(self, actions: Iterable[Action], now_s: float) -> None:
        for action in actions:
            if isinstance(action, Run):
                self.metrics.dispatches[action.reason] += 1
                self.instances[action.instance].run(action)
            elif isinstance(action, Answer):
                request = action.request
                assert isinstance(request, Carried)
                error = action.error
                if isinstance(error, EngineError) and error.reason == "output_contract":
                    self.invalid_answers += 1
                    self.metrics.invalid_answers += 1
                if request.call.future.done():
                    continue  # its caller is gone, or another of its items failed
                if action.error is not None:
                    self._fail(request.call, _of_item(request.index, action.error))
                else:
                    self.metrics.items[action.source] += 1
                    if action.source == "cache" and self._hit is None:
                        assert isinstance(action.value, np.ndarray)
                        self._hit = request.payload, action.value
                    self._law.left(1, now_s - request.arrived_at_s)
                    request.call.give(request.index, action.value, action.source)
            elif isinstance(action, Reject):
                request = action.request
                assert isinstance(request, Carried)
                if not request.call.future.done():
                    self.metrics.rejects[action.reason] += 1
                    self._fail(request.call, Rejected(action.reason, action.retry_after_s))
            elif isinstance(action, Wake):
                if self._wake is not None:
                    self._wake.cancel()
                wait_s = max(0.0, action.at_s - self._clock())
                self._wake = self._loop.call_later(wait_s, self._woke)
            elif isinstance(action, Probe):
                self._prove(action)
            else:
                self.metrics.engine_failures["engine_hung"] += 1
                self.replacements.lost(action.instance)
        if self._draining:
            self._notice_drained()

    def _prove(self, probe: Probe) -> None:
        """On a hit of the cache, where there is one and checking has its share still, or on the
        canary."""
        instance = self.instances[probe.instance]
        began_s = self._clock()
        if self._hit is None or began_s < self._check_again_s:
            instance.probe(probe, self._canary)
            return
        payload, cached = self._hit
        self._hit = None
        self._check_again_s = began_s + _LOST_S  # should the engine hang, nobody says when it ended

        def checked(answer: NDArray[np.generic] | EngineError) -> None:
            ended_s = self._clock()
            self._check_again_s = ended_s + (ended_s - began_s) * (1 / _CHECKING_SHARE - 1)
            if isinstance(answer, EngineError):
                return  # that says something of the engine, and nothing of the cache
            self.hits_checked += 1
            self.wrong_hits += not self._same(answer, cached)

        instance.probe(probe, payload, checked)

    def _woke(self) -> None:
        self._wake = None
        self._tell(Woke())

    def _expire(self, call: Answers) -> None:
        self.metrics.rejects["deadline"] += 1
        self._fail(call, Rejected("deadline"))

    def _fail(self, call: Answers, error: Exception) -> None:
        if not call.future.done():
            call.future.set_exception(error)
            self._abandon(call)

    def _abandon(self, call: Answers) -> None:
        """Takes back what still waits. Items already answered are unknown to the plane by now."""
        now_s = self._clock()
        self._law.left(call.give_up(), now_s - call.arrived_s)
        self._tell_at(now_s, *(Cancelled(request.id) for request in call.requests))

    def _notice_drained(self) -> None:
        busy = any(instance.busy for instance in self.instances)
        if self._draining and not self._plane.in_flight and not busy:
            self._drained.set()


def _of_item(index: int, error: Exception) -> Exception:
    """``error``, naming the item of the call that it is about."""
    if not isinstance(error, EngineError):
        return error
    named = EngineError(error.what, where=f"item {index}", reason=error.reason)
    named.__cause__ = error
    return named


def _itself(engine: Engine) -> Engine:
    return engine


def _characters(item: object) -> int:
    if isinstance(item, str):
        return len(item)
    return item.characters if isinstance(item, Pair) else _ITEM_CHARACTERS
