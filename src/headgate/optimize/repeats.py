"""Whose repeats a cache lives on: those of the user's log, or those of requests that were drawn.

Without a log ``workload.draw`` takes requests at random from ``evaluate``, so how often one comes
again follows from how many were drawn, and says nothing of callers. Whoever reads a saving or a
share of hits is told so.
"""

from __future__ import annotations

from dataclasses import dataclass

from headgate.caching import ideal_hit_ratio
from headgate.config import LabelledSet
from headgate.optimize.comparisons import Comparisons
from headgate.optimize.job import Job
from headgate.optimize.load import Side
from headgate.optimize.served import identity
from headgate.report import words

__all__ = ["Repeats", "repeats_of", "without_cache"]

_NOTABLE = 0.05
"""Hits beyond the workload's own repeats that are worth a word."""
_SENT_BEFORE = "some had been sent to its server before, to find how much that can take"


@dataclass(frozen=True, slots=True)
class Repeats:
    """What repeats in the workload of a job, and what the winner's cache made of it."""

    requests: int
    share: float
    """Of them, that ask what an earlier one has asked: what a cache without bounds answers."""
    drawn_from: int | None
    """Inputs of ``evaluate`` that they were drawn from; None of a log."""
    hits: float
    """Share of the load test that the winner's cache answered."""

    @property
    def assumed(self) -> bool:
        """Whether they are nobody's but those of the draw."""
        return self.drawn_from is not None

    @property
    def _warmed(self) -> bool:
        return self.hits > self.share + _NOTABLE

    def describe(self, naive: float, tuned: float) -> str:
        """What was assumed, what rests on it, what is left without, and what to do.

        ``naive`` and ``tuned``: how many times cheaper the winner is without a cache.

        >>> print(Repeats(2000, 0.8, 400, 0.8).describe(2.4, 1.0))
        The repeats are assumed, not your callers': there is no log, so 2,000 requests were drawn \
from the 400 inputs of evaluate, each as likely every time, and 80.0 % of them ask what an earlier \
one has asked. The cache answered 80.0 % of the load test. All that was measured of the winner \
rests on that, the contracts on latency and cost too. Where nothing repeats, it is 2.4x cheaper \
than naive and 1.0x than tuned (attributed, virtual). For your own: write \
`workload: {log: access.jsonl}`.
        """
        warmed = f", since {_SENT_BEFORE}" if self._warmed else ""
        return (
            "The repeats are assumed, not your callers': there is no log, so "
            f"{self.requests:,} requests were drawn from the {self.drawn_from:,} inputs of "
            f"evaluate, each as likely every time, and {words.percent(self.share)} of them ask "
            f"what an earlier one has asked. The cache answered {words.percent(self.hits)} of the "
            f"load test{warmed}. All that was measured of the winner rests on that, the "
            f"contracts on latency and cost too. Where nothing repeats, it is {words.times(naive)} "
            f"cheaper than naive and {words.times(tuned)} than tuned (attributed, virtual). For "
            "your own: write `workload: {log: access.jsonl}`."
        )

    @property
    def in_log(self) -> str:
        """What is to be known of the hits on a log; empty where they are its own."""
        if self.assumed or not self._warmed:
            return ""
        return (
            f"In the load test the cache answered {words.percent(self.hits)} of the requests, and "
            f"only {words.percent(self.share)} of the log repeat: {_SENT_BEFORE}, so what was "
            "measured with the cache is too good. A longer log shows less of that."
        )


def repeats_of(job: Job, winner: Side, *, cached: bool) -> Repeats | None:
    """Those of ``job``'s workload, where ``winner`` was served with a cache; else nothing."""
    if not cached:
        return None
    given, evaluate = job.inputs.workload.items, job.inputs.evaluate
    pool = evaluate.inputs if isinstance(evaluate, LabelledSet) else evaluate.queries
    return Repeats(
        len(given),
        ideal_hit_ratio([*map(identity, given)]),
        len(pool) if job.config.workload.log is None else None,
        winner.hit_share,
    )


def without_cache(c: Comparisons) -> tuple[float, float]:
    """How many times cheaper the winner is where nothing repeats: against naive, against tuned."""
    left_s = c.winner_unique.attributed_s
    tuned_s = min(p.attributed_s for p in c.tuned_unique)
    return c.naive_unique.attributed_s / left_s, tuned_s / left_s
