"""Loads OpenVINO and NNCF, with their telemetry switched off.

Both send usage events to their maker by default: NNCF starts a session and writes a client id into
the home directory as soon as it is imported. Both have a documented fallback for when the package
``openvino_telemetry`` is not installed: a stub. We make them see exactly that, for the whole
process, so nothing is written and nothing is sent, whatever the machine's consent file says.

NNCF also imports torch where that is installed, 190 MB and two seconds, to ask whether a model is
one of torch's. Ours never are: ``without_torch`` is a process in which it is not installed.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import Any

from headgate.errors import MissingExtra

__all__ = ["load_nncf", "load_openvino", "without_torch"]


def load_openvino(needed_for: str) -> Any:
    """The module ``openvino``. Raises ``MissingExtra`` where it is not installed."""
    return _load("openvino", needed_for)


def load_nncf(needed_for: str) -> Any:
    """The module ``nncf``, logging errors only. Raises ``MissingExtra``."""
    import logging

    with without_torch():
        nncf = _load("nncf", needed_for)
    nncf.set_log_level(logging.ERROR)
    return nncf


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """Inside it ``import torch`` raises ``ImportError``, unless torch is imported already.

    In every thread: for work that has the process to itself.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # documented use
    try:
        yield
    finally:
        del sys.modules["torch"]


def _load(name: str, needed_for: str) -> Any:
    # None in sys.modules makes `import openvino_telemetry` raise ImportError.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # documented use
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtra.of("openvino", needed_for=needed_for) from error
