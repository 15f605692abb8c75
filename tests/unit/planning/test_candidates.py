"""The table of candidates: complete, and each is plainer than itself by one optimization."""

from __future__ import annotations

import pytest

from headgate.planning import (
    BASELINE,
    CANDIDATES,
    TRIED_BY_DEFAULT,
    Candidate,
    tried_by_default,
)


def optimizations(c: Candidate) -> set[str]:
    found = {"quantization"} if c.scheme.quantizes else set()
    return found | ({"distillation"} if c.student is not None else set())


def test_what_is_tried_by_default_can_be_made() -> None:
    """Of every task; a classifier's own students are tried of nothing else."""
    for task in ("embed", "rerank", "predict"):
        assert tried_by_default(task) == TRIED_BY_DEFAULT
    assert set(TRIED_BY_DEFAULT) <= set(CANDIDATES)
    assert not any(CANDIDATES[name].of_head for name in TRIED_BY_DEFAULT)
    of_classifiers = [CANDIDATES[name] for name in tried_by_default("classify")]
    assert all(c.of_head for c in of_classifiers if c.student is not None)
    assert [c.name for c in of_classifiers if c.cascade] == ["linear_cascade"]


def test_a_cascade_learns_its_threshold_from_other_data_than_its_student() -> None:
    assert CANDIDATES["linear"].learns_from == ("train",)
    assert CANDIDATES["linear_cascade"].learns_from == ("train", "calibrate")
    assert dict(CANDIDATES["linear_cascade"].without) == {"distillation": BASELINE}


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
