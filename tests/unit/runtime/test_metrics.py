"""Metrics: what a scrape says."""

from __future__ import annotations

import asyncio

import numpy as np
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from headgate.runtime.metrics import Histogram, Metrics
from tests.serving import deployment


def test_a_histogram_counts_each_value_once_across_folds() -> None:
    """Many more values than are kept pending: the counts and the sum are those of all."""
    values = np.random.default_rng(0).exponential(0.1, 20_000)
    histogram = Histogram("t", "t.", (0.01, 0.1, 1.0))
    for value in values.tolist():
        histogram.observe(value)
    expected = [float((values <= b).sum()) for b in (0.01, 0.1, 1.0)] + [20_000.0]
    assert [count for _, count in histogram.cumulative()] == expected
    (total,) = (s.value for s in histogram.family().samples if s.name == "t_sum")
    assert np.isclose(total, values.sum())


def test_two_deployments_do_not_share_their_numbers() -> None:
    """Each has a registry of its own."""
    one, other = Metrics(), Metrics()
    one.requests["/predict", 200, "engine"] += 1
    assert b'route="/predict"' in generate_latest(one.registry)
    assert b'route="/predict"' not in generate_latest(other.registry)


def test_a_scrape_shows_what_happened() -> None:
    """Items by source, batches, and gauges that are back at zero."""

    async def scenario() -> dict[str, float]:
        d = deployment(cache_bytes=10_000)
        await d.start()
        for _ in range(2):
            encoded = await d.live.encode(["a b", "c"])
            await d.live.submit(encoded, keys=[d.key(e, "") for e in encoded])
        await d.close()
        families = text_string_to_metric_families(generate_latest(d.metrics.registry).decode())
        return {
            s.name + "".join(f",{k}={v}" for k, v in sorted(s.labels.items())): s.value
            for family in families
            for s in family.samples
        }

    samples = asyncio.run(scenario())
    assert samples["headgate_items_total,source=engine"] == 2
    assert samples["headgate_items_total,source=cache"] == 2
    assert samples["headgate_batch_size_count"] == 1
    assert samples["headgate_batch_size_sum"] == 2
    assert samples["headgate_batch_padded_tokens_sum"] == 4
    assert samples["headgate_batch_padding_share_sum"] == 0.25
    assert samples["headgate_queue_wait_seconds_count"] == 2
    assert samples["headgate_engine_seconds_count"] == 1
    assert samples["headgate_in_flight_items"] == 0
    assert samples["headgate_in_flight_batches"] == 0
