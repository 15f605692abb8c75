"""Builds as they are made."""

from __future__ import annotations

import pytest

from headgate.optimize.making.students import _Told
from headgate.testing import ManualClock


@pytest.mark.parametrize(
    ("first", "reused"), [(1, ""), (101, "; 100 steps are reused")], ids=["anew", "resumed"]
)
def test_a_training_tells_how_long_it_still_takes(first: int, reused: str) -> None:
    """From its second step on, by the steps of this process alone; what came before the first is
    none of them."""
    clock, told = ManualClock(), [(0.0, "")]
    tell = _Told(lambda share, detail: told.append((share, detail)), clock.now_s)
    clock.advance(60.0)
    tell(first, 400, 0.5)
    assert told[-1] == (first / 400, f"step {first} of 400, loss 0.5000{reused}")
    clock.advance(4.0)
    tell(first + 2, 400, 0.25)
    left = {1: "13.2 min", 101: "9.90 min"}[first]
    said = f"step {first + 2} of 400, loss 0.2500, about {left} left{reused}"
    assert told[-1] == ((first + 2) / 400, said)
