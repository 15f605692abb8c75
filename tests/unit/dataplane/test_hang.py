"""Engines that hang: who is told what, who goes on, and what the successor finds."""

from __future__ import annotations

import pytest

from headgate.batching import TokenBudgetBatcher
from headgate.caching import GenerationCache, make_policy
from headgate.dataplane import (
    Answer,
    Arrived,
    DataPlane,
    Finished,
    Looked,
    NotReplaced,
    Probe,
    Proved,
    Reject,
    Replace,
    Replaced,
)
from headgate.errors import EngineError
from headgate.objects import BatchingSpec, CacheSpec
from headgate.scheduling import Admission
from headgate.workload import Request, ServiceCurve
from tests.plane_shell import PlaneShell

SPEC = BatchingSpec(max_requests=4, max_padded_tokens=1024)


def shell(*, instances: int = 1, service_s: float = 0.1, max_queue: int = 100) -> PlaneShell:
    """Batches of four, each predicted to take ``service_s`` whatever is in it; a cache."""
    plane = DataPlane(
        batcher=TokenBudgetBatcher(SPEC),
        service=ServiceCurve(fixed_s=service_s, item_s=0.0, token_s=0.0, square_s=0.0),
        instances=instances,
        admission=Admission(max_queue, 1000.0),
        cache=GenerationCache(make_policy(CacheSpec("lru", 100_000)), generation=0),
    )
    return PlaneShell(plane, SPEC)


def request(number: int, s: PlaneShell, key: bytes = b"") -> Request:
    return Request(number, key or b"%d" % number, 10, s.now_s)


def ask(s: PlaneShell, *numbers: int, key: bytes = b"") -> None:
    s.arrive(*(request(n, s, key) for n in numbers))


def hang(s: PlaneShell, *healthy: int, seconds: int = 6) -> None:
    """Time passes while somebody looks; ``healthy`` instances answer their canaries."""
    for _ in range(seconds):
        s.look()
        for instance in healthy:
            if instance in s.proving:
                s.prove(instance)


def test_the_callers_of_a_batch_that_hangs_are_told_at_once() -> None:
    """All of it, twins too: an error with a reason of its own, five seconds after it began."""
    s = shell()
    ask(s, 1, 2, 3)
    ask(s, 4, key=b"1")
    hang(s, seconds=4)
    assert s.outcomes == {}
    replaced, *answers = s.plane.handle(Looked(), 5.0)
    assert replaced == Replace(0)
    assert [a.request.id for a in answers if isinstance(a, Answer)] == [1, 4, 2, 3]
    for answer in answers:
        assert isinstance(answer, Answer)
        assert isinstance(answer.error, EngineError)
        assert answer.error.reason == "engine_hung"
        assert "within 5 s" in answer.error.what


def test_what_hung_is_neither_split_nor_run_again() -> None:
    """The poison that hung one engine may hang the next."""
    s = shell()
    ask(s, 1, 2, 3)
    hang(s)
    s.replace(0)
    assert s.outcomes == dict.fromkeys((1, 2, 3), "error")
    assert s.ran == {1: 1, 2: 1, 3: 1}
    assert s.running == {}
    assert s.plane.stats().bisections == 0


def test_a_long_batch_has_its_time() -> None:
    """Two seconds are predicted: twenty are waited for."""
    s = shell(service_s=2.0)
    ask(s, 1)
    hang(s, seconds=19)
    assert s.lost == {}
    s.finish(0)
    assert s.outcomes == {1: "engine"}
    ask(s, 2)
    hang(s, seconds=20)
    assert list(s.lost) == [0]


def test_a_late_answer_is_given_to_nobody_and_never_cached() -> None:
    """Before and after the successor runs something else; whoever asks again has it computed."""
    s = shell()
    ask(s, 1, key=b"k")
    hang(s)
    batch = s.lost[0]
    s.come_back_late(0)
    s.replace(0)
    ask(s, 2, key=b"k")
    assert list(s.running) == [0], "it was not in the cache"
    late = Finished(batch, 0, ("late",), 64)  # type: ignore[arg-type]  # a batch, not a canary
    assert s.plane.handle(late, s.now_s) == []
    assert s.plane.stats().stale_events == 2
    s.finish(0)
    assert s.outcomes == {1: "error", 2: "engine"}


