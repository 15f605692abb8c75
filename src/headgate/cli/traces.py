"""Where a server's traces go: one file a run of the server, in the store.

Requests are many and entries of the ledger are few: the file is written off the request path, and
at the end its digest is recorded, so that what was kept can be checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import IO

from headgate.ledger import Store, hold, utc_now
from headgate.objects import Artifact

__all__ = ["TraceFile"]


class TraceFile:
    """JSON lines under ``traces/``; nothing is made before the first trace."""

    def __init__(self, store: Store, variant: str, name: str) -> None:
        self._store = store
        self._variant = variant
        started = utc_now()[:19].replace("-", "").replace(":", "")
        self._path = store.root / "traces" / f"{name}-{started}.jsonl"
        self._file: IO[bytes] | None = None

    def write(self, traces: Sequence[bytes]) -> None:
        """Appends a batch; called on a thread, one call at a time."""
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._file = self._path.open("ab")
        self._file.write(b"\n".join((*traces, b"")))
        self._file.flush()

    def __enter__(self) -> TraceFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        self._file.close()
        version = self._store.put_file(self._path)
        variant = self._store.artifact(self._variant)
        hold(
            self._store,
            Artifact(
                id=f"traces/{self._path.stem}",
                version=version,
                kind="traces",
                schema="jsonl of runtime.Trace with the ids of its release",
                owner=variant.owner if variant is not None else "unknown",
                size_bytes=self._path.stat().st_size,
                lineage=(self._variant,),
            ),
        )
        self._path.unlink()  # the store has it under its digest now
