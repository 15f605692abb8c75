"""A search that is killed at any moment, and goes on: same answer, nothing measured twice.

``python -m benchmarks.search.kill JOURNAL WORKLOAD SEED`` is one process of it. A result is in the
journal when its line is, as a run is in the ledger when its entry is; the search itself keeps
nothing, and is told the journal again.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.search.searches import together
from benchmarks.search.table import World, recorded
from headgate.objects import digest
from headgate.planning import Asked, Cost, Policies, Told

__all__ = ["Survived", "killed_until_done"]

_TRIAL_S = 0.01
_MOST_TRIALS = 8
"""That are begun before it is killed."""


@dataclass(frozen=True, slots=True)
class Survived:
    """What became of one search."""

    kills: int
    same: bool
    """It ended where one that nobody killed does."""
    repeated: int
    """Results that were in the journal and were measured again."""


def killed_until_done(workload: str, seed: int, *, most: int = 10) -> Survived:
    """Runs it in a process that is killed up to ``most`` times, in the middle of a random trial."""
    rng = random.Random(seed)
    whole = together(World(recorded()[workload], seed))
    kills = 0
    with tempfile.TemporaryDirectory() as there:
        journal = Path(there) / "journal"
        command = [sys.executable, "-m", "benchmarks.search.kill", str(journal), workload]
        while True:
            process = subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True)
            if kills == most:
                break
            last = _begun(journal) + rng.randint(1, _MOST_TRIALS)
            while process.poll() is None and _begun(journal) < last:
                time.sleep(_TRIAL_S * rng.random())
            if process.poll() is not None:
                break
            process.kill()
            process.communicate()
            kills += 1
        said, _ = process.communicate()
        lines = journal.read_text(encoding="utf-8").split("\n")
    begun = [line for line in lines if line.startswith("begun ")]
    keys = [json.loads(line)["key"] for line in lines if line.startswith("{")]
    repeated = len(keys) - len(set(keys)) + max(len(begun) - len(keys) - kills, 0)
    return Survived(kills, said.strip() == str(whole.best), repeated)


def _begun(journal: Path) -> int:
    return journal.read_text(encoding="utf-8").count("begun ") if journal.exists() else 0


def _run(journal: Path, workload: str, seed: int) -> str:
    """Measures what is not in the journal."""
    world = World(recorded()[workload], seed)
    known: dict[str, Told[Policies]] = {}
    if journal.exists():
        for line in journal.read_text(encoding="utf-8").split("\n")[:-1]:
            if line.startswith("{"):
                row = json.loads(line)
                known[row["key"]] = row["told"]
    with journal.open("a", encoding="utf-8") as file:

        def write(line: str) -> None:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

        def measure(asked: Asked[Policies]) -> Told[Policies]:
            key = digest(asked)
            if key in known:
                return _told(asked, known[key])  # type: ignore[arg-type]  # a row of the journal
            write(f"begun {key}")
            time.sleep(_TRIAL_S)  # measuring takes a while, and may be cut off
            told = world.measure(asked)
            cost = None if told.cost is None else [told.cost.log, told.cost.se]
            row = {"cost": cost, "stopped_by": told.stopped_by, "seconds": told.seconds}
            write(json.dumps({"key": key, "told": row}))
            return told

        return str(together(world, measure).best)


def _told(asked: Asked[Policies], row: dict[str, object]) -> Told[Policies]:
    cost = row["cost"]
    return Told(
        asked,
        None if cost is None else Cost(*cost),  # type: ignore[misc]  # two numbers
        tuple(row["stopped_by"]),  # type: ignore[arg-type]  # a list of promises
        seconds=float(row["seconds"]),  # type: ignore[arg-type]  # a number
    )


if __name__ == "__main__":
    print(_run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
