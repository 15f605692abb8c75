"""A request's way through the data plane, one station at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from headgate.batching import FixedWindow
from headgate.caching import LRU, GenerationCache
from headgate.dataplane import (
    Action,
    Answer,
    Arrived,
    Cancelled,
    DataPlane,
    Draining,
    Failed,
    Finished,
    Reject,
    Run,
    Wake,
    Woke,
)
from headgate.errors import EngineError
from headgate.objects import BatchingSpec, BatchInvariance, CacheSpec, Variant
from headgate.workload import Batch, Request, ServiceCurve

CURVE = ServiceCurve(fixed_s=0.1, item_s=0.0, token_s=0.0, square_s=0.0)


def plane(
    *,
    instances: int = 1,
    max_requests: int = 8,
    cache_bytes: int = 100_000,
    batch_invariance: BatchInvariance = BatchInvariance.EXACT,
    max_queue: int = 100,
    max_wait_s: float = 10.0,
) -> DataPlane:
    variant = Variant(
        "v",
        "build",
        instances,
        BatchingSpec(max_requests, 1024),
        CacheSpec("lru", cache_bytes),
        max_queue,
        max_wait_s,
    )
    return DataPlane.of(variant, CURVE, generation=3, batch_invariance=batch_invariance)


def ask(
    i: int,
    key: bytes | None = None,
    *,
    tenant: str = "t",
    deadline_s: float | None = None,
    at_s: float = 0.0,
) -> Arrived:
    return Arrived((Request(i, bytes([i]) if key is None else key, 10, at_s, tenant, deadline_s),))


def batch_of(actions: list[Action]) -> Batch:
    """The one batch that is run."""
    (run,) = [a for a in actions if isinstance(a, Run)]
    return run.batch


def done(batch: Batch, *values: object, instance: int = 0) -> Finished:
    return Finished(batch, instance, values or ("v",) * batch.size, 100)


def test_a_request_on_an_idle_plane_runs_at_once() -> None:
    """Work-conserving: a free instance does not wait for company."""
    p = plane()
    batch = batch_of(p.handle(ask(1), 0.0))
    assert [r.id for r in batch.requests] == [1]
    (answer,) = p.handle(done(batch, "one"), 0.1)
    assert isinstance(answer, Answer)
    assert (answer.request.id, answer.value, answer.source) == (1, "one", "engine")


def test_who_waits_meanwhile_goes_together() -> None:
    """What arrived during a batch is the next batch."""
    p = plane()
    first = batch_of(p.handle(ask(1), 0.0))
    assert p.handle(ask(2), 0.01) == []
    assert p.handle(ask(3), 0.02) == []
    second = batch_of(p.handle(done(first), 0.1))
    assert {r.id for r in second.requests} == {2, 3}


def test_the_items_of_one_call_go_together() -> None:
    """handle_all takes all in before it forms a batch."""
    p = plane()
    assert batch_of(p.handle_all([ask(1), ask(2), ask(3)], 0.0)).size == 3


def test_an_answer_is_given_again_from_the_cache() -> None:
    """Equal key, same tenant: no engine."""
    p = plane()
    p.handle(done(batch_of(p.handle(ask(1, b"k"), 0.0)), "one"), 0.1)
    assert p.handle(ask(2, b"k"), 0.2) == [Answer(ask(2, b"k").requests[0], "one", "cache")]
    assert batch_of(p.handle(ask(3, b"k", tenant="u"), 0.3)).size == 1, "another tenant's is run"


def test_without_a_key_it_is_computed_for_its_caller_alone() -> None:
    """Neither cached, nor shared with another that is in flight, nor taken for it."""
    p = plane()
    p.handle(done(batch_of(p.handle(ask(1, b""), 0.0)), "one"), 0.1)
    again = p.handle(ask(2, b""), 0.2)
    assert batch_of(again).size == 1
    assert p.handle(ask(3, b""), 0.3) == []
    then = p.handle(done(batch_of(again), "two"), 0.4)
    assert batch_of(then).size == 1
    stats = p.stats()
    assert (stats.twins, stats.hits, stats.cache_entries) == (0, 0, 0)


def test_twins_share_one_computation() -> None:
    """Equal requests in flight: one run, an answer for each."""
    p = plane()
    batch = batch_of(p.handle(ask(1, b"k"), 0.0))
    assert p.handle(ask(2, b"k"), 0.01) == []
    answers = p.handle(done(batch, "one"), 0.1)
    assert [(a.request.id, a.value, a.source) for a in answers if isinstance(a, Answer)] == [
        (1, "one", "engine"),
        (2, "one", "twin"),
    ]
    assert p.stats().twins == 1


def test_an_error_goes_to_all_twins_and_is_never_cached() -> None:
    """The leader's failure is everybody's, once; the next caller gets a fresh run."""
    p = plane()
    batch = batch_of(p.handle(ask(1, b"k"), 0.0))
    p.handle(ask(2, b"k"), 0.01)
    error = EngineError("broken")
    answers = p.handle(Failed(batch, 0, error), 0.1)
    assert [(a.request.id, a.error) for a in answers if isinstance(a, Answer)] == [
        (1, error),
        (2, error),
    ]
    assert batch_of(p.handle(ask(3, b"k"), 0.2)).size == 1


def test_work_goes_on_for_twins_when_the_leader_leaves() -> None:
    """A cancelled leader takes nobody with it, waiting or running."""
    p = plane()
    running = batch_of(p.handle(ask(1, b"a"), 0.0))
    p.handle(ask(2, b"k"), 0.01)
    p.handle(ask(3, b"k"), 0.02)
    p.handle(Cancelled(2), 0.03)
    second = batch_of(p.handle(done(running), 0.1))
    assert [r.id for r in second.requests] == [2], "the work keeps its leader's name"
    p.handle(ask(4, b"k"), 0.15)
    (a, b) = p.handle(done(second, "k's"), 0.2)
    assert isinstance(a, Answer)
    assert isinstance(b, Answer)
    assert [(x.request.id, x.value, x.source) for x in (a, b)] == [
        (3, "k's", "twin"),
        (4, "k's", "twin"),
    ]


def test_cancelled_while_waiting_never_runs() -> None:
    """Nobody wants it any more, so no instance is spent on it."""
    p = plane()
    running = batch_of(p.handle(ask(1), 0.0))
    p.handle(ask(2), 0.01)
    p.handle(Cancelled(2), 0.02)
    assert [type(a) for a in p.handle(done(running), 0.1)] == [Answer]
    assert p.stats().cancelled == 1
    assert p.in_flight == 0


def test_cancelled_while_running_still_fills_the_cache() -> None:
    """The answer was paid for: the next caller has it."""
    p = plane()
    batch = batch_of(p.handle(ask(1, b"k"), 0.0))
    p.handle(Cancelled(1), 0.01)
    assert p.handle(done(batch, "one"), 0.1) == []
    (hit,) = p.handle(ask(2, b"k"), 0.2)
    assert isinstance(hit, Answer)
    assert hit.source == "cache"


def test_one_poison_of_32_fails_alone_within_eleven_runs() -> None:
    """Halving finds the bad item; 31 answers are given."""
    p = plane(max_requests=32)
    actions = p.handle_all([ask(i) for i in range(32)], 0.0)
    runs, answers = 0, []
    while pending := [a for a in actions if isinstance(a, Run)]:
        (run,) = pending
        runs += 1
        poisoned = any(r.id == 21 for r in run.batch.requests)
        event = Failed(run.batch, 0, EngineError("poison")) if poisoned else done(run.batch)
        actions = p.handle(event, float(runs))
        answers += [a for a in actions if isinstance(a, Answer)]
    assert runs == 11
    assert [a.request.id for a in answers if a.error is not None] == [21]
    assert len(answers) == 32


def test_an_item_whose_value_is_an_error_fails_alone() -> None:
    """An output contract refuses one answer; its neighbours get theirs and it is not cached."""
    p = plane()
    batch = batch_of(p.handle_all([ask(1), ask(2)], 0.0))
    error = EngineError("not finite")
    answers = p.handle(done(batch, error, "two"), 0.1)
    assert [(a.value, a.error) for a in answers if isinstance(a, Answer)] == [
        (None, error),
        ("two", None),
    ]
    assert p.stats().cache_entries == 1


def test_full_and_slow_queues_refuse_with_the_time_to_come_back() -> None:
    """429 material: a reason and the predicted drain time."""
    p = plane(max_queue=2, max_requests=1)
    for i in (1, 2, 3):
        p.handle(ask(i), 0.0)
    (full,) = p.handle(ask(4), 0.05)
    assert isinstance(full, Reject)
    assert full.reason == "queue_full"
    assert full.retry_after_s == pytest.approx(0.05 + 2 * 0.1)
    slow = plane(max_wait_s=0.15, max_requests=1)
    for i in (1, 2):
        slow.handle(ask(i), 0.0)
    (refused,) = slow.handle(ask(3), 0.0)
    assert isinstance(refused, Reject)
    assert refused.reason == "predicted_wait"


def test_twins_count_as_callers_who_wait() -> None:
    """Equal requests take no device time but memory: the bound holds for them too."""
    p = plane(max_queue=2)
    p.handle(ask(1, b"k"), 0.0)
    for i in (2, 3):
        assert p.handle(ask(i, b"k"), 0.0) == []
    (refused,) = p.handle(ask(4, b"k"), 0.0)
    assert isinstance(refused, Reject)


def test_deadlines_that_cannot_be_met_are_refused_at_once_or_before_running() -> None:
    """Missed already, predicted to be missed, or missed while waiting: never computed."""
    p = plane(max_requests=1)
    (missed,) = p.handle(ask(1, deadline_s=0.05), 0.0)  # service alone takes 0.1 s
    assert isinstance(missed, Reject)
    assert missed.reason == "deadline"
    running = batch_of(p.handle(ask(2), 0.0))
    assert p.handle(ask(3, deadline_s=0.25), 0.0) == []
    late = p.handle(done(running), 0.3)
    assert [type(a) for a in late] == [Answer, Reject]
    assert p.stats().rejected == {"deadline": 2}


def test_draining_answers_what_was_admitted_and_nothing_else() -> None:
    """SIGTERM: no accepted request is lost, and the plane says when it is done."""
    p = plane()
    batch = batch_of(p.handle(ask(1), 0.0))
    p.handle(Draining(), 0.01)
    (refused,) = p.handle(ask(2), 0.02)
    assert isinstance(refused, Reject)
    assert refused.reason == "draining"
    assert not p.drained
    p.handle(done(batch), 0.1)
    assert p.drained


def test_a_dependent_build_neither_caches_nor_mixes_tenants() -> None:
    """Where an answer depends on its neighbours, it stays with them."""
    p = plane(batch_invariance=BatchInvariance.DEPENDENT)
    actions = p.handle_all([ask(1, b"k"), ask(2, b"l", tenant="u"), ask(3, b"k")], 0.0)
    first = batch_of(actions)
    assert {r.tenant for r in first.requests} == {"t"}
    assert first.size == 2, "equal requests of one tenant are not coalesced"
    second = batch_of(p.handle(done(first), 0.1))
    assert [r.tenant for r in second.requests] == ["u"]
    p.handle(done(second), 0.2)
    assert p.stats().cache_entries == 0
    assert batch_of(p.handle(ask(4, b"k"), 0.3)).size == 1


def test_generations_share_a_cache_without_sharing_answers() -> None:
    """After a promotion the old plane's late answer is given, but never kept."""
    cache = GenerationCache(LRU(10_000), generation=1)
    variant = Variant("v", "b", 1, BatchingSpec(8, 512), CacheSpec("lru", 10_000))
    old = DataPlane.of(variant, CURVE, generation=1, cache=cache)
    new = DataPlane.of(variant, CURVE, generation=2, cache=cache)
    batch = batch_of(old.handle(ask(1, b"k"), 0.0))
    cache.fence(2)
    (answer,) = old.handle(done(batch, "old"), 0.1)
    assert isinstance(answer, Answer)
    assert answer.value == "old"
    assert old.stats().fills_refused == 1
    assert batch_of(new.handle(ask(2, b"k"), 0.2)).size == 1


