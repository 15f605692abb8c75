"""When the benchmark of resuming kills."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compression.resume import drawn_kills

VALIDATIONS = [(20.0, 22.0), (50.0, 51.0), (98.0, 100.0)]


@given(st.integers(0, 1000), st.integers(1, 40))
def test_a_quarter_of_the_kills_falls_into_validations(seed: int, kills: int) -> None:
    """All of them in the order of the work, and those within the validation that they name."""
    drawn = drawn_kills(np.random.default_rng(seed), 100.0, VALIDATIONS, kills)
    after_s = [kill.after_s for kill in drawn]
    assert after_s == sorted(after_s)
    assert 0 <= after_s[0] <= after_s[-1] <= 100
    inside = [kill for kill in drawn if kill.validation is not None]
    assert (len(drawn), len(inside)) == (kills, -(-kills // 4))
    for kill in inside:
        assert kill.validation is not None
        begins_s, ends_s = VALIDATIONS[kill.validation]
        assert begins_s <= kill.after_s <= ends_s
        assert kill.into_s == pytest.approx(kill.after_s - begins_s)
