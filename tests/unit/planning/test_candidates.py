"""The table of candidates: complete, and each is plainer than itself by one optimization."""

from __future__ import annotations

import pytest

from headgate.planning import BASELINE, CANDIDATES, TRIED_BY_DEFAULT, Candidate


def optimizations(c: Candidate) -> set[str]:
    found = {"quantization"} if c.scheme.quantizes else set()
    return found | ({"distillation"} if c.student is not None else set())


def test_what_is_tried_by_default_can_be_made() -> None:
    assert set(TRIED_BY_DEFAULT) <= set(CANDIDATES)


def test_each_has_a_name_of_its_own() -> None:
    """And the model as it is, which everything is compared with, is none of them."""
    assert all(candidate.name == name for name, candidate in CANDIDATES.items())
    assert BASELINE not in CANDIDATES


@pytest.mark.parametrize("name", CANDIDATES)
def test_what_is_plainer_lacks_one_optimization_and_no_other(name: str) -> None:
    """On the way down each candidate ends at the baseline or at an unoptimized build."""
    candidate = CANDIDATES[name]
    assert set(candidate.without) == optimizations(candidate)
    for optimization, plainer in candidate.without.items():
        left = set() if plainer == BASELINE else optimizations(CANDIDATES[plainer])
        assert left == optimizations(candidate) - {optimization}
