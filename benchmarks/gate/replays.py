"""Decisions of every kind, recorded, and calculated again in processes that share nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.gate.corrupted import corrupt
from benchmarks.gate.places import PLACES, Place, enter, make_comma
from benchmarks.gate.world import BETTER, CONTRACTS, REGRESSIONS, Plan, Truth
from headgate.ledger import Store
from headgate.optimize.gate import judge_candidate
from headgate.optimize.recorder import Recorder
from headgate.release import Rule

__all__ = ["again", "main", "replayed"]

_PROGRAM = "from benchmarks.gate.replays import main; main()"


def replayed(
    decisions: int, seed: int, *, places: Sequence[Place] = PLACES, program: str = _PROGRAM
) -> tuple[int, int]:
    """How many decisions were recorded, and how many came out byte for byte in every place.

    ``program`` is what each place runs, with the store as its argument.
    """
    with tempfile.TemporaryDirectory() as directory:
        root, locales = Path(directory) / ".headgate", Path(directory) / "locales"
        make_comma(locales)
        entries = _record(root, decisions, seed)
        same = set(entries)
        for place in places:
            done = subprocess.run(
                [sys.executable, "-c", program, str(root)],
                input=json.dumps(entries),
                env=place.environment(locales),
                capture_output=True,
                text=True,
                check=True,
            )
            same &= set(json.loads(done.stdout.splitlines()[-1]))
    return len(entries), len(same)


def main() -> None:
    """Replays the entries of stdin in the locale of the environment."""
    enter()
    print(json.dumps(again(Path(sys.argv[1]), json.loads(sys.stdin.read()))))


def again(root: Path, entries: list[str]) -> list[str]:
    """Those of ``entries`` whose decision comes out the same."""
    with Store.open(root) as store:
        recorder = _recorder(store)
        return [e for e in entries if recorder.replay(store.get(e)).identical]


def _record(root: Path, decisions: int, seed: int) -> list[str]:
    """Sound, worse and broken in turn; each decision of other samples."""
    rng = np.random.default_rng(seed)
    rule = Rule("simulated", "holdout", "sha256:data", CONTRACTS, {}, {}, seed)
    truths = [BETTER, Truth(), *(Truth(**{axis: x}) for axis, x in REGRESSIONS.items())]
    entries = []
    with Store.open(root, create=True) as store:
        recorder = _recorder(store)
        versions = [store.put_bytes(name) for name in (b"candidate", b"current")]
        for i in range(decisions):
            plan = Plan(items=60 + i % 50, blocks=8 + i % 3)
            samples = plan.draw(truths[i % len(truths)], rng)
            if i % 2:
                samples = corrupt(samples, rng)
            _, run = judge_candidate(
                recorder,
                candidate=versions[0],
                current=versions[1],
                rule=rule,
                in_force={"it": rule.digest if i % 11 else None},
                samples=samples,
                measurements={},
                void=("requests left late",) if i % 7 == 0 else (),
            )
            entries.append(run.entry)
    return list(dict.fromkeys(entries))


def _recorder(store: Store) -> Recorder:
    return Recorder(store, "simulated", "nobody", "sha256:anywhere", 0, store.root.parent)
