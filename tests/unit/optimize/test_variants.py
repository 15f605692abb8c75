"""The table of candidates: complete, and each is plainer than itself by one optimization."""

from __future__ import annotations

import pytest

from headgate.config.schema import CANDIDATES as NAMES
from headgate.optimize.variants import BASELINE, CANDIDATES, Candidate, _Told
from headgate.testing import ManualClock


def optimizations(c: Candidate) -> set[str]:
    found = {"quantization"} if c.scheme is not None else set()
    return found | ({"distillation"} if c.student else set())


def test_every_name_of_the_file_can_be_made() -> None:
    """And nothing else but the unquantized model on the other engine."""
    assert set(CANDIDATES) == {*NAMES, "fp32_openvino"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_plainer_lacks_one_optimization_and_no_other(name: str) -> None:
    """On the way down each candidate ends at the baseline or at an unoptimized build."""
    candidate = CANDIDATES[name]
    assert set(candidate.without) == optimizations(candidate)
    for optimization, plainer in candidate.without.items():
        left = set() if plainer == BASELINE else optimizations(CANDIDATES[plainer])
        assert left == optimizations(candidate) - {optimization}


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
