"""A search that is killed at any moment, and goes on: same answer, nothing measured twice.

``python -m benchmarks.search.kill DIR WORKLOAD SEED`` is one process of it: every trial is a run of
the product's own recorder, in a real ledger, as the trials of ``optimize`` are. It is sent SIGKILL
at a random time after it began to search, drawn evenly over a quarter of what a whole search takes,
so that most searches are killed several times.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.search.searches import together
from benchmarks.search.table import World, recorded
from headgate.ledger import Store
from headgate.objects import canonical, digest, parse
from headgate.optimize.entrants import Caches
from headgate.optimize.recorder import Call, Output, Recorder, transformation
from headgate.planning import Asked, Cost, Told

__all__ = ["Survived", "killed_until_done"]

_TRIAL_S = 0.05
_ENDPOINT = "killed"


@dataclass(frozen=True, slots=True)
class Survived:
    """What became of one search."""

    kills: int
    in_a_trial: int
    """Kills in the middle of one, or of recording it."""
    same: bool
    """It ended where one that nobody killed does."""
    repeated: int
    """Trials that were on record and were executed again."""
    lost: int
    """Trials of a whole search that the ledger lacks at the end."""


@transformation("benchmarks.search.trial", measures=True)
def trial(call: Call) -> Mapping[str, Output]:
    """One trial; says on disk that it began, and may be cut off."""
    with (call.root / "begun").open("a", encoding="utf-8") as file:
        file.write(f"{call.c['trial']}\n")
        file.flush()
        os.fsync(file.fileno())
    time.sleep(_TRIAL_S)
    return {"told": Output(canonical(call.c["told"]), "samples", "json Told")}


def killed_until_done(workload: str, seed: int, *, most: int = 10) -> Survived:
    """Kills up to ``most`` processes of one search, then lets one end."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        whole, there = Path(name) / "whole", Path(name) / "killed"
        process = _searching(whole, workload, seed)
        began = time.monotonic()
        expected, _ = process.communicate()
        quarter_s = (time.monotonic() - began) / 4
        kills, said = 0, ""
        while not said:
            process = _searching(there, workload, seed)
            limit_s = rng.uniform(0, quarter_s) if kills < most else None
            try:
                said, _ = process.communicate(timeout=limit_s)
                assert process.returncode == 0, "a search that nobody killed must end"
            except subprocess.TimeoutExpired:
                process.kill()  # SIGKILL
                process.communicate()
                kills += 1
        whole_runs, runs = (Counter(_recorded(at)) for at in (whole, there))
        begun = Counter((there / "begun").read_text(encoding="utf-8").split())
    cut_off = sum(begun.values()) - sum(runs.values())
    # Whatever began more often than it was cut off was executed although it was on record.
    repeated = sum(n - 1 for n in runs.values()) + max(cut_off - kills, 0)
    lost = (whole_runs - runs).total()
    return Survived(kills, cut_off, said == expected, repeated, lost)


def _searching(there: Path, workload: str, seed: int) -> subprocess.Popen[str]:
    """A process that has begun to search."""
    ready = there / "ready"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.search.kill", str(there), workload, str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not ready.exists() and process.poll() is None:
        time.sleep(0.005)
    return process


def _recorded(there: Path) -> list[str]:
    with Store.open(there / "store") as store:
        return [entry.body["c"]["trial"] for entry in store.entries("run")]


def _run(there: Path, workload: str, seed: int) -> str:
    """The search, every trial by the recorder; where it ended."""
    world = World(recorded()[workload], seed)
    there.mkdir(exist_ok=True)
    with Store.open(there / "store", create=True) as store:
        recorder = Recorder(store, _ENDPOINT, "nobody", digest("one machine"), seed, there)
        (there / "ready").touch()

        def measure(asked: Asked[Caches]) -> Told[Caches]:
            told = world.measure(asked)
            done = recorder.run(trial, u={}, c={"trial": digest(asked), "told": told})
            body = parse(store.read(done.outputs["told"]))
            cost = None if body["cost"] is None else Cost(**body["cost"])
            return Told(asked, cost, tuple(body["stopped_by"]), body["why"], body["seconds"])

        ended = together(world, measure)
    return json.dumps([ended.build, ended.cost, ended.evaluations, ended.seconds])


if __name__ == "__main__":
    print(_run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
