"""The log of a command that runs for long: lines on stderr, for people or for machines."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator

__all__ = ["log_to_stderr"]


@contextlib.contextmanager
def log_to_stderr(*, as_json: bool) -> Iterator[None]:
    """Meanwhile what Headgate says and what others warn of goes to stderr, one form for all.

    A record's ``fields``, such as ``{"event": "draining", "in_flight": 3}``, are for machines.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if as_json else _Lines())
    root, ours = logging.getLogger(), logging.getLogger("headgate")
    level = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.setLevel(level)
        root.removeHandler(handler)


class _Lines(logging.Formatter):
    """``2026-11-28T10:04:45Z INFO what happened``, and a traceback below."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {message}", "%Y-%m-%dT%H:%M:%SZ", style="{")
        self.converter = time.gmtime


class _JsonLines(_Lines):
    """The same as an object a line: ``time``, ``level``, ``event``, ``message``, and what belongs
    to the event. An event without a name is ``log``."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": self.formatTime(record, self.datefmt),
            "level": record.levelname.lower(),
            "event": "log",
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said)
