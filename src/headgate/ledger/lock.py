"""Lock files: one process at a time, and a message that names the one that is in the way.

The lock is the kernel's (``flock``), so it is gone when its holder is, however that died; the file
and the process id in it only say who it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from headgate.errors import Busy
from headgate.ledger.faults import explained_disk_errors

__all__ = ["exclusive", "shared"]


@contextlib.contextmanager
def exclusive(path: Path, name: str) -> Iterator[None]:
    """Hold the lock ``name``; raises ``Busy`` (reason ``locked``) at once where it is taken."""
    # The file is never removed: a process that waits to open it could lock a file without a name.
    with explained_disk_errors(path, f"lock {name}"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Empty in the instant between its holder's locking and writing.
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            who = f"process {holder}" if holder else "another process"
            raise Busy(
                f"{name} is locked by {who}",
                where=str(path),
                fix="wait until it has ended, or end it, then run the command again",
                reason="locked",
            ) from None
        with explained_disk_errors(path, f"lock {name}"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def shared(path: Path, name: str) -> Iterator[None]:
    """Hold the lock ``name`` together with others, waiting for one that holds it alone."""
    with explained_disk_errors(path, f"lock {name}"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
