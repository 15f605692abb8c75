"""Many processes promote at the same moment: exactly one wins each generation."""

from __future__ import annotations

from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.ledger.kill import ENDPOINT, PROCESSES
from headgate.errors import Refused
from headgate.ledger import Store
from headgate.objects import Release

__all__ = ["race"]


def bid(
    root: Path, variant: str, writer: int, rounds: int, together: Barrier, won: Connection
) -> None:
    """Bids for every generation at the same moment as all others; tells which it won."""
    mine: list[int] = []
    with Store.open(root) as store:
        for generation in range(rounds):
            before = generation - 1 if generation else None
            release = Release(ENDPOINT, generation, variant, None, note=str(writer))
            together.wait()
            try:
                store.promote(release, expected_generation=before)
            except Refused as refused:
                if refused.reason != "generation_moved":
                    raise
            else:
                mine.append(generation)
    won.send(mine)


def race(root: Path, writers: int, rounds: int) -> list[list[int]]:
    """For each round the writers that won it; the ledger must agree, and have no gap.

    Raises ``AssertionError`` where the ledger says otherwise than its writers.
    """
    with Store.open(root, create=True) as store:
        variant = store.put_bytes(b"variant")
    together = PROCESSES.Barrier(writers)
    pipes = [PROCESSES.Pipe(duplex=False) for _ in range(writers)]
    bidders = [
        PROCESSES.Process(target=bid, args=(root, variant, n, rounds, together, theirs))
        for n, (_, theirs) in enumerate(pipes)
    ]
    for bidder in bidders:
        bidder.start()
    winners: list[list[int]] = [[] for _ in range(rounds)]
    for writer, (ours, theirs) in enumerate(pipes):
        theirs.close()
        for generation in ours.recv():
            winners[generation].append(writer)
    for bidder in bidders:
        bidder.join()
    with Store.open(root) as store:
        recorded = [(r.generation, int(r.note)) for _, r in store.history(ENDPOINT)]
        assert recorded == [(g, w) for g, all_of in enumerate(winners) for w in all_of[:1]]
        assert store.verify().ok
    return winners
