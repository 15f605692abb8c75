"""What every batch policy offers: requests go in, batches come out.

Knows nothing of instances, caches or callers: the data plane asks for a batch when an instance is
free, and runs what it gets.
"""

from __future__ import annotations

from typing import Protocol

from headgate.objects import BatchingSpec
from headgate.workload import Request, ServiceTimeModel

__all__ = ["BatchPolicy"]


class BatchPolicy(Protocol):
    """Holds the waiting requests and decides who runs together, and when.

    Every batch keeps to ``spec.max_requests`` and ``spec.max_padded_tokens`` (a single request
    that is longer than the token budget runs alone) and holds requests of one group only.
    """

    @property
    def spec(self) -> BatchingSpec:
        """The budgets that batches keep to."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens of all waiting requests, without padding."""
        ...

    def add(self, request: Request) -> None:
        """Lets a request wait. Its id must differ from those of all that wait."""
        ...

    def remove(self, request_id: int) -> bool:
        """Drops a waiting request; False where it does not wait here."""
        ...

    def next_batch(self, now_s: float, service: ServiceTimeModel) -> tuple[Request, ...] | None:
        """Who runs now on an instance that is free; they wait no longer. None: nobody (yet).

        ``now_s`` may be infinite: then nobody is held back.
        """
        ...

    def wake_at_s(self) -> float | None:
        """When to ask again although nothing happened; None for a policy that never holds
        requests back from a free instance (a work-conserving one)."""
        ...

    def __len__(self) -> int:
        """Number of waiting requests."""
        ...