def test_late_words_of_a_restarted_instance_are_ignored() -> None:
    """A batch that is not running cannot finish, twice least of all."""
    p = plane()
    batch = batch_of(p.handle(ask(1), 0.0))
    p.handle(Failed(batch, 0, EngineError("hung")), 1.0)
    assert p.handle(done(batch), 2.0) == []
    current = batch_of(p.handle(ask(2), 3.0))
    assert p.handle(done(batch, "late"), 3.1) == [], "the instance runs another batch by now"
    assert p.stats().stale_events == 2
    (answer,) = p.handle(done(current, "two"), 3.2)
    assert isinstance(answer, Answer)
    assert answer.value == "two"


def test_an_id_in_flight_cannot_be_used_again() -> None:
    """The shell's mistake is an error, not a lost caller."""
    p = plane()
    p.handle(ask(1), 0.0)
    with pytest.raises(ValueError, match="request id 1 is already in flight"):
        p.handle(ask(1, b"other"), 0.1)


def test_a_policy_that_holds_back_asks_to_be_woken_until_its_time_has_come() -> None:
    """Wake is asked for once, and again where the shell's timer was early."""
    p = DataPlane(
        batcher=FixedWindow(BatchingSpec(8, 512), max_wait_s=0.5), service=CURVE, instances=1
    )
    assert p.handle(ask(1), 0.0) == [Wake(0.5)]
    assert p.handle(ask(2), 0.1) == []
    assert p.handle(Woke(), 0.2) == [Wake(0.5)]
    assert batch_of(p.handle(Woke(), 0.5)).size == 2


