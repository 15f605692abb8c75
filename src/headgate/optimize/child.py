"""Processes of our own that must not outlive us."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import threading
from collections.abc import Sequence

__all__ = ["Children", "end_with_parent"]

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Asks the kernel to end this process with its parent, so that kill -9 leaves none behind.

    For ``Popen``'s ``preexec_fn``. The parent is the thread that starts the process: it must be one
    that lasts.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Children:
    """Processes that are waited for, each by the thread that runs it, and can be ended together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def run(self, command: Sequence[str], text: str, *, timeout_s: float) -> str:
        """What the process answers to ``text``.

        Raises ``subprocess.SubprocessError`` where it fails, takes longer or is ended, ``OSError``
        where there is no memory or no process to be had. What is no UTF-8, as libraries may say
        when they fail, is shown as it can be.
        """
        with self._lock:
            if self._ended:
                raise subprocess.SubprocessError("it was not begun: the others were ended")
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="backslashreplace",
                preexec_fn=end_with_parent,
            )
            self._running.add(process)
        with process:
            try:
                answer, complaint = process.communicate(text, timeout=timeout_s)
            finally:
                process.kill()  # does nothing where it has ended
                with self._lock:
                    self._running.discard(process)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, answer, complaint)
        return answer

    def end(self) -> None:
        """Ends those that run, and none is begun any more."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.kill()
