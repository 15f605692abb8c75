"""Whose repeats a cache lives on: those of the user's log, or those of requests that were drawn.

Without a log ``workload.draw`` takes requests at random from ``evaluate``, so how often one comes
again follows from how many were drawn, and says nothing of callers. Whoever reads a saving or a
share of hits is told so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headgate import amounts
from headgate.caching import ideal_hit_ratio
from headgate.config import LabelledSet
from headgate.objects import Build
from headgate.optimize.comparisons import Comparisons
from headgate.optimize.job import Job
from headgate.optimize.load import Side
from headgate.optimize.served import identity, served_codec

__all__ = ["Repeats", "repeats_of", "without_cache"]

_NOTABLE = 0.05
"""Of the load test, asked before it only: what is worth a word."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """What repeats in the workload of a job, and what the winner's cache made of it.

    Two requests are equal where they are to the winner's server: after ``preprocess``, in tokens.
    """

    requests: int
    share: float
    """Of them, that ask what an earlier one has asked: what a cache without bounds answers."""
    drawn_from: int | None
    """Inputs of ``evaluate`` that they were drawn from; None of a log."""
    hits: float
    """Share of the load test that was answered by the winner's cache, or with an equal request
    that was running."""
    warm: float
    """Share of the load test that asks what no earlier request of it has asked, but one that the
    winner's server was sent before."""

    @property
    def assumed(self) -> bool:
        """Whether they are nobody's but those of the draw."""
        return self.drawn_from is not None

    def describe(self, naive: float, tuned: float) -> str:
        """What was assumed, what rests on it, what is left without, and what to do.

        ``naive`` and ``tuned``: how many times cheaper the winner is without a cache.

        >>> print(Repeats(2000, 0.8, 400, 0.8, 0.0).describe(2.4, 1.0))
        The repeats are assumed, not your callers': there is no log, so 2,000 requests were drawn \
from the 400 inputs of evaluate, each as likely every time, and 80.0 % of them ask what an earlier \
one has asked. The cache answered 80.0 % of the load test. All that was measured of the winner \
rests on that, the contracts on latency and cost too. Where nothing repeats, it is 2.4x cheaper \
than naive and 1.0x than tuned (attributed, virtual). For your own: write \
`workload: {log: access.jsonl}`.
        """
        told = f" {self._warmed}." if self._warmed else ""
        return (
            "The repeats are assumed, not your callers': there is no log, so "
            f"{self.requests:,} requests were drawn from the {self.drawn_from:,} inputs of "
            f"evaluate, each as likely every time, and {amounts.percent(self.share)} of them ask "
            f"what an earlier one has asked. The cache answered {amounts.percent(self.hits)} of "
            f"the load test.{told} All that was measured of the winner rests on that, the "
            "contracts on latency and cost too. Where nothing repeats, it is "
            f"{amounts.times(naive)} cheaper than naive and {amounts.times(tuned)} than tuned "
            "(attributed, virtual). For your own: write `workload: {log: access.jsonl}`."
        )

    @property
    def in_log(self) -> str:
        """What is to be known of the hits on a log; empty where they are its own."""
        if self.assumed or not self._warmed:
            return ""
        return (
            f"The cache answered {amounts.percent(self.hits)} of the load test. {self._warmed}: as "
            "far as these were still cached, what was measured with the cache is too good. A "
            "longer log shows less of that."
        )

    @property
    def _warmed(self) -> str:
        """What the cache had been filled with, where that is notable."""
        if self.warm <= _NOTABLE:
            return ""
        return (
            f"{amounts.percent(self.warm)} of its requests ask what the server had been sent only "
            "before it, to find how much that can take"
        )


def repeats_of(job: Job, build: Build, winner: Side, *, cached: bool) -> Repeats | None:
    """Those of ``job``'s workload, where ``winner``, the server of ``build``, has a cache; else
    nothing."""
    if not cached:
        return None
    evaluate = job.inputs.evaluate
    pool = evaluate.inputs if isinstance(evaluate, LabelledSet) else evaluate.queries
    keys = _keys(job, build)
    return Repeats(
        len(keys),
        ideal_hit_ratio(keys),
        len(pool) if job.config.workload.log is None else None,
        winner.hit_share,
        _warm(keys, winner),
    )


def _keys(job: Job, build: Build) -> Sequence[bytes]:
    """Of each request of the workload what a server of ``build`` knows it by, as in ``plan``."""
    codec = served_codec(
        build, job.store.path_of, preprocess=job.config.preprocess, root=job.config.root
    )
    items = job.inputs.workload.items
    distinct = {identity(item): item for item in items}  # what is the same needs no tokens twice
    encoded = codec.encode([*distinct.values()], truncate=True)
    known = {key: e.identity for key, e in zip(distinct, encoded, strict=True)}
    return [known[identity(item)] for item in items]


def _warm(keys: Sequence[bytes], side: Side) -> float:
    """``Repeats.warm``, by what is on record of what was sent when."""

    def asked(first: int, last: int) -> set[bytes]:
        return {keys[i % len(keys)] for i in range(first, min(last, first + len(keys)))}

    before = set().union(*(asked(*sent) for sent in side.before))
    played = set().union(*(asked(*s.sent) for s in side.segments))
    return len(before & played) / max(side.requests, 1)


def without_cache(c: Comparisons) -> tuple[float, float]:
    """How many times cheaper the winner is where nothing repeats: against naive, against tuned."""
    left_s = c.winner_unique.attributed_s
    tuned_s = min(p.attributed_s for p in c.tuned_unique)
    return c.naive_unique.attributed_s / left_s, tuned_s / left_s
