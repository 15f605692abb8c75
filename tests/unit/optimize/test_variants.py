"""The table of candidates: complete, and each is plainer than itself by one optimization."""

from __future__ import annotations

import pytest

from headgate.config.schema import CANDIDATES as NAMES
from headgate.optimize.variants import BASELINE, CANDIDATES, Candidate


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
