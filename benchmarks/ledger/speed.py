"""What an entry costs beside a bare durable insert, in batches, and to verify."""

from __future__ import annotations

import sqlite3
import statistics
import time
from pathlib import Path

from headgate.ledger import Store
from headgate.objects import canonical

__all__ = ["appending", "fill"]

_BATCH = 1000


def body(n: int) -> dict[str, object]:
    """Of the size of a measurement."""
    return {"n": n, "metric": "recall@10", "value": n / 7, "artifact": "sha256:" + "5e" * 32}


def appending(folder: Path, count: int) -> dict[str, float]:
    """Median seconds of an append and of a bare insert, in turns, on the same disk.

    The bare table has a key and the same text, and is as durable: one transaction each, the same
    journal and the same syncs.
    """
    bare = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    bare.execute("PRAGMA journal_mode = TRUNCATE")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE bare (seq INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    ours: list[float] = []
    theirs: list[float] = []
    with Store.open(folder / "appended", create=True) as store:
        for n in range(count):
            started = time.perf_counter()
            store.append("measurement", body(n))
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            text = canonical(body(n)).decode()
            bare.execute("BEGIN IMMEDIATE")
            bare.execute("INSERT INTO bare (body) VALUES (?)", [text])
            bare.execute("COMMIT")
            theirs.append(time.perf_counter() - started)
    bare.close()
    return {"append_s": statistics.median(ours), "bare_insert_s": statistics.median(theirs)}


def fill(root: Path, count: int) -> float:
    """Writes ``count`` entries in batches; how many a second, the syncs included."""
    items = [("measurement", body(n)) for n in range(_BATCH)]
    with Store.open(root, create=True) as store:
        started = time.perf_counter()
        for _ in range(count // _BATCH):
            store.append_all(items)
        return count / (time.perf_counter() - started)
