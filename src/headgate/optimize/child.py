"""Processes of our own that must not outlive us."""

from __future__ import annotations

import ctypes
import signal

__all__ = ["end_with_parent"]

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Asks the kernel to end this process with its parent, so that kill -9 leaves none behind.

    For ``Popen``'s ``preexec_fn``. The parent is the thread that starts the process: it must be one
    that lasts.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
