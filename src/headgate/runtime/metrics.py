"""Prometheus metrics of one live plane, in a registry of its own.

Observing must cost next to nothing beside an engine call of a millisecond: counts are plain
integers, histogram observations are appended to a list, and both become metric families only when
somebody scrapes. All of it happens on the event loop's thread. Knows nothing of HTTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

__all__ = ["Histogram", "Metrics"]

_SECONDS = tuple(m * 10.0**e for e in range(-4, 2) for m in (1, 2.5, 5))
_FOLD_AT = 4096


class Histogram:
    """Counts values into buckets, lazily.

    >>> h = Histogram("seconds", "Some time.", (0.1, 1.0))
    >>> for value in (0.05, 0.1, 0.5, 3.0):
    ...     h.observe(value)
    >>> h.cumulative()
    [('0.1', 2.0), ('1.0', 3.0), ('+Inf', 4.0)]
    """

    __slots__ = ("_bounds", "_counts", "_pending", "_sum", "help", "name")

    def __init__(self, name: str, help_text: str, bounds: Sequence[float]) -> None:
        self.name, self.help = name, help_text
        self._bounds = np.array(bounds, dtype=np.float64)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        self._pending: list[float] = []

    def observe(self, value: float) -> None:
        self._pending.append(value)
        if len(self._pending) >= _FOLD_AT:
            self._fold()

    def _fold(self) -> None:
        values = np.array(self._pending, dtype=np.float64)
        self._pending.clear()
        index = np.searchsorted(self._bounds, values, side="left")  # value <= bound
        self._counts += np.bincount(index, minlength=len(self._counts))
        self._sum += float(values.sum())

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, values at most that), as Prometheus wants them."""
        if self._pending:
            self._fold()
        bounds = [*(str(float(b)) for b in self._bounds), "+Inf"]
        return list(zip(bounds, np.cumsum(self._counts).astype(float).tolist(), strict=True))

    def family(self) -> HistogramMetricFamily:
        buckets = self.cumulative()
        return HistogramMetricFamily(self.name, self.help, buckets=buckets, sum_value=self._sum)


class Metrics(Collector):
    """Everything that is counted about one deployment.

    ``requests`` counts by (status, source), with HTTP's status for gRPC's calls too; ``rejects``,
    ``dispatches`` and ``engine_failures`` by reason, ``engine_hung`` among the latter;
    ``replacements`` by outcome. ``in_flight`` and ``in_service`` are read when scraped, from the
    plane itself.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests: Counter[tuple[int, str]] = Counter()
        self.items: Counter[str] = Counter()
        self.rejects: Counter[str] = Counter()
        self.dispatches: Counter[str] = Counter()
        self.engine_failures: Counter[str] = Counter()
        self.connections_given_up: Counter[str] = Counter()
        self.replacements: Counter[str] = Counter()
        self.cancelled = 0
        self.traces_dropped = 0
        self.littles_law_breaches = 0
        self.littles_law_error: Callable[[], float | None] = lambda: None
        self.in_flight: Callable[[], int] = lambda: 0
        self.batches_in_flight: Callable[[], int] = lambda: 0
        self.in_service: Callable[[], int] = lambda: 0
        powers = tuple(float(2**i) for i in range(15))
        self.queue_wait_s = Histogram(
            "headgate_queue_wait_seconds", "From arrival to the start of the batch.", _SECONDS
        )
        self.batch_size = Histogram("headgate_batch_size", "Items of one engine call.", powers[:9])
        self.padded_tokens = Histogram(
            "headgate_batch_padded_tokens", "Items times the longest of them.", powers
        )
        self.padding_share = Histogram(
            "headgate_batch_padding_share",
            "Share of a batch's padded tokens that is padding.",
            (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.75),
        )
        self.engine_s = Histogram(
            "headgate_engine_seconds", "One engine call, collating and checks included.", _SECONDS
        )
        self.request_s = Histogram(
            "headgate_request_seconds", "A request from its headers to its answer.", _SECONDS
        )
        self.registry.register(self)

    def describe(self) -> list[HistogramMetricFamily]:
        """Empty, so that registering collects nothing."""
        return []

    def collect(
        self,
    ) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        requests = CounterMetricFamily(
            "headgate_requests", "Requests by status and source.", labels=("status", "source")
        )
        for (status, source), count in sorted(self.requests.items()):
            requests.add_metric((str(status), source), count)
        yield requests
        for name, text, label, counts in (
            ("headgate_items", "Items answered, by source.", "source", self.items),
            (
                "headgate_dispatches",
                "Batches, by why they are no larger.",
                "reason",
                self.dispatches,
            ),
            ("headgate_rejects", "Requests refused, by reason.", "reason", self.rejects),
            (
                "headgate_engine_failures",
                "Engine calls that failed, by reason.",
                "reason",
                self.engine_failures,
            ),
            (
                "headgate_connections_given_up",
                "Connections closed because no whole head came, or an answer was not read.",
                "reason",
                self.connections_given_up,
            ),
            (
                "headgate_engine_replacements",
                "Successors of engines that hang: loaded, or failed to load.",
                "outcome",
                self.replacements,
            ),
        ):
            family = CounterMetricFamily(name, text, labels=(label,))
            for key, count in sorted(counts.items()):
                family.add_metric((key,), count)
            yield family
        yield CounterMetricFamily(
            "headgate_cancelled", "Requests whose caller went away.", value=self.cancelled
        )
        yield CounterMetricFamily(
            "headgate_traces_dropped", "Traces that could not be kept.", value=self.traces_dropped
        )
        yield CounterMetricFamily(
            "headgate_littles_law_breaches",
            "Windows in which L and lambda * W differed: these metrics cannot all be right.",
            value=self.littles_law_breaches,
        )
        error = self.littles_law_error()
        if error is not None:
            yield GaugeMetricFamily(
                "headgate_littles_law_error",
                "|L - lambda * W| / L of the last stationary window, L from a gauge of its own.",
                value=error,
            )
        yield GaugeMetricFamily(
            "headgate_in_flight_requests", "Admitted and not yet answered.", value=self.in_flight()
        )
        yield GaugeMetricFamily(
            "headgate_in_flight_batches",
            "Engine calls that run now.",
            value=self.batches_in_flight(),
        )
        yield GaugeMetricFamily(
            "headgate_instances_in_service",
            "Instances that are not hanging.",
            value=self.in_service(),
        )
        for histogram in (
            self.queue_wait_s,
            self.batch_size,
            self.padded_tokens,
            self.padding_share,
            self.engine_s,
            self.request_s,
        ):
            yield histogram.family()
