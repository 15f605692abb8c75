"""How a metric's values read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from headgate.config.schema import MetricSpec
from headgate.optimize.job import Job

METRICS = {
    "exact": MetricSpec(function="own:exact"),
    "error_eur": MetricSpec(function="own:error", direction="lower_is_better", range=(0.0, 500.0)),
}


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("recall@10", "fraction"),
        ("latency_p95", "s"),
        ("cost_per_1k", "money"),
        ("exact", "fraction"),
        ("error_eur", "number"),
        ("worst_slice_error_eur", "number"),
        ("worst_slice_recall@10", "fraction"),
        ("toxic", "number"),
    ],
)
def test_only_what_lies_between_0_and_1_reads_as_per_cent(metric: str, unit: str) -> None:
    """An own metric says so by its range, under ``metrics`` and under ``safety``."""
    safety = {"toxic": MetricSpec(function="own:toxic", range=(0.0, 10.0))}
    config = SimpleNamespace(task="embed", metrics=METRICS, safety=safety)
    job = Job(
        cast("object", config),  # type: ignore[arg-type]
        *([None] * 10),  # type: ignore[arg-type]
        value_bytes=0,
    )
    assert job.unit(metric) == unit
