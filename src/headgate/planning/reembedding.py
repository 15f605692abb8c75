"""What it takes to embed an index again, and when a cheaper encoder has paid for it.

A vector of one encoder says nothing to another, so whoever changes the encoder embeds every item of
the index once more. That is paid once; what the encoder saves is saved with every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.distillation import break_even_requests
from headgate.workload import ServiceTimeModel

__all__ = ["Reembedding", "passage_s", "reembedding"]

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Reembedding:
    """Embedding every item of an index, and what it is worth."""

    items: int
    machine_s: float
    """Seconds of the whole machine."""
    requests: float
    """After so many it has paid for itself; infinite where nothing is saved."""
    days: float
    """So long they take, at the workload's rate."""


def reembedding(
    *, items: int, item_s: float, before_s: float, after_s: float, rate_per_s: float
) -> Reembedding:
    """``items`` of ``item_s`` machine seconds, where a request takes ``after_s`` and no longer
    ``before_s``.

    >>> reembedding(items=10**6, item_s=0.002, before_s=0.003, after_s=0.001, rate_per_s=10.0)
    Reembedding(items=1000000, machine_s=2000.0, requests=1000000.0, days=1.157)
    """
    machine_s = items * item_s
    requests = break_even_requests(machine_s, before_s, after_s)
    return Reembedding(items, machine_s, requests, requests / rate_per_s / _DAY_S)


def passage_s(
    curve: ServiceTimeModel,
    lengths: Sequence[int],
    *,
    instances: int,
    sizes: Sequence[int],
    max_padded_tokens: int,
) -> float:
    """Machine seconds of a passage, the mean over ``lengths`` in tokens.

    Sorted by length nothing is padded, so each goes in the batch of its own length that takes the
    least time a head. ``instances`` work side by side, as ``curve`` was measured.
    """
    return sum(
        min(
            curve.predict_s(size, length) / size
            for size in sizes
            if size == 1 or size * length <= max_padded_tokens
        )
        for length in lengths
    ) / (len(lengths) * instances)
