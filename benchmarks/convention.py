"""What every benchmark prints: ``{"name": ..., "targets": {key: {"value", "bound", "ok"}}, ...}``.

One JSON object as the last line of stdout, exit 1 where a target is missed, ``--quick`` under 60 s.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Target", "at_least", "at_most", "finish", "parser"]


@dataclass(frozen=True, slots=True)
class Target:
    """A measured value and the bound that it is held to; NaN is missed."""

    value: float
    bound: str
    ok: bool


def at_most(value: float, limit: float) -> Target:
    """``value <= limit``.

    >>> at_most(0.2, 0.25).ok, at_most(float("nan"), 1.0).ok
    (True, False)
    """
    return Target(value, f"<= {limit:g}", value <= limit)


def at_least(value: float, limit: float) -> Target:
    """``value >= limit``."""
    return Target(value, f">= {limit:g}", value >= limit)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The command line that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help="under 60 seconds, for a first look")
    return made


def finish(name: str, targets: Mapping[str, Target], **details: object) -> int:
    """Prints the last line; the exit code."""
    rows = {
        key: {"value": t.value if math.isfinite(t.value) else None, "bound": t.bound, "ok": t.ok}
        for key, t in targets.items()
    }
    print(json.dumps({"name": name, "targets": rows, **details}))
    return 0 if all(t.ok for t in targets.values()) else 1