def test_the_time_that_a_batch_will_take_is_no_time_that_others_have_waited() -> None:
    """Two instances are free when the first window ends; the second request's ends later."""
    slow = ServiceCurve(fixed_s=9.0, item_s=0.0, token_s=0.0, square_s=0.0)
    p = DataPlane(
        batcher=FixedWindow(BatchingSpec(8, 512), max_wait_s=1.0), service=slow, instances=2
    )
    p.handle(Arrived((Request(1, b"1", 10, 0.0, group="a"),)), 0.0)
    p.handle(Arrived((Request(2, b"2", 10, 0.5, group="b"),)), 0.5)
    run, wake = p.handle(Woke(), 1.0)
    assert isinstance(run, Run)
    assert [r.id for r in run.batch.requests] == [1]
    assert wake == Wake(1.5)


def test_a_flood_of_one_tenant_does_not_delay_another() -> None:
    """A hundred wait when another tenant's only request comes: at most the batches that are at
    hand go before it, and two of those that are not."""
    p = plane(max_requests=2, max_queue=1000)
    running = batch_of(p.handle_all([ask(i, b"%d" % i, tenant="flood") for i in range(100)], 0.0))
    p.handle(ask(200, tenant="light"), 0.0)
    for before in range(7):
        running = batch_of(p.handle(done(running), 0.1 * (before + 1)))
        if any(r.tenant == "light" for r in running.requests):
            break
    assert before <= 5
    assert p.stats().queued > 80


