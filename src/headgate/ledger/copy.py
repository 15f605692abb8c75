"""A copy of a store, to try something on without touching what it was taken from."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from headgate.ledger.faults import explained_database_errors, explained_disk_errors
from headgate.ledger.sqlite import BUSY_TIMEOUT_S
from headgate.ledger.store import Store

__all__ = ["copy_store"]

_LEDGER = "ledger.sqlite"


def copy_store(store: Store, root: Path) -> None:
    """Makes a store at ``root`` with the entries that ``store`` has now, and their content.

    Content is written before the entry that names it, and not collected while this goes on: so
    entries are copied first, and what they name is there. Others may write meanwhile. Artifacts are
    shared where the file system allows it (hard links): their content is never written to. Raises
    ``Busy`` where another process holds the ledger for too long, ``Fault`` where the disk refuses.
    """
    with store.uncollected():
        with explained_disk_errors(root, "copy the store"):
            root.mkdir(parents=True)
        _copy_entries(store.root / _LEDGER, root / _LEDGER)
        with explained_disk_errors(root, "copy the store"):
            _copy_content(store.root / "artifacts", root / "artifacts")


def _copy_entries(from_: Path, to: Path) -> None:
    with (
        explained_database_errors(from_),
        contextlib.closing(sqlite3.connect(from_, timeout=BUSY_TIMEOUT_S)) as source,
        contextlib.closing(sqlite3.connect(to)) as target,
    ):
        # Reading first waits for a writer as long as others do; a backup would wait for ever.
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM sqlite_master").fetchone()
        source.backup(target)


def _copy_content(from_: Path, to: Path) -> None:
    to.mkdir()
    for path in from_.glob("??/*"):
        copy = to / path.relative_to(from_)
        copy.parent.mkdir(exist_ok=True)
        try:
            os.link(path, copy)
        except OSError:
            shutil.copy2(path, copy)
