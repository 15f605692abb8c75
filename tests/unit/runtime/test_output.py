"""What must hold of an answer before a caller may see it."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.errors import EngineError
from headgate.runtime.output import is_unit, rows

UNIT = np.array([0.6, 0.8], dtype=np.float32)


def told(output: np.ndarray, *, unit: bool) -> list[str]:
    """``good``, or what is wrong, row by row."""
    found = rows(output, len(output), (2,), unit=unit)
    return [row.what if isinstance(row, EngineError) else "good" for row in found]


def test_a_bad_row_fails_alone_for_its_own_reason() -> None:
    output = np.stack([UNIT, UNIT * np.nan, UNIT * 2, UNIT])
    assert told(output, unit=True) == [
        "good",
        "NaN or infinite values",
        "a vector of length 2 from a model that makes unit vectors",
        "good",
    ]
    assert told(output, unit=False)[2] == "good"


@pytest.mark.parametrize(("length", "good"), [(0.985, False), (0.995, True), (1.015, False)])
def test_a_hundredth_off_is_rounding_and_no_more(length: float, good: bool) -> None:
    assert (told(np.stack([UNIT, UNIT * length]), unit=True)[1] == "good") is good


def test_a_vector_of_zeros_is_not_normal() -> None:
    assert "length 0 " in told(np.stack([UNIT, UNIT * 0]), unit=True)[1]


def test_rows_of_integers_and_scores_have_no_length() -> None:
    assert not is_unit(np.array([1, 0]))
    assert not is_unit(np.array(1.0))


def test_unit_vectors_in_bfloat16_are_seen_as_such() -> None:
    rng = np.random.default_rng(1)
    row = rng.standard_normal(384).astype(np.float32)
    row /= np.linalg.norm(row)
    rounded = (row.view(np.uint32) & 0xFFFF0000).view(np.float32)  # the upper half of its bits
    assert is_unit(rounded)
