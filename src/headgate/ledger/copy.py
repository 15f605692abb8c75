"""A copy of a store, to try something on without touching what it was taken from."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from headgate.ledger.faults import explained_database_errors, explained_disk_errors
from headgate.ledger.store import Store

__all__ = ["copy_store"]


def copy_store(store: Store, root: Path) -> None:
    """Makes a store at ``root`` with the entries and artifacts that ``store`` has now.

    Artifacts are shared where the file system allows it (hard links): their content is never
    written to. Raises ``Fault`` where the disk refuses.
    """
    ledger = "ledger.sqlite"
    with explained_disk_errors(root, "copy the store"):
        root.mkdir(parents=True)
        for path in (store.root / "artifacts").rglob("*"):
            if path.name.startswith("."):  # a lock, which is its own store's
                continue
            to = root / path.relative_to(store.root)
            if path.is_dir():
                to.mkdir(parents=True, exist_ok=True)
                continue
            to.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, to)
            except FileNotFoundError:  # a writer's temporary file, which has its name by now
                continue
            except OSError:
                shutil.copy2(path, to)
    with (
        explained_database_errors(store.root / ledger),
        contextlib.closing(sqlite3.connect(store.root / ledger)) as source,
        contextlib.closing(sqlite3.connect(root / ledger)) as target,
    ):
        source.backup(target)