def test_weights_share_the_device_while_both_wait() -> None:
    """Three to one, within the batches that are at hand."""
    variant = Variant("v", "build", 1, BatchingSpec(2, 1024), CacheSpec("lru", 0), 1000)
    p = DataPlane.of(variant, CURVE, weights={"gold": 3.0})
    both = [ask(i, b"%d" % i, tenant="gold" if i % 2 else "iron") for i in range(200)]
    running = batch_of(p.handle_all(both, 0.0))
    served = Counter(r.tenant for r in running.requests)
    for n in range(1, 40):
        running = batch_of(p.handle(done(running), 0.1 * n))
        served.update(r.tenant for r in running.requests)
    assert 56 <= served["gold"] <= 64


def test_a_request_with_priority_goes_before_those_of_its_tenant_that_wait_longer() -> None:
    """Not before those that the batcher has at hand already."""
    p = plane(max_requests=1, max_queue=100)
    running = batch_of(p.handle_all([ask(i, b"%d" % i) for i in range(20)], 0.0))
    p.handle(Arrived((Request(99, b"99", 10, 0.05, "t", priority=3),)), 0.05)
    order = []
    for n in range(1, 21):
        running = batch_of(p.handle(done(running), 0.1 * n))
        order += [r.id for r in running.requests]
    assert order.index(99) == 4


def test_who_waits_for_a_turn_can_be_cancelled() -> None:
    """And is never run."""
    p = plane(max_requests=1, max_queue=100)
    running = batch_of(p.handle_all([ask(i, b"%d" % i) for i in range(20)], 0.0))
    p.handle(Cancelled(15), 0.05)
    seen = [running.requests[0].id]
    for n in range(1, 19):
        running = batch_of(p.handle(done(running), 0.1 * n))
        seen += [r.id for r in running.requests]
    assert seen == [i for i in range(20) if i != 15]
    assert p.stats().queued == 0


def patient() -> DataPlane:
    """One instance, free; requests 1 to 3 came a tenth of a second apart and are held till 1.0."""
    spec = BatchingSpec(8, 1024, max_wait_s=1.0)
    variant = Variant("v", "build", 1, spec, CacheSpec("lru", 100_000), 100, 0.05)
    p = DataPlane.of(variant, CURVE, generation=3)
    assert p.handle(ask(1, at_s=0.0), 0.0)  # runs at once: nobody knows yet how many come
    p.handle(Finished(batch_of_running(p), 0, ("one",), 4), 0.1)
    held = [a for i in (2, 3) for a in p.handle(ask(i, at_s=0.1 * i), 0.1 * i)]
    assert held == [Wake(1.2)]
    return p


