"""What the data plane has counted: a frozen snapshot for metrics, alarms and tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PlaneStats"]


@dataclass(frozen=True, slots=True)
class PlaneStats:
    """Gauges are of now, counters since the plane was made.

    Conservation: ``arrived == answered + errors + rejected_total + cancelled + in_flight``.
    """

    # Gauges
    in_flight: int
    """Callers who have been admitted and wait for an answer: L of Little's law."""
    queued: int
    """Pieces of work that wait for an instance."""
    queued_tokens: int
    running: int
    """Requests in running batches."""
    busy_instances: int
    lost_instances: int
    """Given up, and not replaced yet."""
    cache_entries: int
    cache_bytes: int
    # Counters
    arrived: int
    answered: int
    """Callers who got a value, from wherever."""
    errors: int
    """Callers who got an error."""
    cancelled: int
    rejected: Mapping[str, int]
    """Reason -> callers refused."""
    hits: int
    misses: int
    """Lookups that found nothing; 0 without a cache."""
    twins: int
    """Callers who joined equal work in flight."""
    batches: int
    lone_batches: int
    """Of these, those on the instance that has the machine to itself; one request each."""
    batched_requests: int
    tokens: int
    padded_tokens: int
    bisections: int
    """Failed batches that were split to find the bad item."""
    hung: int
    """Engine calls that were given up, canaries among them."""
    fills_refused: int
    """Answers that the cache did not take: of another generation, or too large."""
    stale_events: int
    """Reports of batches that were not running: a late word from a restarted instance."""
    dispatch_sizes: Mapping[int, int]
    """Batch size -> batches."""

    @property
    def rejected_total(self) -> int:
        return sum(self.rejected.values())

    @property
    def hit_ratio(self) -> float:
        """Share of lookups that hit."""
        return self.hits / (self.hits + self.misses) if self.hits else 0.0

    @property
    def padding_share(self) -> float:
        """Share of the tokens computed that was padding."""
        return 1.0 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0
