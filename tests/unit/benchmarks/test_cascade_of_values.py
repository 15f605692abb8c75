"""What the benchmark of a predictor's cascade counts as kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.compression.cascade_of_values import Predicted
from benchmarks.compression.classifiers import Split


def predicted(off: NDArray[np.float64]) -> Predicted:
    """Right is 0 and the teacher is; the student is ``off`` (items,), and says so."""
    doubts = np.stack([off, np.log(off + 0.01)], axis=1)
    splits = {"calibrate": slice(0, 1000), "evaluate": slice(1000, None)}
    of = {name: Split(list(off[part]), np.zeros(len(off[part]))) for name, part in splits.items()}

    def scores(build: str, split: Split) -> NDArray[np.float64]:
        part = splits["calibrate" if split is of["calibrate"] else "evaluate"]
        return doubts[part] if build == "student" else np.zeros((len(split), 1))

    data = SimpleNamespace(teacher="teacher", scores=scores, **of)
    return Predicted(cast("Any", data), cast("Any", "student"), 0.01)


def test_a_student_that_is_off_where_it_says_so_keeps_the_risk() -> None:
    """A third of the items is lost whole, and they are those that escalate."""
    seen = predicted(np.where(np.arange(3000) % 3 == 0, 30.0, 0.03))
    assert seen.kept(20) == 1.0
    assert seen.details["escalated"] == pytest.approx(1 / 3, abs=0.001)
    assert seen.details["lost"] == pytest.approx(0.001 * 2 / 3, abs=1e-5)
    assert seen.details["lost by the student alone"] == pytest.approx(1 / 3, abs=0.001)


def test_who_never_lets_a_student_answer_has_kept_nothing() -> None:
    assert predicted(np.full(2000, 30.0)).kept(5) == 0.0
