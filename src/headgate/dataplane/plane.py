"""A request's way, as one pure object: ``(event, now) -> actions``.

::

    Arrived ─ draining? ─ cached? ─ twin in flight? ─ admitted? ─ its turn ─ batcher ─┐
                 │           │            │               │                           │ an instance
               Reject      Answer       joins           Reject                        ▼ is free
    Finished ─ fills the cache ─ Answer to all callers ◄── Run ◄── batch, placed
    Failed   ─ split in halves, re-run ─ of one alone: its error to all callers, never cached
    Looked   ─ overdue? an error to all callers, never re-run ─ Replace ─ Replaced ─ free

Server, simulator and tests drive this same object; they differ in who delivers events and carries
out actions. Knows nothing of payloads, engines, clocks or sockets.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from headgate.batching import BatchPolicy, TokenBudgetBatcher, company_pays
from headgate.caching import GenerationCache, make_policy
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
    NotReplaced,
    Proved,
    Reject,
    Replace,
    Replaced,
    Run,
    Wake,
    Woke,
)
from headgate.dataplane.instances import Call, Instances
from headgate.dataplane.stats import PlaneStats
from headgate.errors import EngineError
from headgate.objects import BatchInvariance, Variant
from headgate.scheduling import (
    Admission,
    FairQueue,
    Lateness,
    Refusal,
    Watchdog,
    predicted_wait_s,
)
from headgate.workload import Batch, LearnedService, Request, ServiceCurve, ServiceTimeModel

__all__ = ["DataPlane"]

_BATCHES_AT_HAND = 4
"""The batcher chooses among so many batches' worth of requests: enough for likes to meet, and few
enough that a newcomer whose turn it is waits for few batches, however long the queue."""

_TRY_AGAIN = 64
"""The lone instance is tried once in so many times that it is predicted to be no faster."""


class _Work:
    """One computation and the callers who wait for it.

    ``leader`` names the work in queues and batches, even after its own caller is gone.
    """

    __slots__ = ("callers", "lateness", "leader", "predicted_s")

    def __init__(self, leader: Request, predicted_s: float, lateness: Lateness) -> None:
        self.leader = leader
        self.callers: dict[int, Request] = {leader.id: leader}
        self.predicted_s = predicted_s  # from arrival to finish; 0 where it had not to wait
        self.lateness = lateness  # how far that was trusted


class DataPlane:
    """Cache, coalescing, admission, batching, placement, completion, for one release.

    ``service`` predicts; a ``LearnedService`` learns from every completion. ``cache`` None means
    neither caching nor coalescing. With ``batch_invariance`` DEPENDENT an answer depends on who sat
    in the batch: the plane then neither caches, nor coalesces, and expects a batcher that isolates
    tenants. ``weights``: tenant -> share of the device, see ``FairQueue``.

    ``lone_service``: there is one more instance, number ``instances``, of all the cores that the
    others have together. It runs a request that would leave them idle, and nothing runs beside it.

    Work-conserving: an instance is never free while the batch policy offers a batch, but for those
    whose cores the lone one has.
    """

    def __init__(
        self,
        *,
        batcher: BatchPolicy,
        service: ServiceTimeModel,
        instances: int,
        admission: Admission | None = None,
        cache: GenerationCache | None = None,
        generation: int = 0,
        batch_invariance: BatchInvariance = BatchInvariance.EXACT,
        weights: Mapping[str, float] | None = None,
        lone_service: ServiceTimeModel | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        if instances < 1:
            raise ValueError(f"a data plane needs at least one instance, got {instances}")
        self.generation = generation
        self.instances = instances
        self.service = service
        self.lone_service = lone_service
        self._batcher = batcher
        self._admission = admission or Admission()
        # Whose wait is in the batcher, which picks likes, is now early and now late by all of it;
        # behind a long queue by the same seconds, which are little of its wait.
        self._lateness_at_hand = Lateness()
        self._lateness_in_queue = Lateness()
        self._queue = FairQueue(
            patience_s=self._admission.max_predicted_wait_s or 1.0, weights=weights
        )
        self._room = _BATCHES_AT_HAND * batcher.spec.max_requests
        self._room_tokens = _BATCHES_AT_HAND * batcher.spec.max_padded_tokens
        self._cache = None if batch_invariance is BatchInvariance.DEPENDENT else cache
        self._slots = Instances(instances, watchdog or Watchdog(), lone=lone_service is not None)
        self._halves: deque[tuple[Request, ...]] = deque()  # of failed batches, run first
        self._work: dict[int, _Work] = {}  # leader's request id -> work
        self._callers: dict[int, _Work] = {}  # caller's request id -> work
        self._hurried: set[int] = set()  # callers with a deadline of their own
        self._twins_of: dict[tuple[str, bytes], _Work] = {}  # (tenant, key) -> work in flight
        self._draining = False
        self._deserted = False  # no instance is left, and none is about to come
        self._next_batch_id = 0
        self._wake_at_s: float | None = None
        self._running_requests = 0
        self._arrived = self._answered = self._errors = self._cancelled = 0
        self._hits = self._misses = self._twins = 0
        self._batched = self._tokens = self._padded_tokens = 0
        self._bisections = self._hung = self._fills_refused = self._stale_events = 0
        self._lone_batches = self._lone_passed_over = 0
        self._rejected: Counter[str] = Counter()
        self._sizes: Counter[int] = Counter()

    @classmethod
    def of(
        cls,
        variant: Variant,
        service: ServiceTimeModel,
        *,
        generation: int = 0,
        batch_invariance: BatchInvariance = BatchInvariance.EXACT,
        cache: GenerationCache | None = None,
        weights: Mapping[str, float] | None = None,
        lone_service: ServiceTimeModel | None = None,
        watchdog: Watchdog | None = None,
    ) -> DataPlane:
        """The plane that ``variant`` describes; it goes on learning where a service is a curve.

        ``lone_service`` is needed where the variant has ``lone_threads``, and nowhere else.
        ``cache``: one that successive releases share, already fenced to ``generation``; by default
        the plane makes its own where the variant has one.
        """
        if (lone_service is None) != (variant.lone_threads == 0):
            raise ValueError(f"lone_threads is {variant.lone_threads}, the service {lone_service}")
        if cache is None and variant.cache.capacity_bytes > 0:
            cache = GenerationCache(make_policy(variant.cache), generation=generation)
        dependent = batch_invariance is BatchInvariance.DEPENDENT
        return cls(
            batcher=TokenBudgetBatcher(variant.batching, isolate_tenants=dependent),
            service=_learning(service),
            lone_service=_learning(lone_service) if lone_service is not None else None,
            instances=variant.instances,
            admission=Admission(variant.max_queue_requests, variant.max_predicted_wait_s),
            cache=cache if variant.cache.capacity_bytes > 0 else None,
            generation=generation,
            batch_invariance=batch_invariance,
            weights=weights,
            watchdog=watchdog,
        )

    @property
    def in_flight(self) -> int:
        """Callers who have been admitted and wait for an answer."""
        return len(self._callers)

    @property
    def drained(self) -> bool:
        """Draining, and nothing is left to do."""
        return self._draining and not self._callers and not self._slots.running

    def in_service(self, now_s: float) -> list[int]:
        """The instances that are not lost, and whose calls are not overdue."""
        return self._slots.in_service(now_s)

    def handle(self, event: Event, now_s: float) -> list[Action]:
        """What to do about ``event``. ``now_s`` never goes back."""
        return self.handle_all((event,), now_s)

    def handle_all(self, events: Iterable[Event], now_s: float) -> list[Action]:
        """The same for events of one moment: all are taken in before a batch is formed, so the
        items of one call can run together."""
        actions: list[Action] = []
        for event in events:
            match event:
                case Arrived():
                    self._arrive(event.requests, now_s, actions)
                case Finished():
                    self._finish(event, now_s, actions)
                case Failed():
                    self._fail(event, now_s, actions)
                case Cancelled():
                    self._cancel(event.request_id, now_s)
                case Draining():
                    self._draining = True
                case Woke():
                    self._wake_at_s = None  # a shell's timer may be early: ask again
                case Looked():
                    self._look(event.length, now_s, actions)
                case Proved():
                    self._stale_events += not self._slots.proved(event.probe)
                case Replaced():
                    self._stale_events += not self._slots.replaced(event.instance, now_s)
                    self._deserted = self._slots.none_to_come
                case NotReplaced():
                    self._stale_events += not self._slots.not_replaced(event.instance)
                    self._refuse_if_deserted(actions)
        self._dispatch(now_s, actions)
        return actions

    def predicted_wait_s(self, now_s: float) -> float:
        """Seconds until all that waits now has started; 0 where an instance is free."""
        return self._wait_s(now_s, len(self._queue), self._queue.tokens)

    def stats(self) -> PlaneStats:
        """A snapshot of gauges and counters."""
        return PlaneStats(
            in_flight=len(self._callers),
            queued=len(self._queue) + len(self._batcher) + sum(map(len, self._halves)),
            queued_tokens=self._queue.tokens + self._batcher.tokens,
            running=self._running_requests,
            busy_instances=len(self._slots.running),
            lost_instances=len(self._slots.lost),
            cache_entries=len(self._cache) if self._cache is not None else 0,
            cache_bytes=self._cache.used_bytes if self._cache is not None else 0,
            arrived=self._arrived,
            answered=self._answered,
            errors=self._errors,
            cancelled=self._cancelled,
            rejected=dict(self._rejected),
            hits=self._hits,
            misses=self._misses,
            twins=self._twins,
            batches=self._next_batch_id,
            batched_requests=self._batched,
            tokens=self._tokens,
            padded_tokens=self._padded_tokens,
            bisections=self._bisections,
            hung=self._hung,
            fills_refused=self._fills_refused,
            stale_events=self._stale_events,
            lone_batches=self._lone_batches,
            dispatch_sizes=dict(self._sizes),
        )

    # What can happen

    def _arrive(self, requests: Sequence[Request], now_s: float, actions: list[Action]) -> None:
        for request in requests:
            if request.id in self._callers:
                raise ValueError(f"request id {request.id} is already in flight")
        self._arrived += len(requests)
        known = [None if self._draining else self._lookup(r, now_s) for r in requests]
        new = [r for r, value in zip(requests, known, strict=True) if value is None]
        refusal, predicted_s, lateness = None, 0.0, self._lateness_at_hand
        if new:
            refusal, predicted_s, lateness = self._admit(new, now_s)
        if refusal is not None:
            for request in requests:
                self._reject(request, refusal.reason, refusal.retry_after_s, actions)
            return
        for request, value in zip(requests, known, strict=True):
            if value is None:
                self._enter(request, predicted_s, lateness, alone=len(requests) == 1)
            else:
                self._hits += 1
                self._answered += 1
                actions.append(Answer(request, value, "cache"))

    def _lookup(self, request: Request, now_s: float) -> object:
        """What the cache has of it; None where it has nothing, or is not to be asked."""
        if self._cache is None or not request.key:
            return None
        value = self._cache.lookup(
            request.key, tenant=request.tenant, generation=self.generation, now_s=now_s
        )
        if value is None:
            self._misses += 1
        return value

    def _admit(
        self, new: Sequence[Request], now_s: float
    ) -> tuple[Refusal | None, float, Lateness]:
        """Why those of a call that the cache does not have are not let in, if they are not; the
        seconds until they are predicted to be finished, 0 where they have not to wait; and what is
        known of how far that may be trusted."""
        lateness = self._lateness_at_hand
        if self._draining:
            return Refusal("draining", None), 0.0, lateness
        if self._deserted:
            return Refusal("no_engine", None), 0.0, lateness
        # Twins take no device time, but a caller who waits takes memory: the bound counts both.
        waiting = max(0, len(self._callers) - self._running_requests)
        own, tenants = 0, 1
        if self._admission.full(len(new), waiting):
            own, tenants = self._queue.company_of(new[0].tenant)
        lone = {(r.tenant, r.key or r.id): r for r in new} if self._cache is not None else {}
        work = [r for k, r in lone.items() if k not in self._twins_of] if lone else new
        wait_s = 0.0
        if work:
            ahead, ahead_tokens = self._queue.ahead_of(work)
            wait_s = self._wait_s(now_s, ahead, ahead_tokens)
            if ahead > len(self._batcher):
                lateness = self._lateness_in_queue
        service_s = self._predicted_service_s(work)
        refusal = self._admission.refuse(
            new[0] if len(new) == 1 else _due_first(new),
            requests=len(new),
            waiting=waiting,
            own=own,
            tenants=tenants,
            wait_s=wait_s,
            service_s=service_s,
            now_s=now_s,
            lateness=lateness.factor,
        )
        return refusal, wait_s + service_s if wait_s else 0.0, lateness

    def _wait_s(self, now_s: float, ahead: int, ahead_tokens: int) -> float:
        """Seconds until a request would start that has ``ahead`` others before it in the queue; 0
        where an instance is free, or at a canary, which is short. Where all instances are lost it
        is as if one were back."""
        waiting = len(self._batcher) + ahead
        tokens, spec = self._batcher.tokens + ahead_tokens, self._batcher.spec
        slots = self._slots
        free = 0 if slots.lone_runs else len(slots.free)
        if waiting < free * spec.max_requests and tokens < free * spec.max_padded_tokens:
            return 0.0  # whoever waits here is held for company, which has come
        running_s = 0.0
        for call in slots.running.values():
            if call.until_s > now_s:
                running_s += call.until_s - now_s
        return predicted_wait_s(
            waiting=waiting,
            waiting_tokens=tokens,
            running_s=running_s * (slots.sharing if slots.lone_runs else 1),
            instances=slots.sharing,
            spec=spec,
            service=self.service,
        )

    def _predicted_service_s(self, work: Sequence[Request]) -> float:
        """Seconds from the first start of ``work`` to its last end, on an idle machine."""
        if not work:
            return 0.0
        longest = max(r.tokens for r in work)
        longest_s = self.service.predict_s(1, longest)
        if len(work) == 1:
            if self.lone_service is not None and self._machine_is_free:
                return min(longest_s, self.lone_service.predict_s(1, longest))
            return longest_s
        shared_s = predicted_wait_s(
            waiting=len(work),
            waiting_tokens=sum(r.tokens for r in work),
            running_s=0.0,
            instances=self._slots.sharing,
            spec=self._batcher.spec,
            service=self.service,
        )
        return max(longest_s, shared_s)

    def _finish(self, event: Finished, now_s: float, actions: list[Action]) -> None:
        if not self._release(event.instance, event.batch, now_s):
            return
        batch = event.batch
        assert len(event.values) == batch.size, "one value for each request of the batch"
        service = self._service_of(event.instance)
        if event.duration_s is not None and isinstance(service, LearnedService):
            service.learn(batch.size, batch.longest, event.duration_s)
        for request, value in zip(batch.requests, event.values, strict=True):
            if isinstance(value, Exception):
                self._settle(request, None, value, actions)
                continue
            if self._cache is not None and request.key:
                self._fills_refused += not self._cache.insert(
                    request.key,
                    value,
                    event.value_bytes,
                    tenant=request.tenant,
                    generation=self.generation,
                    now_s=now_s,
                )
            self._note_lateness(self._work[request.id], now_s)
            self._settle(request, value, None, actions)

    def _note_lateness(self, work: _Work, now_s: float) -> None:
        """Holds what was predicted for it against what it took."""
        if work.predicted_s:
            work.lateness.observe(now_s - work.leader.arrived_at_s, work.predicted_s)
            work.predicted_s = 0.0

    def _fail(self, event: Failed, now_s: float, actions: list[Action]) -> None:
        if not self._release(event.instance, event.batch, now_s):
            return
        requests = event.batch.requests
        if len(requests) == 1:
            self._settle(requests[0], None, event.error, actions)
            return
        # One bad item must not fail its neighbours: 1 of n is found in 2*log2(n) further runs.
        self._bisections += 1
        middle = len(requests) // 2
        self._halves += (requests[:middle], requests[middle:])

    def _look(self, length: int, now_s: float, actions: list[Action]) -> None:
        canary_s = self.service.predict_s(1, length)
        given_up, probes = self._slots.look(now_s, canary_s)
        for instance, call in given_up.items():
            self._hung += 1
            actions.append(Replace(instance))
            if isinstance(call.work, Batch):
                self._give_up(call, call.work, now_s, actions)
        actions += probes

    def _give_up(self, call: Call, batch: Batch, now_s: float, actions: list[Action]) -> None:
        """Tells everybody. Not split and not run again: what hung one engine may hang the next."""
        self._running_requests -= batch.size
        error = EngineError(
            f"the engine did not come back within {now_s - call.since_s:.3g} s; this input, or one "
            "that ran beside it, may be why",
            where="engine",
            reason="engine_hung",
        )
        for request in batch.requests:
            self._settle(request, None, error, actions)

    def _refuse_if_deserted(self, actions: list[Action]) -> None:
        """Where nobody is left to run what waits, and nobody is about to come, it is told so."""
        self._deserted = self._slots.none_to_come
        if not self._deserted:
            return
        self._halves.clear()
        for work in list(self._work.values()):  # none of it runs, not even on the lone instance
            if not self._queue.remove(work.leader.id):
                self._batcher.remove(work.leader.id)
            for caller in work.callers.values():
                self._leave(caller.id)
                self._reject(caller, "no_engine", None, actions)
            self._forget(work.leader)

    def _cancel(self, request_id: int, now_s: float) -> None:
        work = self._leave(request_id)
        if work is None:
            return  # already answered, refused or cancelled: the two crossed on their way
        self._cancelled += 1
        caller = work.callers.pop(request_id)
        leader = work.leader
        if caller.deadline_s is not None and now_s >= caller.deadline_s and caller is leader:
            self._note_lateness(work, now_s)  # it did not leave, it was let down
        if not work.callers and (self._queue.remove(leader.id) or self._batcher.remove(leader.id)):
            self._forget(leader)

    def _enter(
        self, caller: Request, predicted_s: float, lateness: Lateness, *, alone: bool
    ) -> None:
        """Lets it in, to the work of an equal request where one is in flight. ``alone``: it is the
        whole of its call, so that nobody who came with it could be due before it."""
        identity = (caller.tenant, caller.key)
        work = self._twins_of.get(identity)
        if work is not None:
            self._twins += 1
            work.callers[caller.id] = caller
        else:
            work = self._work[caller.id] = _Work(caller, predicted_s, lateness)
            if self._cache is not None and caller.key:
                self._twins_of[identity] = work
            if alone and not len(self._queue) and self._batcher_has_room:
                self._batcher.add(caller)  # it is its turn
            else:
                self._queue.add(caller)
        self._callers[caller.id] = work
        if caller.deadline_s is not None:
            self._hurried.add(caller.id)

    def _leave(self, request_id: int) -> _Work | None:
        self._hurried.discard(request_id)
        return self._callers.pop(request_id, None)

    # What follows from it

    def _dispatch(self, now_s: float, actions: list[Action]) -> None:
        # To whoever holds requests back, every wait is over while a caller has a deadline, twins
        # too, and once nobody can join any more.
        over = self._hurried or self._draining
        as_of_s = math.inf if over else now_s
        slots = self._slots
        while True:
            self._refill()
            if not slots.free or slots.lone_runs:
                break
            halved = bool(self._halves)
            requests = (
                self._halves.popleft()
                if halved
                else self._batcher.next_batch(as_of_s, self.service)
            )
            if requests is None:
                break
            requests = self._still_wanted(requests, now_s, actions)
            if not requests:
                continue
            batch = Batch(self._next_batch_id, requests)
            size, longest = batch.size, batch.longest
            lone = self._has_the_machine(size, longest)
            service = self._service_of(self.instances if lone else 0)
            instance = slots.run(batch, now_s, service.predict_s(size, longest), lone=lone)
            self._lone_batches += lone
            self._running_requests += size
            self._next_batch_id += 1
            self._sizes[size] += 1
            self._batched += size
            self._tokens += batch.tokens
            self._padded_tokens += size * longest
            reason = "halved" if halved else "lone" if lone else self._why_no_larger(size, longest)
            actions.append(Run(batch, instance, reason))
        if slots.free:
            wake_at_s = self._batcher.wake_at_s()
            if wake_at_s is not None and wake_at_s != self._wake_at_s:
                self._wake_at_s = wake_at_s
                actions.append(Wake(wake_at_s))

    def _why_no_larger(self, size: int, longest: int) -> str:
        spec = self._batcher.spec
        if size >= spec.max_requests or (size + 1) * longest > spec.max_padded_tokens:
            return "full"
        if not len(self._batcher) and not len(self._queue):
            return "nobody_else"
        return "unlike" if company_pays(spec, longest, self.service) else "does_not_pay"

    def _has_the_machine(self, size: int, longest: int) -> bool:
        """Whether a batch is for the lone instance: one request that is alone, if that is faster.

        A batch would be answered sooner there, too, but whoever comes meanwhile would wait for all
        of it while cores that could have been theirs are busy with it."""
        if size > 1 or self.lone_service is None or not self._machine_is_free:
            return False
        if self.lone_service.predict_s(1, longest) < self.service.predict_s(1, longest):
            return True
        # It learns from its own runs alone: what slowed it down may be over.
        self._lone_passed_over += 1
        return self._lone_passed_over % _TRY_AGAIN == 0

    @property
    def _machine_is_free(self) -> bool:
        """Nothing runs, and nobody waits."""
        nobody = not (self._halves or len(self._batcher) or len(self._queue))
        return nobody and self._slots.lone_is_free

    def _service_of(self, instance: int) -> ServiceTimeModel:
        if instance == self.instances and self.lone_service is not None:
            return self.lone_service
        return self.service

    def _refill(self) -> None:
        """Whose turn it is goes to the batcher, which decides who goes together."""
        while self._batcher_has_room:
            request = self._queue.take()
            if request is None:
                return
            self._batcher.add(request)

    @property
    def _batcher_has_room(self) -> bool:
        return len(self._batcher) < self._room and self._batcher.tokens < self._room_tokens

    def _still_wanted(
        self, requests: tuple[Request, ...], now_s: float, actions: list[Action]
    ) -> tuple[Request, ...]:
        """Without those whose callers are gone, or whose deadlines have all passed."""
        if self._hurried:
            for request in requests:
                self._refuse_late(self._work[request.id], now_s, actions)
        left = [request for request in requests if not self._work[request.id].callers]
        if not left:
            return requests
        for request in left:
            self._forget(request)
        return tuple(r for r in requests if r.id in self._work)

    def _refuse_late(self, work: _Work, now_s: float, actions: list[Action]) -> None:
        callers = work.callers
        late = [c for c in callers.values() if c.deadline_s is not None and c.deadline_s <= now_s]
        for caller in late:
            del callers[caller.id]
            self._leave(caller.id)
            if caller is work.leader:
                self._note_lateness(work, now_s)
            self._reject(caller, "deadline", None, actions)

    def _release(self, instance: int, batch: Batch, now_s: float) -> bool:
        """Frees the instance; False where it does not run this batch."""
        if not self._slots.release(instance, batch, now_s):
            self._stale_events += 1
            return False
        self._running_requests -= batch.size
        return True

    def _settle(
        self, leader: Request, value: object, error: Exception | None, actions: list[Action]
    ) -> None:
        """Answers everybody who waits for this work."""
        for caller in self._work[leader.id].callers.values():
            self._leave(caller.id)
            if error is None:
                self._answered += 1
            else:
                self._errors += 1
            source = "engine" if caller.id == leader.id else "twin"
            actions.append(Answer(caller, value, source, error))
        self._forget(leader)

    def _forget(self, leader: Request) -> None:
        work = self._work.pop(leader.id)
        if self._twins_of.get((leader.tenant, leader.key)) is work:
            del self._twins_of[leader.tenant, leader.key]

    def _reject(
        self,
        request: Request,
        reason: str,
        retry_after_s: float | None,
        actions: list[Action],
    ) -> None:
        self._rejected[reason] += 1
        actions.append(Reject(request, reason, retry_after_s))


def _due_first(requests: Sequence[Request]) -> Request:
    return min(requests, key=lambda r: math.inf if r.deadline_s is None else r.deadline_s)


def _learning(service: ServiceTimeModel) -> ServiceTimeModel:
    return LearnedService(service) if isinstance(service, ServiceCurve) else service
