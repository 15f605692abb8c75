"""Prometheus metrics of one live plane, in a registry of its own.

Observing must cost next to nothing beside an engine call of a millisecond: counts are plain
integers, histogram observations are appended to a list, and both become metric families only when
somebody scrapes. All of it happens on the event loop's thread. Knows nothing of HTTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from headgate.dataplane import PlaneStats
from headgate.runtime.answers import REASONS

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

    A request is a call, of one item or many. ``requests`` counts by (route, status, source), with
    HTTP's status for gRPC's calls too; ``rejects``, ``dispatches`` and ``engine_failures`` by
    reason, ``engine_hung`` among the latter; ``replacements`` and ``takeovers`` by outcome;
    ``breaches`` by metric, ``responses`` to them by (action, outcome), ``watch_failures`` by what
    could not be done. Gauges are read when scraped, from the plane itself.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests: Counter[tuple[str, int, str]] = Counter()
        # Named at 0, or an alert on their rate would miss the first.
        self.items = Counter(dict.fromkeys(("engine", "cache", "twin"), 0))
        self.rejects = Counter(dict.fromkeys(REASONS, 0))
        self.takeovers = Counter(dict.fromkeys(("done", "failed"), 0))
        self.release: Mapping[str, str] = {}
        """The ids of what serves now."""
        self.dispatches: Counter[str] = Counter()
        self.engine_failures: Counter[str] = Counter()
        self.connections_given_up: Counter[str] = Counter()
        self.replacements: Counter[str] = Counter()
        self.breaches: Counter[str] = Counter()
        self.responses: Counter[tuple[str, str]] = Counter()
        self.watch_failures = Counter(
            dict.fromkeys(("look", "ledger", "rollback", "response", "lost", "signing"), 0)
        )
        self.open_incidents: Callable[[], int] = lambda: 0
        self.escalated: Callable[[], int] | None = None
        """Of a cascade: items that its teacher answered."""
        self.invalid_answers = 0
        self.cancelled = 0
        self.traces_dropped = 0
        self.littles_law_breaches = 0
        self.littles_law_error: Callable[[], float | None] = lambda: None
        self.plane: Callable[[], PlaneStats] | None = None
        self.batches_in_flight: Callable[[], int] = lambda: 0
        self.in_service: Callable[[], int] = lambda: 0
        powers = tuple(float(2**i) for i in range(15))
        self.queue_wait_s = Histogram(
            "headgate_queue_wait_seconds",
            "An item, from arrival to the start of its batch.",
            _SECONDS,
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
        if self.release:
            release = GaugeMetricFamily(
                "headgate_release_info", "What serves now.", labels=tuple(self.release)
            )
            release.add_metric(tuple(self.release.values()), 1)
            yield release
        requests = CounterMetricFamily(
            "headgate_requests",
            "Requests, those for health and metrics among them, by route, status and source.",
            labels=("route", "status", "source"),
        )
        for (route, status, source), count in sorted(self.requests.items()):
            requests.add_metric((route, str(status), source), count)
        yield requests
        for name, text, label, counts in (
            ("headgate_items", "Items answered, by source.", "source", self.items),
            (
                "headgate_dispatches",
                "Batches, by why they are no larger.",
                "reason",
                self.dispatches,
            ),
            (
                "headgate_rejects",
                "Requests refused, of however many items, by reason.",
                "reason",
                self.rejects,
            ),
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
            (
                "headgate_takeovers",
                "Releases that took over while serving, or could not be loaded.",
                "outcome",
                self.takeovers,
            ),
            (
                "headgate_breaches",
                "Promises shown to be broken, by metric.",
                "metric",
                self.breaches,
            ),
            (
                "headgate_watch_failures",
                "What the watch could not do: look, write the ledger, roll back; or lost.",
                "what",
                self.watch_failures,
            ),
        ):
            family = CounterMetricFamily(name, text, labels=(label,))
            for key, count in sorted(counts.items()):
                family.add_metric((key,), count)
            yield family
        responses = CounterMetricFamily(
            "headgate_responses", "What was done about breaches.", labels=("action", "outcome")
        )
        for labels, count in sorted(self.responses.items()):
            responses.add_metric(labels, count)
        yield responses
        if self.escalated is not None:
            yield CounterMetricFamily(
                "headgate_cascade_escalated",
                "Items that a cascade's teacher answered.",
                value=self.escalated(),
            )
        yield CounterMetricFamily(
            "headgate_invalid_answers",
            "Answers of engines that broke the output contract.",
            value=self.invalid_answers,
        )
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
        if self.plane is not None:
            stats = self.plane()
            for name, text, value in (
                ("in_flight_items", "Items admitted and not yet answered.", stats.in_flight),
                ("queued_items", "Items that wait for an instance.", stats.queued),
                ("queued_tokens", "Tokens of these.", stats.queued_tokens),
                ("cache_entries", "Answers in the cache.", stats.cache_entries),
                ("cache_bytes", "Their size.", stats.cache_bytes),
            ):
                yield GaugeMetricFamily(f"headgate_{name}", text, value=value)
        yield GaugeMetricFamily(
            "headgate_open_incidents", "Promises that are broken now.", value=self.open_incidents()
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
