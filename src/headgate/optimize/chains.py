"""Chains of runs, each of which needs what the one before it came to, followed many at a time.

Chains do not know of each other, so their next runs may be executed side by side. They go in step:
the first run of each, then the second; runs are recorded in the order of the chains.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from headgate.optimize.ahead import Ahead
from headgate.optimize.recorder import Asked, Recorded, Recorder

__all__ = ["Chain", "follow", "follow_all"]

T = TypeVar("T")
Chain = Generator[Asked, Recorded, T]
"""Asks for runs one after the other, is sent each when it is recorded, and returns its result."""


def follow(recorder: Recorder, chain: Chain[T]) -> T:
    """What ``chain`` comes to."""
    return follow_all(recorder, [chain])[0]


def follow_all(recorder: Recorder, chains: Sequence[Chain[T]], *, processes: int = 1) -> list[T]:
    """What each of ``chains`` comes to, the runs executed by up to ``processes`` at a time.

    Only for transformations that measure no time and do not ask a foreign server. Results and
    their order do not depend on ``processes``.
    """
    results: dict[int, T] = {}
    recorded: dict[int, Recorded | None] = dict.fromkeys(range(len(chains)))
    with Ahead(recorder, helpers=processes - 1) as ahead:
        while True:
            asked: dict[int, Asked] = {}
            for i, last in recorded.items():
                try:
                    asked[i] = next(chains[i]) if last is None else chains[i].send(last)
                except StopIteration as end:
                    results[i] = end.value
            if not asked:
                break
            ahead.begin(asked.values())
            recorded = {
                i: recorder.run(a.what, u=a.u, c=a.c, detail=a.detail, execute=ahead.execute)
                for i, a in asked.items()
            }
    return [results[i] for i in range(len(chains))]
