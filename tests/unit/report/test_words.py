"""Numbers in words that people read the first time."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.report import words

TIMES = st.floats(1e-7, 1e6) | st.just(0.0)


@pytest.mark.parametrize(
    ("plain", "worded"),
    [
        (
            "latency_p95: 0.0003517 s even at the lowest rate tried, above the limit of 5e-05 s",
            "latency_p95: 352 µs even at the lowest rate tried, above the limit of 50.0 µs",
        ),
        (
            "not tried: that takes about 1.23e+03 s, and of the budget 0 s are left for it",
            "not tried: that takes about 20.5 min, and of the budget 0 s are left for it",
        ),
        ("requests left 0.7298 s late at p99, limit 0.013 s", "requests left 730 ms late at p99, "
         "limit 13.0 ms"),
        ("1,543 s of 8 s", "25.7 min of 8.00 s"),
        ("3 students, 2 seconds, 2 slices, s 4, v1.5 s2", None),
        ("`headgate optimize '/data/5 s/headgate.yaml'` after 5 s, `a 7 s b`",
         "`headgate optimize '/data/5 s/headgate.yaml'` after 5.00 s, `a 7 s b`"),
        ("latency_p95 at most 0.01 (0.5 of 2), `/data/2026` and 3 of 9",
         "latency_p95 at most 10.0 ms (500 ms of 2.00 s), `/data/2026` and 3 of 9"),
        ("latency_p95 at most 0.01: 3 of /data/2026",
         "latency_p95 at most 10.0 ms: 3 of /data/2026"),
        ("int8 (latency_p95 at most 0.01) had 3 of 9",
         "int8 (latency_p95 at most 10.0 ms) had 3 of 9"),
        ("latency_p95: a block differs from the next by 0.02 (and 1 more)",
         "latency_p95: a block differs from the next by 20.0 ms (and 1 more)"),
        ("latency_p95 at most 0.01. Of 9 kept 3", "latency_p95 at most 10.0 ms. Of 9 kept 3"),
    ],
)  # fmt: skip
def test_plain_seconds_become_durations(plain: str, worded: str | None) -> None:
    """Whoever says them: the plan, the search, the load test."""
    assert words.with_units(plain) == (plain if worded is None else worded)


@given(TIMES, TIMES)
@example(119.5, 119.97)
def test_what_is_worded_already_stays(a: float, b: float) -> None:
    """A sentence may pass through twice, as a reason that is part of another does."""
    for sentence in (
        f"latency_p95 = {a:.4g} (95 % bound {b:.4g}) keeps {a:.4g}; n = 9",
        f"latency_p95: {a:.4g} s even at the lowest rate tried, above the limit of {b:.4g} s",
        f"age at most {a:.4g} (retrain)",
    ):
        once = words.with_units(sentence)
        assert words.with_units(once) == once
