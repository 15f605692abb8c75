"""What the parent and the generator process say to each other: one plan in, one outcome out.

MessagePack on stdin and stdout; arrays travel as their raw bytes. Knows nothing of HTTP.
"""

from __future__ import annotations

import msgspec

__all__ = ["CONNECTION_ERROR", "NOT_SENT", "TIMED_OUT", "Outcome", "Plan", "SegmentPlan"]

# In the place of an HTTP status, where there was none.
TIMED_OUT = -1
CONNECTION_ERROR = -2
NOT_SENT = -3
"""No connection became free before the request's own timeout."""


class SegmentPlan(msgspec.Struct, frozen=True):
    """Requests for one target. ``at_s`` (float64 bytes) counts from the segment's start."""

    host: str
    port: int
    head: bytes
    """Request line and headers, up to ``content-length: ``; the generator adds the rest."""
    at_s: bytes
    bodies: list[bytes]
    tls: bool = False
    """Whether ``host`` must prove itself, by the certificates that this machine trusts."""
    server_pid: int | None = None
    """A process of this machine whose CPU time is read before and after."""


class Plan(msgspec.Struct, frozen=True):
    """All segments, run one after the other."""

    segments: list[SegmentPlan]
    timeout_s: float
    """From a request's scheduled time to its failure."""
    max_connections: int
    gap_s: float
    """Quiet time between two segments, after everything of the first was answered."""


class Outcome(msgspec.Struct, frozen=True):
    """What happened to each request of one segment; arrays as float64 or int16 bytes."""

    sent_s: bytes
    latencies_s: bytes
    answered_s: bytes
    """From the scheduled time to the last byte, whatever the status; infinite without an answer."""
    statuses: bytes
    sources: bytes
    """Index into ``source_names``, as int16 bytes; -1 where the answer named none."""
    source_names: list[str]
    duration_s: float
    """From the segment's start to its last answer."""
    cpu_s: float
    """CPU time that the generator itself used."""
    server_cpu_s: float
    """CPU time that the server's process used meanwhile; NaN where it was not to be read."""
    connections_opened: int
    waited_for_connection: int
    resent: int
    """Requests sent again because a kept-alive connection turned out to be closed."""
