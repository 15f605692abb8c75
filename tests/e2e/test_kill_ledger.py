"""kill -9 in the middle of writing: whatever was acknowledged is there, and the rest is whole.

The short form of ``benchmarks.ledger``, which kills 500 writers and has 64 of them race.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.ledger.kill import kill_writers
from benchmarks.ledger.race import race


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Killed after a random number of steps of writing, promoting and signing; once at once.

    After each kill the store opens, the tree, every signature and every blob verify, each
    acknowledged entry, blob and checkpoint is there, and no batch is there in part.
    """
    killed = kill_writers(tmp_path, 20, seed=20)
    assert killed.wrong == ()
    assert killed.acknowledged >= 20
    assert killed.generations > 0
    assert killed.signed > 0


def test_of_many_processes_one_wins_each_generation(tmp_path: Path) -> None:
    """Eight processes bid for each of twelve generations at the same moment: one winner each."""
    winners = race(tmp_path / ".headgate", 8, 12)
    assert [len(won) for won in winners] == [1] * 12