@pytest.mark.parametrize("first", ["the answer", "the look"])
def test_whoever_comes_first_decides(first: str) -> None:
    """An engine that comes back in the moment in which it is given up: one outcome, either way."""
    s = shell()
    ask(s, 1)
    hang(s, seconds=4)
    if first == "the answer":
        s.now_s += 1.0
        s.finish(0)
        s.look(0.0)
        assert s.outcomes == {1: "engine"}
    else:
        s.look(1.0)
        s.come_back_late(0)
        assert s.outcomes == {1: "error"}
    s.settle()


def test_the_others_go_on_and_capacity_is_theirs() -> None:
    """One of two hangs: it gets nothing more, what waits is predicted for one, and answered."""
    s = shell(instances=2)
    ask(s, 1)
    (wedged,) = s.running
    other = 1 - wedged
    hang(s, other)
    assert list(s.lost) == [wedged]
    assert s.plane.in_service(s.now_s) == [other]
    ask(s, *range(2, 14))
    assert list(s.running) == [other]
    assert s.plane.predicted_wait_s(s.now_s) == pytest.approx(0.1 + 2 * 0.1)
    for _ in range(3):
        s.finish(other)
    assert all(s.outcomes[n] == "engine" for n in range(2, 14))
    s.replace(wedged)
    ask(s, *range(14, 22))
    assert sorted(s.running) == [0, 1]
    s.settle()


def test_what_waits_is_answered_by_the_successor() -> None:
    """Accepted before and during the hang, and nobody else is there to run it."""
    s = shell()
    ask(s, 1)
    ask(s, 2)
    hang(s)
    ask(s, 3)
    assert s.outcomes == {1: "error"}
    assert s.plane.in_service(s.now_s) == []
    s.replace(0)
    s.finish(0)
    assert s.outcomes == {1: "error", 2: "engine", 3: "engine"}


def test_two_may_hang_at_once() -> None:
    """Each tells its own callers, and each is replaced."""
    s = shell(instances=2)
    ask(s, 1)
    ask(s, 2)
    hang(s)
    assert s.outcomes == {1: "error", 2: "error"}
    assert sorted(s.lost) == [0, 1]
    ask(s, 3)
    s.replace(1)
    assert list(s.running) == [1]
    s.settle()


def test_an_idle_instance_proves_itself_whenever_somebody_looks() -> None:
    """After a whole second without work, not while it works, and not twice at once."""
    s = shell(instances=2)
    s.look()
    assert s.proving == {}, "nobody knows yet how long it was idle"
    ask(s, 1)
    (busy,) = s.running
    s.look()
    assert list(s.proving) == [1 - busy]
    s.look()
    s.prove(1 - busy)
    s.now_s += 0.1
    s.finish(busy)
    s.look()
    assert list(s.proving) == [1 - busy], "the other was at work within the last second"
    s.look()
    assert sorted(s.proving) == [0, 1]
    s.settle()


def test_a_canary_that_hangs_counts_as_a_call_that_hangs() -> None:
    """Nobody had to be told; the next request goes to the other, and the slot is replaced."""
    s = shell(instances=2)
    hang(s, 1)
    hang(s, 1, seconds=3)
    assert list(s.lost) == [0]
    assert s.outcomes == {}
    ask(s, 1)
    assert list(s.running) == [1]
    s.come_back_late(0)
    s.replace(0)
    s.settle()


def test_a_late_canary_proves_nothing_about_the_successor() -> None:
    """Which is at a canary of its own, and hangs too."""
    s = shell()
    hang(s, seconds=7)
    first = s.lost[0]
    s.replace(0)
    hang(s, seconds=2)
    assert isinstance(first, Probe)
    assert s.plane.handle(Proved(first), s.now_s) == []
    s.late += 1
    ask(s, 1)
    assert s.running == {}, "the successor has proved nothing yet"
    hang(s, seconds=5)
    assert list(s.lost) == [0]
    s.settle()


