"""What can happen to the data plane, and what it can ask its shell to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from headgate.workload import Batch, Request

__all__ = [
    "Action",
    "Answer",
    "Arrived",
    "Cancelled",
    "Draining",
    "Event",
    "Failed",
    "Finished",
    "Looked",
    "NotReplaced",
    "Probe",
    "Proved",
    "Reject",
    "Replace",
    "Replaced",
    "Run",
    "Wake",
    "Woke",
]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A call, parsed and encoded, asks to be answered: its requests are let in together or not at
    all. They are one tenant's."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """An instance finished a batch; ``values[i]`` answers ``batch.requests[i]``.

    A value that is an ``Exception`` fails its request alone (an output contract refused it)."""

    batch: Batch
    instance: int
    values: tuple[object, ...]
    value_bytes: int = 0
    """Bytes of one value, as the cache is charged for it."""
    duration_s: float | None = None
    """How long the engine call took, by the instance's own two stamps: what passed between ``Run``
    and this event holds handovers, and a busy shell, too. None: nothing is learned from it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An instance failed on a batch: nothing of it was answered. The instance is free again."""

    batch: Batch
    instance: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller of this request is gone."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Woke:
    """A wake-up that was asked for, or any moment at all: waking early is harmless."""


@dataclass(frozen=True, slots=True)
class Draining:
    """No new requests from now on; those admitted are still answered."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A look after the instances, about once a second: whose call is overdue is lost, who is idle
    proves itself on a canary. A shell that never looks, as the simulator, loses nobody."""

    length: int = 1
    """Of the longest item that one may be asked to prove itself on."""


@dataclass(frozen=True, slots=True)
class Proved:
    """An instance came back from its canary, whatever it answered: it makes progress."""

    probe: Probe


@dataclass(frozen=True, slots=True)
class Replaced:
    """The successor of an instance that was lost is loaded, warm and free."""

    instance: int


@dataclass(frozen=True, slots=True)
class NotReplaced:
    """The successor could not be loaded. It may come later, and nobody should wait for it."""

    instance: int


Event: TypeAlias = (
    Arrived
    | Finished
    | Failed
    | Cancelled
    | Woke
    | Draining
    | Looked
    | Proved
    | Replaced
    | NotReplaced
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Give ``value`` (or raise ``error``) to the caller of ``request``."""

    request: Request
    value: object
    source: str
    """``engine``, ``cache`` or ``twin`` (an equal request was in flight)."""
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse ``request``; ``reason`` is one of ``queue_full``, ``predicted_wait``, ``deadline``,
    ``draining``, ``no_engine``."""

    request: Request
    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Run ``batch`` on ``instance`` now; answer with ``Finished`` or ``Failed``."""

    batch: Batch
    instance: int
    reason: str
    """Why the batch is no larger: ``full``; ``nobody_else`` waited; ``unlike``, others who wait are
    cheaper apart; ``does_not_pay``, batching is off for requests so long; ``lone``, it has the
    machine to itself; ``halved``, to find what a batch failed on."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Send ``Woke`` at ``at_s``. Only policies that hold requests back ask for it."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Run a canary on ``instance``, which is idle; answer with ``Proved``."""

    id: int
    instance: int


@dataclass(frozen=True, slots=True)
class Replace:
    """``instance`` hangs and is lost, whatever it may still say. Load a successor in its place;
    answer with ``Replaced``, or ``NotReplaced`` as often as that fails."""

    instance: int


Action: TypeAlias = Answer | Reject | Run | Wake | Probe | Replace
