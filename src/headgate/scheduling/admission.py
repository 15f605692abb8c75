"""Who is let in: bounded in requests and in predicted wait.

A queue that only grows serves nobody in time. What would wait too long is refused at once, with
the time after which asking again makes sense. And a queue that one tenant has filled is not full
for another, up to its share of places.
"""

from __future__ import annotations

from dataclasses import dataclass

from headgate.errors import ConfigError
from headgate.workload import Request

__all__ = ["Admission", "Refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """``reason`` is ``deadline``, ``queue_full`` or ``predicted_wait``; the plane's own are
    ``draining`` and ``no_engine``."""

    reason: str
    retry_after_s: float | None
    """When it would have been its turn; None where asking again is no use."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The bounds. Raises ``ConfigError`` for a negative one."""

    max_queue_requests: int = 1024
    """Of all tenants; as many again in all are for those who have less than their share."""
    max_predicted_wait_s: float = 10.0

    def __post_init__(self) -> None:
        if self.max_queue_requests < 0 or self.max_predicted_wait_s < 0:
            raise ConfigError(
                f"admission bounds must not be negative, got {self}",
                where="max_queue_requests, max_predicted_wait_s",
                fix="write 0 to admit only what an instance is free for",
            )

    def refuse(
        self,
        request: Request,
        *,
        requests: int = 1,
        waiting: int,
        own: int = 0,
        tenants: int = 1,
        wait_s: float,
        service_s: float,
        now_s: float,
        lateness: float = 1.0,
    ) -> Refusal | None:
        """None lets the call in, all ``requests`` of it; ``request`` is the one due first.

        ``waiting`` callers wait, ``own`` of its tenant, and there are ``tenants`` who wait, its own
        counted; the last two matter where the queue is full. ``wait_s`` is its predicted wait by
        its turn (0 where an instance is free) and ``service_s`` the predicted time of running all
        of it alone. Where it has to wait, a deadline must leave ``lateness`` times that (see
        ``Lateness``). A call of more requests than may wait is let in where nobody waits, or it
        never would be.

        >>> Admission(max_queue_requests=2).refuse(
        ...     Request(1, b"k", 8, 0.0), waiting=2, wait_s=0.5, service_s=0.1, now_s=0.0)
        Refusal(reason='queue_full', retry_after_s=0.5)
        """
        takes_s = service_s if wait_s == 0 else lateness * (wait_s + service_s)
        if request.deadline_s is not None and now_s + takes_s > request.deadline_s:
            return Refusal("deadline", None)
        if waiting > 0 or wait_s > 0:
            alone = waiting == 0 and requests > 1 and self.max_queue_requests > 0
            if self.full(requests, waiting) and not (
                alone or self._has_share(requests, waiting, own, tenants)
            ):
                return Refusal("queue_full", wait_s)
            if wait_s > self.max_predicted_wait_s:
                return Refusal("predicted_wait", wait_s)
        return None

    def full(self, requests: int, waiting: int) -> bool:
        """Whether so many more are too many beside those who wait."""
        return waiting + requests > self.max_queue_requests

    def _has_share(self, requests: int, waiting: int, own: int, tenants: int) -> bool:
        """Whether a tenant may have places in a queue that others have filled. Twice the bound is
        never exceeded: names of tenants may cost nothing."""
        bound = self.max_queue_requests
        share = bound // tenants
        return tenants > 1 and own + requests <= share and waiting + requests <= 2 * bound
