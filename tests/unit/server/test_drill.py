"""What a drill's bad release does to answers, of whatever shape they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.server.drill import _SlowAndWrong


@pytest.mark.parametrize(
    "outputs",
    [np.ones((4, 3), dtype=np.float32), np.ones(4), np.array([1, 2, 3, 4])],
    ids=["vectors", "predictions", "labels"],
)
def test_every_other_answer_is_spoilt(outputs: NDArray[np.generic]) -> None:
    """But for what is looked at while it loads: nobody would serve what cannot answer at all."""
    spoil = _SlowAndWrong(0.0)
    assert spoil(outputs) is outputs
    spoilt = np.asarray(spoil(outputs))
    assert spoilt.shape == outputs.shape
    wrong = np.isnan(spoilt).reshape(4, -1).all(axis=1)
    assert wrong.tolist() == [False, True, False, True]
    assert np.array_equal(spoilt[~wrong], outputs[~wrong])