def test_a_canary_is_no_queue() -> None:
    """Where nobody may wait, one who comes during a canary is let in, and runs after it."""
    s = shell(max_queue=0)
    s.look()
    s.look()
    assert list(s.proving) == [0]
    assert s.plane.predicted_wait_s(s.now_s) == 0.0
    ask(s, 1)
    s.prove(0)
    assert list(s.running) == [0]
    s.settle()
    assert s.outcomes == {1: "engine"}


def test_a_caller_who_leaves_before_or_after_hears_nothing_more() -> None:
    """Cancelled while it hangs: counted as that. Cancelled once told: too late."""
    s = shell()
    ask(s, 1, 2)
    s.cancel(1)
    hang(s)
    assert s.outcomes == {1: "cancelled", 2: "error"}
    s.cancel(2)
    s.settle()


def test_draining_ends_with_a_batch_that_hangs() -> None:
    """Its callers are told, what waits is answered by the successor, and that is all."""
    s = shell()
    ask(s, 1)
    ask(s, 2)
    s.drain()
    hang(s)
    assert not s.plane.drained
    s.replace(0)
    s.finish(0)
    assert s.plane.drained
    assert s.outcomes == {1: "error", 2: "engine"}


def test_where_no_engine_is_left_nobody_waits_for_one() -> None:
    """No successor could be loaded: who waits is refused, whoever comes is refused at once, and
    once one is loaded after all, everything is as before."""
    s = shell(instances=2)
    ask(s, 1)
    ask(s, 2)
    ask(s, 3)
    hang(s)
    s.fail_to_replace(0)
    assert s.plane.in_flight == 1, "the other's successor may still come"
    s.fail_to_replace(1)
    (refused,) = s.plane.handle(Arrived((request(9, s),)), s.now_s)
    assert isinstance(refused, Reject)
    assert (refused.reason, s.outcomes[3]) == ("no_engine", "rejected: no_engine")
    s.replace(1)
    s.requests.clear()
    s.outcomes.clear()
    ask(s, 4)
    s.finish(1)
    assert s.outcomes == {4: "engine"}


def test_a_failed_replacement_of_one_refuses_nobody() -> None:
    """The other serves."""
    s = shell(instances=2)
    ask(s, 1)
    (wedged,) = s.running
    hang(s, 1 - wedged)
    s.fail_to_replace(wedged)
    ask(s, 2)
    s.settle()
    assert s.outcomes == {1: "error", 2: "engine"}


def test_a_clock_that_jumps_hangs_nobody() -> None:
    """An hour passes between two looks, as for a machine that slept."""
    s = shell(instances=2)
    s.look()
    ask(s, 1)
    s.look(3600.0)
    assert s.lost == {}
    assert len(s.plane.in_service(s.now_s)) == 2
    s.settle()
    assert s.outcomes == {1: "engine"}


def test_a_successor_that_nobody_needs_changes_nothing() -> None:
    """A shell's mistake is counted, and the instance keeps its batch."""
    s = shell()
    ask(s, 1)
    assert s.plane.handle_all([Replaced(0), NotReplaced(0)], 0.0) == []
    s.late += 2
    s.settle()
    assert s.outcomes == {1: "engine"}


def test_an_instance_has_as_long_as_what_it_proves_itself_on_takes() -> None:
    """An item of a thousand tokens is predicted to take ten seconds: after five it hangs no more
    than one that answers it."""
    plane = DataPlane(
        batcher=TokenBudgetBatcher(SPEC),
        service=ServiceCurve(fixed_s=0.0, item_s=0.0, token_s=0.01, square_s=0.0),
        instances=1,
        admission=Admission(100, 1000.0),
    )
    plane.handle(Looked(), 0.0)
    plane.handle(Looked(length=1000), 1.0)
    for now_s in range(2, 90):
        assert plane.handle(Looked(), float(now_s)) == []
    given_up = [plane.handle(Looked(), float(now_s)) for now_s in range(90, 110)]
    assert sum([Replace(0) in actions for actions in given_up]) == 1
