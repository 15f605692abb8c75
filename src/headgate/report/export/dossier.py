"""The view that exporters are given: all that is on record of one thing, as plain values.

``optimize.dossier`` gathers it. Versions are ``sha256:`` and 64 hex digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headgate.objects import Artifact, Decision, Run

__all__ = ["Composed", "Dossier", "Judged", "Ran"]


@dataclass(frozen=True, slots=True)
class Ran:
    """A transformation that was executed."""

    entry: str
    """Of the ledger."""
    run: Run
    environment: Mapping[str, Any] | None
    """What ``run.e`` is the digest of (``HardwareProfile.environment``); None where it is gone."""


@dataclass(frozen=True, slots=True)
class Composed:
    """What no run put out: it was put together of its lineage when it was registered."""

    entry: str
    artifact: Artifact
    recorded_at: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision of the gate, and what it was made on."""

    entry: str
    """Of the run that made it."""
    decision: Decision
    case: str
    """Version of the case: rule, raw samples and measurements."""
    datasets: tuple[str, ...]
    """Versions of what was measured on."""


@dataclass(frozen=True, slots=True)
class Dossier:
    """One thing that was made: a variant, or any other artifact."""

    endpoint: str
    subject: str
    """Its version."""
    task: str
    """embed, rerank, classify, predict; empty where it is no variant."""
    steps: tuple[Ran | Composed, ...]
    """How it and its evidence came about, in the order in which they were registered."""
    judged: Judged | None
    """None where it was never judged, as the baseline was not."""
    names: Mapping[str, str]
    """Version -> artifact id, of all that ``steps`` name and the ledger knows."""
    traces: Iterable[Mapping[str, Any]] = ()
    """Of the requests that it answered (``runtime.Trace`` with the ids of its release), oldest
    first; read while they are iterated over."""
