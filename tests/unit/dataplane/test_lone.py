"""One more instance, of all cores, for a request that has the machine to itself."""

from __future__ import annotations

import pytest

from headgate.dataplane import (
    Action,
    Arrived,
    DataPlane,
    Failed,
    Finished,
    Looked,
    Probe,
    Proved,
    Replaced,
    Run,
)
from headgate.errors import EngineError
from headgate.objects import BatchingSpec, CacheSpec, Variant
from headgate.workload import Request, ServiceCurve

NARROW = ServiceCurve(fixed_s=0.1, item_s=0.0, token_s=0.0, square_s=0.0)
WIDE = ServiceCurve(fixed_s=0.06, item_s=0.0, token_s=0.0, square_s=0.0)
LONE = 2
"""The number of the instance, after those of one core each."""


def plane(lone: ServiceCurve = WIDE, *, max_requests: int = 1) -> DataPlane:
    variant = Variant(
        "v", "build", 2, BatchingSpec(max_requests, 1024), CacheSpec(), lone_threads=2
    )
    return DataPlane.of(variant, NARROW, lone_service=lone)


def ask(*ids: int, at_s: float = 0.0) -> Arrived:
    return Arrived(tuple(Request(i, bytes([i]), 10, at_s) for i in ids))


def runs(actions: list[Action]) -> list[Run]:
    return [a for a in actions if isinstance(a, Run)]


def end(run: Run, duration_s: float | None = None) -> Finished:
    return Finished(run.batch, run.instance, ("v",) * run.batch.size, 0, duration_s)


def test_a_request_that_is_alone_has_the_machine_to_itself() -> None:
    p = plane()
    (run,) = runs(p.handle(ask(1), 0.0))
    assert run.instance == LONE
    assert p.stats().lone_batches == 1


def test_nothing_runs_beside_it_and_who_came_meanwhile_runs_after_it_side_by_side() -> None:
    p = plane()
    (lone,) = runs(p.handle(ask(1), 0.0))
    assert not runs(p.handle(ask(2), 0.01))
    assert not runs(p.handle(ask(3), 0.02))
    after = runs(p.handle(end(lone), 0.06))
    assert sorted(run.instance for run in after) == [0, 1]


def test_one_who_came_meanwhile_is_alone_in_turn() -> None:
    p = plane()
    (lone,) = runs(p.handle(ask(1), 0.0))
    p.handle(ask(2), 0.01)
    (after,) = runs(p.handle(end(lone), 0.06))
    assert after.instance == LONE


def test_beside_a_running_batch_nobody_is_alone() -> None:
    p = plane()
    assert [run.instance for run in runs(p.handle(ask(1, 2), 0.0))] == [0, 1]
    p = plane()
    first, _ = runs(p.handle(ask(1, 2), 0.0))
    p.handle(end(first), 0.1)
    (beside,) = runs(p.handle(ask(3), 0.15))
    assert beside.instance == first.instance


def test_a_batch_leaves_room_for_who_comes_meanwhile() -> None:
    (run,) = runs(plane(max_requests=8).handle(ask(1, 2), 0.0))
    assert run.batch.size == 2
    assert run.instance == 0


def test_an_engine_that_is_no_faster_is_not_used() -> None:
    (run,) = runs(plane(lone=NARROW).handle(ask(1), 0.0))
    assert run.instance == 0


def test_it_learns_for_itself() -> None:
    """On a machine where two threads no longer help, the lone engine is soon left alone."""
    p = plane()
    used = 0
    for i in range(50):
        (run,) = runs(p.handle(ask(i, at_s=float(i)), float(i)))
        used += run.instance == LONE
        p.handle(end(run, 0.2 if run.instance == LONE else 0.1), i + 0.2)
    assert 5 < used < 20
    assert p.service.predict_s(1, 10) == pytest.approx(0.1)


def test_a_newcomer_waits_for_all_of_the_lone_run() -> None:
    p = plane()
    p.handle(ask(1), 0.0)
    assert p.predicted_wait_s(0.02) == pytest.approx(0.04)


def test_its_failure_is_its_callers_alone_and_the_machine_is_free_again() -> None:
    p = plane()
    (lone,) = runs(p.handle(ask(1), 0.0))
    (told,) = p.handle(Failed(lone.batch, LONE, EngineError("it broke")), 0.05)
    assert isinstance(getattr(told, "error", None), EngineError)
    assert [run.instance for run in runs(p.handle(ask(2, 3), 1.0))] == [0, 1]


def test_a_variant_and_its_curves_must_agree() -> None:
    variant = Variant("v", "build", 2, BatchingSpec(), CacheSpec(), lone_threads=2)
    with pytest.raises(ValueError, match="lone_threads is 2"):
        DataPlane.of(variant, NARROW)


def test_a_deadline_that_the_lone_engine_keeps_is_no_reason_to_refuse() -> None:
    p = plane()
    request = Request(1, b"1", 10, 0.0, deadline_s=0.08)
    (run,) = runs(p.handle(Arrived((request,)), 0.0))
    assert run.instance == LONE


def test_a_slow_lone_engine_is_tried_again_now_and_then() -> None:
    p = plane(lone=NARROW)
    tried = []
    for i in range(200):
        (run,) = runs(p.handle(ask(i, at_s=float(i)), float(i)))
        tried += [i] * (run.instance == LONE)
        p.handle(end(run), i + 0.1)
    assert len(tried) == 3


def proven(p: DataPlane, *good: int) -> None:
    """A look at 1 s sends canaries to all; those of ``good`` come back."""
    p.handle(Looked(), 0.0)
    probes = [a for a in p.handle(Looked(), 1.0) if isinstance(a, Probe)]
    assert [probe.instance for probe in probes] == [0, 1, LONE]
    for instance in good:
        p.handle(Proved(probes[instance]), 1.1)


def test_no_canary_runs_beside_it_and_its_own_waits_for_a_quiet_moment() -> None:
    p = plane()
    proven(p, 0, 1, LONE)
    (lone,) = runs(p.handle(ask(1, at_s=1.5), 1.5))
    assert p.handle(Looked(), 2.0) == []
    p.handle(end(lone), 2.1)
    first, second = runs(p.handle(ask(2, 3, at_s=2.2), 2.2))
    assert p.handle(Looked(), 3.0) == []
    p.handle(end(first), 3.1)
    p.handle(end(second), 3.1)
    assert {a.instance for a in p.handle(Looked(), 4.0) if isinstance(a, Probe)} == {LONE}


def test_it_alone_is_no_service() -> None:
    """It is in service beside others only: where they are lost it is given nothing."""
    p = plane()
    assert p.in_service(0.0) == [0, 1, LONE]
    proven(p, LONE)
    for now_s in (3.0, 5.0, 7.0):
        p.handle(Looked(), now_s)
    assert p.stats().lost_instances == 2
    assert p.in_service(7.0) == []
    assert not runs(p.handle(ask(1, at_s=7.1), 7.1))
    p.handle(Replaced(0), 7.5)
    assert p.in_service(7.5) == [0, LONE]