def batch_of_running(p: DataPlane) -> Batch:
    (call,) = p._slots.running.values()
    assert isinstance(call.work, Batch)
    return call.work


def test_held_requests_run_together_when_the_wait_is_over() -> None:
    """The oldest's wait is everybody's."""
    p = patient()
    assert [r.id for r in batch_of(p.handle(Woke(), 1.2)).requests] == [2, 3]


def test_a_deadline_ends_every_hold_a_twins_too() -> None:
    """Whoever is in a hurry makes nobody wait for company, not even behind an equal request."""
    p = patient()
    assert batch_of(p.handle(ask(4, deadline_s=9.0, at_s=0.35), 0.35)).size == 3
    p = patient()
    assert batch_of(p.handle(ask(4, bytes([2]), deadline_s=9.0, at_s=0.35), 0.35)).size == 2


def test_a_hurried_caller_who_leaves_lets_the_others_be_held_again() -> None:
    """Only as long as somebody has a deadline."""
    p = patient()
    batch_of(p.handle(ask(4, deadline_s=9.0, at_s=0.35), 0.35))
    p.handle(Cancelled(4), 0.36)
    p.handle(Finished(batch_of_running(p), 0, (1, 2, 3), 4), 0.45)
    assert p.handle(ask(5, at_s=0.5), 0.5) == [Wake(1.5)]


def test_draining_ends_every_hold() -> None:
    """Nobody can join any more."""
    assert batch_of(patient().handle(Draining(), 0.35)).size == 2


def test_held_requests_are_no_queue_to_the_next() -> None:
    """An instance is free: whoever comes joins at once, however little may be waited."""
    p = patient()
    assert p.predicted_wait_s(0.35) == 0.0
    actions = p.handle(ask(4, deadline_s=0.5, at_s=0.35), 0.35)
    assert not [a for a in actions if isinstance(a, Reject)]


def test_without_a_cache_twins_are_run_apart() -> None:
    """Coalescing is part of caching: off means off."""
    p = plane(cache_bytes=0)
    assert batch_of(p.handle_all([ask(1, b"k"), ask(2, b"k")], 0.0)).size == 2
    assert (p.stats().hits, p.stats().misses, p.stats().twins) == (0, 0, 0)


def test_a_plane_needs_an_instance() -> None:
    """Zero instances would accept and never answer."""
    with pytest.raises(ValueError, match="at least one instance"):
        plane(instances=0)


def test_the_plane_learns_from_what_calls_took_and_not_from_how_long_it_waited_for_word() -> None:
    """A shell that reports late does not make the engine slow; an engine that is slow does."""
    p = plane()
    for i in range(40):
        batch = batch_of(p.handle(ask(i), 10.0 * i))
        p.handle(Finished(batch, 0, ("v",), 0), 10.0 * i + 5.0)
    assert p.service.predict_s(1, 10) == CURVE.predict_s(1, 10)
    for i in range(40, 80):
        batch = batch_of(p.handle(ask(i), 10.0 * i))
        p.handle(Finished(batch, 0, ("v",), 0, 0.2), 10.0 * i + 5.0)
    assert p.service.predict_s(1, 10) == pytest.approx(0.2, rel=0.05)


def call(*numbers: int, deadline_s: float | None = None, key: bytes = b"") -> Arrived:
    """One call with a request of each number."""
    return Arrived(tuple(Request(i, key or bytes([i]), 10, 0.0, "t", deadline_s) for i in numbers))


def told(actions: list[Action], kind: type[Action]) -> list[int]:
    return [a.request.id for a in actions if isinstance(a, kind) and not isinstance(a, Run | Wake)]


def test_a_call_is_let_in_whole_or_refused_whole() -> None:
    """Two wait and four may: a call of three is refused with all of its items, one of two fits."""
    p = plane(max_queue=4)
    p.handle(call(1), 0.0)
    p.handle(call(2, 3), 0.0)
    assert told(p.handle(call(4, 5, 6), 0.0), Reject) == [4, 5, 6]
    assert told(p.handle(call(7, 8), 0.0), Reject) == []


def test_a_call_of_more_than_may_wait_is_let_in_where_nobody_waits() -> None:
    """Or it never would be."""
    p = plane(max_queue=2)
    p.handle(call(1), 0.0)
    assert told(p.handle(call(2, 3, 4), 0.0), Reject) == []
    assert told(p.handle(call(5), 0.0), Reject) == [5]


