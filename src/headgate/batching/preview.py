"""What batching would gain on a length mix, forecast from a service-time curve.

The forecast runs the batcher itself on a queue that is kept ``waiting`` deep, which is what a
server at saturation sees. Gain at partial load is smaller: with nobody waiting, nobody is batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.batching.token_budget import MIN_SPEED_UP, TokenBudgetBatcher
from headgate.objects import BatchingSpec
from headgate.workload import Request, ServiceTimeModel

__all__ = ["MIN_SPEED_UP", "BatchingForecast", "forecast", "pays"]


@dataclass(frozen=True, slots=True)
class BatchingForecast:
    """Predicted rates of one instance at saturation."""

    spec: BatchingSpec
    alone_per_s: float
    """Requests a second, one at a time."""
    batched_per_s: float
    mean_size: float
    padding_share: float

    @property
    def speed_up(self) -> float:
        """Rate in batches over rate alone."""
        return self.batched_per_s / self.alone_per_s

    @property
    def pays(self) -> bool:
        """Whether the speed-up reaches ``MIN_SPEED_UP``."""
        return self.speed_up >= MIN_SPEED_UP

    @property
    def effective(self) -> BatchingSpec:
        """The spec to run: this one, or one at a time where it does not pay."""
        return self.spec if self.pays else BatchingSpec(max_requests=1)

    @property
    def reason(self) -> str:
        """One sentence for logs and reports."""
        verdict = "batching pays" if self.pays else "batching does not pay and is off"
        return f"{verdict}: predicted speed-up {self.speed_up:.2f}x, needed {MIN_SPEED_UP:.2f}x"


def forecast(
    service: ServiceTimeModel, spec: BatchingSpec, lengths: Sequence[int], *, waiting: int = 64
) -> BatchingForecast:
    """Runs ``lengths`` (tokens of each request, in order of arrival) through the batcher.

    >>> from headgate.workload import ServiceCurve
    >>> curve = ServiceCurve(fixed_s=3e-3, item_s=0.0, token_s=1e-4, square_s=0.0)
    >>> gain = forecast(curve, BatchingSpec(max_requests=4, max_padded_tokens=64), [10] * 400)
    >>> round(gain.speed_up, 3), gain.mean_size, gain.reason
    (2.286, 4.0, 'batching pays: predicted speed-up 2.29x, needed 1.05x')
    """
    if not lengths:
        raise ValueError("a forecast needs the lengths of at least one request")
    alone_s = sum(service.predict_s(1, length) for length in lengths)
    batcher = TokenBudgetBatcher(spec)
    arriving = iter(enumerate(lengths))
    batched_s, batches, padded = 0.0, 0, 0
    while True:
        while len(batcher) < waiting and (item := next(arriving, None)) is not None:
            batcher.add(Request(item[0], b"", item[1], 0.0))
        batch = batcher.next_batch(0.0, service)
        if batch is None:
            break
        longest = max(r.tokens for r in batch)
        batched_s += service.predict_s(len(batch), longest)
        padded += len(batch) * longest
        batches += 1
    return BatchingForecast(
        spec=spec,
        alone_per_s=len(lengths) / alone_s,
        batched_per_s=len(lengths) / batched_s,
        mean_size=len(lengths) / batches,
        padding_share=1.0 - sum(lengths) / padded,
    )


def pays(service: ServiceTimeModel, spec: BatchingSpec, lengths: Sequence[int]) -> bool:
    """Whether batching speeds this length mix up by at least ``MIN_SPEED_UP``."""
    return forecast(service, spec, lengths).pays
