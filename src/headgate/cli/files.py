"""Files that a command was asked to write."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from headgate.errors import Fault

__all__ = ["write_whole"]


def write_whole(path: Path, chunks: Iterable[bytes]) -> int:
    """Writes the file whole or not at all, and makes its directory; how many chunks there were.

    What was there stays until all are written. Raises ``Fault`` (``disk``), and what ``chunks``
    raises.
    """
    unfinished, count = path.with_name(f".{path.name}-{os.getpid()}"), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise Fault(
            f"cannot be written: {os.strerror(error.errno or 0)}",
            where=str(path),
            reason="disk",
            fix="name another directory, or make room",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return count
