"""What an index costs to make again, and when that has paid."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.planning.reembedding import passage_s, reembedding
from headgate.workload import ServiceCurve

CURVE = ServiceCurve(fixed_s=0.01, item_s=0.001, token_s=0.0001, square_s=0.0)


def test_an_encoder_that_saves_nothing_never_pays() -> None:
    """However small the index."""
    found = reembedding(items=1, item_s=1.0, before_s=0.5, after_s=0.5, rate_per_s=1.0)
    assert (found.requests, found.days) == (math.inf, math.inf)


@given(
    st.integers(1, 10**9),
    st.floats(1e-6, 1.0),
    st.floats(1e-6, 1.0),
    st.floats(0.01, 0.99),
    st.floats(0.01, 1e4),
)
def test_at_break_even_the_saving_is_the_price(
    items: int, item_s: float, before_s: float, share: float, rate_per_s: float
) -> None:
    """And the days are those in which so many requests come."""
    after_s = before_s * share
    found = reembedding(
        items=items, item_s=item_s, before_s=before_s, after_s=after_s, rate_per_s=rate_per_s
    )
    assert found.requests * (before_s - after_s) == pytest.approx(items * item_s)
    assert found.days * 86_400 * rate_per_s == pytest.approx(found.requests)


def test_passages_go_in_batches_of_their_own_length() -> None:
    """Four of 10 tokens fit 40 together, and share the call; one of 40 goes alone."""
    price = {"sizes": (1, 4), "max_padded_tokens": 40}
    four = 0.01 / 4 + 0.001 + 0.0001 * 10
    alone = 0.01 + 0.001 + 0.0001 * 40
    assert passage_s(CURVE, [10], instances=1, **price) == pytest.approx(four)  # type: ignore[arg-type]
    assert passage_s(CURVE, [40, 80], instances=1, **price) > alone  # type: ignore[arg-type]
    both = passage_s(CURVE, [10, 40], instances=1, **price)  # type: ignore[arg-type]
    assert both == pytest.approx((four + alone) / 2)
    assert passage_s(CURVE, [10, 40], instances=2, **price) == pytest.approx(both / 2)  # type: ignore[arg-type]