def test_what_the_cache_has_of_a_refused_call_is_not_answered() -> None:
    """Nobody gets half of an answer; and a call that the cache has whole is never refused."""
    p = plane(max_queue=1)
    p.handle(done(batch_of(p.handle(call(1, key=b"k"), 0.0)), "one"), 0.1)
    p.handle(call(2), 0.2)
    p.handle(call(3), 0.2)
    known = Request(4, b"k", 10, 0.2, "t")
    actions = p.handle(Arrived((known, Request(5, b"5", 10, 0.2, "t"))), 0.2)
    assert (told(actions, Reject), told(actions, Answer)) == ([4, 5], [])
    assert p.stats().hits == 0
    assert told(p.handle(Arrived((replace(known, id=6),)), 0.2), Answer) == [6]


def test_a_deadline_is_that_of_the_last_item() -> None:
    """One item can be answered in time; a hundred of the same call cannot, and are refused at
    once."""
    p = plane()
    assert told(p.handle(call(1, deadline_s=1.0), 0.0), Reject) == []
    p = plane()
    late = p.handle(call(*range(100), deadline_s=1.0), 0.0)
    assert len(told(late, Reject)) == 100


def test_equal_items_of_one_call_are_computed_once() -> None:
    """The second is the first's twin from the start."""
    p = plane()
    assert batch_of(p.handle(call(1, 2, key=b"k"), 0.0)).size == 1


def test_a_promise_is_what_nearly_all_keep() -> None:
    """Engines that take twice what is predicted for some: under overload the share of those let in
    who are then late falls from a half to a few in a hundred, as lateness is learned."""
    rng = np.random.default_rng(0)
    p = plane(max_requests=1, cache_bytes=0)
    now_s, until_s, late, kept = 0.0, 0.0, [0, 0], [0, 0]
    running: list[Batch] = []
    for i in range(12_000):
        now_s += float(rng.exponential(0.05))
        while running and until_s <= now_s:
            ended_s, batch = until_s, running.pop()
            actions = p.handle(done(batch, 0), ended_s)
            (on_time,) = (ended_s <= (r.deadline_s or 0.0) for r in batch.requests)
            half = i >= 6_000
            kept[half] += on_time
            late[half] += not on_time
            late[half] += len(told(actions, Reject))
            running = [a.batch for a in actions if isinstance(a, Run)]
            until_s = ended_s + 0.1 * float(rng.choice([0.5, 1.5]))
        arrived = p.handle(
            Arrived((Request(i, b"%d" % i, 10, now_s, deadline_s=now_s + 1.0),)), now_s
        )
        if not running:
            running = [a.batch for a in arrived if isinstance(a, Run)]
            until_s = now_s + 0.1 * float(rng.choice([0.5, 1.5]))
    assert late[0] / (late[0] + kept[0]) < 0.3
    assert late[1] / (late[1] + kept[1]) < 0.03
    assert kept[1] > 2_500, "it still lets in most of what could be served"


def test_every_batch_says_why_it_is_no_larger() -> None:
    """Eight requests at most and 320 tokens; a call is a hundred times a token."""
    curve = ServiceCurve(fixed_s=0.1, item_s=0.0, token_s=1e-3, square_s=0.0)
    spec = BatchingSpec(8, 320)

    def why(service: ServiceCurve, *tokens: int) -> str:
        p = DataPlane.of(Variant("v", "build", 1, spec, CacheSpec()), service)
        requests = [Request(i, bytes([i]), n, 0.0) for i, n in enumerate(tokens)]
        (run,) = (a for a in p.handle(Arrived(tuple(requests)), 0.0) if isinstance(a, Run))
        return run.reason

    assert why(curve, 10, 10) == "nobody_else"
    assert why(curve, *[10] * 9) == "full"
    assert why(curve, 160, 160, 10) == "full"  # by its tokens
    assert why(curve, 150, 1) == "unlike"
    assert why(replace(curve, fixed_s=1e-4), 10, 10) == "does_not_pay"


def test_a_half_of_a_failed_batch_says_so() -> None:
    p = plane()
    (run,) = (a for a in p.handle(Arrived(tuple(a for i in (1, 2) for a in ask(i).requests)), 0.0))
    assert isinstance(run, Run)
    (half,) = p.handle(Failed(run.batch, 0, EngineError("it broke")), 0.1)
    assert isinstance(half, Run)
    assert half.reason == "halved"
