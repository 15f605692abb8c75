"""What is current changes by compare-and-swap, and its history has no gaps."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.errors import Refused
from headgate.ledger import Store
from headgate.objects import Release, digest

Make = Callable[..., Release]


def test_promotion_moves_current_and_keeps_history(store: Store, release: Make) -> None:
    """Generation 0, then 1; current is the last, history has both with their entries."""
    assert store.current("docs-search") is None
    decision = store.append("decision", {"action": "accept"})
    baseline, winner = release(0), release(1, b"int8", decision=decision.id, extra={"index": "x"})
    first = store.promote(baseline, expected_generation=None)
    second = store.promote(winner, expected_generation=0)
    assert store.current("docs-search") == winner
    assert store.history("docs-search") == [(first, baseline), (second, winner)]
    assert store.current("other") is None


def test_rollback_is_a_new_release_of_an_earlier_variant(store: Store, release: Make) -> None:
    """Nothing leaves the history: going back is one more generation."""
    for generation, variant in enumerate([b"old", b"new", b"old"]):
        before = generation - 1 if generation else None
        store.promote(release(generation, variant), expected_generation=before)
    variants = [r.variant for _, r in store.history("docs-search")]
    assert variants[2] == variants[0] != variants[1]
    assert [r.generation for _, r in store.history("docs-search")] == [0, 1, 2]


@pytest.mark.parametrize("expected", [None, 0, 2])
def test_a_moved_generation_is_refused(store: Store, release: Make, expected: int | None) -> None:
    """Whoever judged against another generation than the current one may not promote."""
    store.promote(release(0), expected_generation=None)
    store.promote(release(1), expected_generation=0)
    with pytest.raises(Refused, match="generation 1") as caught:
        store.promote(release(2), expected_generation=expected)
    assert caught.value.reason == "generation_moved"
    assert len(store.history("docs-search")) == 2


@pytest.mark.parametrize("generation", [-1, 0, 2])
def test_a_generation_is_never_left_out_or_repeated(
    store: Store, release: Make, generation: int
) -> None:
    """After 0 only 1 can follow."""
    store.promote(release(0), expected_generation=None)
    with pytest.raises(Refused) as caught:
        store.promote(release(generation), expected_generation=0)
    assert caught.value.reason == "generation_gap"


def test_what_a_release_stands_on_must_be_here(store: Store, release: Make) -> None:
    """A variant without content and a decision that was never recorded are refused."""
    absent = Release("docs-search", 0, digest("absent"), None)
    for bad, reason in (
        (absent, "artifact_missing"),
        (release(0, decision=digest("never")), "decision_missing"),
    ):
        with pytest.raises(Refused) as caught:
            store.promote(bad, expected_generation=None)
        assert caught.value.reason == reason
    assert store.history("docs-search") == []


@pytest.mark.parametrize("own_store", [True, False])
def test_of_many_threads_one_wins_each_generation(
    store: Store, root: Path, release: Make, own_store: bool
) -> None:
    """Eight writers race for twelve generations; each has one winner, no reader sees a gap."""
    writers, generations = 8, 12
    template = release(0)
    wins: list[tuple[int, int]] = []
    together = threading.Barrier(writers)

    def race(writer: int) -> None:
        mine = Store.open(root) if own_store else store
        together.wait()
        while True:
            now = mine.current("docs-search")
            generation = 0 if now is None else now.generation + 1
            if generation == generations:
                break
            bid = Release("docs-search", generation, template.variant, None, note=str(writer))
            try:
                mine.promote(bid, expected_generation=None if now is None else now.generation)
            except Refused as refused:
                if refused.reason != "generation_moved":
                    raise
            else:
                wins.append((generation, writer))
        if own_store:
            mine.close()

    threads = [threading.Thread(target=race, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(generation for generation, _ in wins) == Counter(range(generations))
    recorded = [(r.generation, int(r.note)) for _, r in store.history("docs-search")]
    assert recorded == sorted(wins)
    assert store.verify().ok
