"""The main job: from headgate.yaml to a decision, a report, and a release that can be served.

``optimize`` is loaded when it is asked for: a process that runs one module of the package, to weigh
a build or to help, is spared all others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from headgate.optimize.progress import Progress, Silent

if TYPE_CHECKING:
    from headgate.optimize.main import OptimizeResult, optimize

__all__ = ["OptimizeResult", "Progress", "Silent", "optimize"]


def __getattr__(name: str) -> object:
    if name in ("OptimizeResult", "optimize"):
        return getattr(importlib.import_module("headgate.optimize.main"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
