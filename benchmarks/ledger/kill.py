"""``kill -9`` in the middle of writing, promoting and signing: nothing acknowledged is lost."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from headgate.ledger import Store
from headgate.ledger.memory import Memory
from headgate.ledger.signing import PublicKey, SigningKey
from headgate.objects import Artifact, Release

__all__ = ["PROCESSES", "Killed", "kill_writers"]

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["benchmarks.ledger.kill", "benchmarks.ledger.race"])
"""Each is forked from a server that has imported what it needs: cheap, and without our threads."""

ENDPOINT = "docs-search"
_BATCH = 3
_KILLS_A_STORE = 25
"""Then a new one is begun: all of it is verified after every kill."""


@dataclass(frozen=True, slots=True)
class Killed:
    """What came of it."""

    kills: int
    acknowledged: int
    """Blobs and entries that writers were told are durable."""
    generations: int
    """Promotions that are there."""
    signed: int
    """Checkpoints that are there."""
    wrong: tuple[str, ...]
    """What was lost, left in part, or does not verify."""


def write(root: Path, key_file: Path, told: Connection) -> None:
    """Keeps content, registers, notes, promotes and signs it, for ever; tells each step."""
    key = SigningKey.read(key_file)
    store = Store.open(root, create=True)
    for n in itertools.count():
        content = os.urandom(64) * 1000
        version = store.put_bytes(content)
        told.send(("blob", version))
        name = f"item-{os.getpid()}-{n}"
        artifact = Artifact(name, version, "model", "bytes", "search", len(content))
        told.send(("entry", store.register(artifact).id))
        for entry in store.append_all([("note", {"pid": os.getpid(), "n": n})] * _BATCH):
            told.send(("entry", entry.id))
        current = store.current(ENDPOINT)
        before = None if current is None else current.generation
        release = Release(ENDPOINT, 0 if before is None else before + 1, version, None)
        told.send(("entry", store.promote(release, expected_generation=before).id))
        told.send(("checkpoint", str(store.checkpoint(key))))


def kill_writers(folder: Path, kills: int, seed: int) -> Killed:
    """Kills ``kills`` writers, each after a random number of steps and a random while more.

    After each kill the store must open and verify, go on from what its signer remembers, hold all
    that was acknowledged to this writer or an earlier one, and no batch in part.
    """
    rng = random.Random(seed)
    key, key_file = SigningKey.generate(), folder / "key.pem"
    key.write(key_file)
    memory = Memory.beside(key_file)
    wrong: list[str] = []
    told = generations = signed = 0
    for first in range(0, kills, _KILLS_A_STORE):
        root = folder / f"store-{first}"
        acknowledged: list[tuple[str, str]] = []
        for number in range(first, min(first + _KILLS_A_STORE, kills)):
            # The first is killed at once, perhaps before there is a store.
            steps = rng.randint(1, 15) if number > first else 0
            acknowledged += _kill_one(root, key_file, steps, rng.randrange(300_000))
            with Store.open(root, create=True) as store:
                missing = _missing(store, key.public, memory, acknowledged)
                wrong += [f"kill {number}: {what}" for what in missing]
        told += len(acknowledged)
        with Store.open(root) as store:
            generations += len(store.history(ENDPOINT))
            signed += len(list(store.entries("checkpoint")))
    return Killed(kills, told, generations, signed, tuple(wrong))


def _kill_one(root: Path, key_file: Path, steps: int, spin: int) -> list[tuple[str, str]]:
    """What the writer was told until it was dead."""
    ours, theirs = PROCESSES.Pipe(duplex=False)
    writer = PROCESSES.Process(target=write, args=(root, key_file, theirs), daemon=True)
    writer.start()
    theirs.close()
    lines: list[tuple[str, str]] = [ours.recv() for _ in range(steps)]
    sum(range(spin))  # it goes on writing while we count
    writer.kill()
    writer.join()
    try:
        while True:
            lines.append(ours.recv())
    except (EOFError, OSError):  # the last message may have been cut off with its sender
        ours.close()
    writer.close()
    return lines


def _missing(
    store: Store, key: PublicKey, memory: Memory, acknowledged: list[tuple[str, str]]
) -> list[str]:
    signed = any(store.entries("checkpoint"))
    report = store.verify(keys=[key] if signed else [], memory=memory)
    found = [f"{finding.reason}: {finding.what}" for finding in report.findings]
    entries = list(store.entries())
    present = {entry.id for entry in entries}
    notes = {entry.body["note"] for entry in entries if entry.kind == "checkpoint"}
    there = {
        "blob": store.has,
        "entry": present.__contains__,
        "checkpoint": notes.__contains__,
    }
    found += [f"lost {what} {name}" for what, name in acknowledged if not there[what](name)]
    batches = Counter((e.body["pid"], e.body["n"]) for e in entries if e.kind == "note")
    found += [f"{n} of a batch of {_BATCH}" for n in batches.values() if n != _BATCH]
    found += [f"left {path.name}" for path in (store.root / "artifacts").glob(".writing-*")]
    return found
