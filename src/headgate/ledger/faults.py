"""What the disk and SQLite say, in Headgate's words: which file, what is wrong, what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from headgate.errors import Busy, Fault, HeadgateError, Tampered

__all__ = ["explained_database_errors", "explained_disk_errors"]

_FULL = "free space on its disk and run the command again; nothing half-written was kept"
_CHECK = "check the disk (df, dmesg) and run the command again; nothing half-written was kept"
_NOT_WRITABLE = "make it writable for this user, or name another store with --store"
_IN_THE_WAY = "move away what is there and is no directory, or name another store with --store"
_DAMAGED = "restore it from a backup; `headgate verify` lists what is damaged"


@contextlib.contextmanager
def explained_disk_errors(path: Path, doing: str) -> Iterator[None]:
    """An ``OSError`` inside becomes a ``Fault`` that names ``path`` and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            fix = _NOT_WRITABLE
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            fix = _FULL
        elif error.errno in (errno.EEXIST, errno.ENOTDIR):
            fix = _IN_THE_WAY
        else:
            fix = _CHECK
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise Fault(f"cannot {doing}: {reason}", where=str(path), fix=fix, reason="disk") from error


@contextlib.contextmanager
def explained_database_errors(path: Path) -> Iterator[None]:
    """A ``sqlite3.DatabaseError`` inside becomes ``Busy``, ``Tampered`` or ``Fault``."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a closed connection or a wrong statement is a fault of the caller's code
    except sqlite3.DatabaseError as error:
        raise _in_our_words(error, path) from error
    except UnicodeDecodeError as error:  # SQLite quotes its damaged schema in its message
        raise Tampered(f"the ledger is damaged: {error}", where=str(path), fix=_DAMAGED) from error


def _in_our_words(error: sqlite3.DatabaseError, path: Path) -> HeadgateError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the primary code
    where = str(path)
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Busy(
                "another process is writing to the ledger and did not finish in time",
                where=where,
                fix="wait until it has ended, then run the command again",
            )
        # Our statements are right, so SQLITE_ERROR means that the tables are not ours any more.
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_ERROR:
            return Tampered(f"the ledger is damaged: {error}", where=where, fix=_DAMAGED)
        case sqlite3.SQLITE_FULL:
            return Fault(f"cannot write: {error}", where=where, fix=_FULL, reason="disk")
        case sqlite3.SQLITE_IOERR:
            return Fault(f"cannot read or write: {error}", where=where, fix=_CHECK, reason="disk")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return Fault(f"cannot open: {error}", where=where, fix=_NOT_WRITABLE, reason="disk")
        case _:
            return Fault(f"the ledger failed: {error}", where=where, fix=_DAMAGED)
