"""First come first served, the fixed window, and the search for the largest batch in time."""

from __future__ import annotations

from headgate.batching import AIMD, FixedWindow, Greedy
from headgate.objects import BatchingSpec
from headgate.workload import Request, ServiceCurve

CURVE = ServiceCurve(1e-3, 0.0, 1e-5, 0.0)
SPEC = BatchingSpec(max_requests=3, max_padded_tokens=60)


def ids(formed: tuple[Request, ...] | None) -> list[int]:
    return [r.id for r in formed or ()]


def test_greedy_stops_at_the_first_misfit() -> None:
    """Order of arrival is kept, even where a later one would still fit."""
    greedy = Greedy(SPEC)
    for i, length in enumerate([20, 20, 40, 5]):
        greedy.add(Request(i, b"", length, 0.0))
    assert ids(greedy.next_batch(0.0, CURVE)) == [0, 1]
    assert ids(greedy.next_batch(0.0, CURVE)) == [2]
    assert ids(greedy.next_batch(0.0, CURVE)) == [3]


def test_a_window_holds_back_until_it_ends_or_is_full() -> None:
    """A partial batch waits for its oldest request's window; a full one does not."""
    window = FixedWindow(SPEC, max_wait_s=0.5)
    assert window.wake_at_s() is None
    window.add(Request(0, b"", 10, 1.0))
    assert window.next_batch(1.4, CURVE) is None
    assert window.wake_at_s() == 1.5
    assert ids(window.next_batch(1.5, CURVE)) == [0]
    for i in (1, 2, 3, 4):
        window.add(Request(i, b"", 10, 2.0))
    assert ids(window.next_batch(2.0, CURVE)) == [1, 2, 3]
    assert window.next_batch(2.0, CURVE) is None


def test_aimd_grows_by_one_while_calls_keep_the_objective_and_shrinks_by_a_tenth() -> None:
    """1 ms and 10 us a token: batches of n tens keep 1.55 ms up to n = 5."""
    aimd = AIMD(BatchingSpec(max_requests=8, max_padded_tokens=800), objective_s=1.55e-3)
    for i in range(100):
        aimd.add(Request(i, b"", 10, 0.0))
    sizes = [len(ids(aimd.next_batch(0.0, CURVE))) for _ in range(10)]
    assert sizes == [1, 2, 3, 4, 5, 6, 5, 6, 5, 6]


def test_aimd_does_not_grow_where_batches_are_not_full() -> None:
    """Two that wait say nothing about three."""
    aimd = AIMD(SPEC, objective_s=1.0)
    for i in range(6):
        aimd.add(Request(2 * i, b"", 10, 0.0))
        aimd.add(Request(2 * i + 1, b"", 10, 0.0))
        while len(aimd):
            aimd.next_batch(0.0, CURVE)
    assert aimd.limit == 3.0
    aimd.add(Request(100, b"", 10, 0.0))
    aimd.next_batch(0.0, CURVE)
    assert aimd.limit == 3.0
