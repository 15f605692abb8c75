"""The three losses against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.distillation import embedding_regression, relational, soft_target


def unit(rng: np.random.Generator, n: int = 6, d: int = 4) -> np.ndarray:
    x = rng.standard_normal((n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_regression_of_unit_vectors_is_two_minus_two_cosines() -> None:
    """For rows of length 1 the loss is 2 - 2 cos."""
    rng = np.random.default_rng(0)
    s, t = unit(rng), unit(rng)
    assert embedding_regression(s, t) == pytest.approx(2 - 2 * np.mean(np.sum(s * t, axis=1)))


def test_the_relational_loss_does_not_see_a_rotation() -> None:
    """Rotating all students changes no similarity, and a wrong similarity is punished."""
    rng = np.random.default_rng(1)
    t = unit(rng)
    rotation = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    assert relational(t @ rotation, t) == pytest.approx(0, abs=1e-12)
    assert relational(unit(rng), t) > 0.01


def test_a_soft_target_is_the_divergence_from_teacher_to_student() -> None:
    """The loss is KL(teacher || student), not the reverse, times the temperature squared."""
    s, t, temperature = np.array([[0.0, 2.0]]), np.array([[1.0, 0.0]]), 2.0
    p = np.exp(t / 2) / np.exp(t / 2).sum()
    q = np.exp(s / 2) / np.exp(s / 2).sum()
    assert soft_target(s, t, temperature) == pytest.approx(4 * float(np.sum(p * np.log(p / q))))


def test_soft_targets_are_stable_for_large_logits() -> None:
    """Logits of 1e4 give a number, and a shift of all logits changes nothing."""
    s, t = np.array([[1e4, 0.0]]), np.array([[0.0, 1e4]])
    assert soft_target(s, t, 1.0) == pytest.approx(1e4)
    assert soft_target(s + 7, t - 3, 1.0) == pytest.approx(1e4)


@pytest.mark.parametrize("loss", [embedding_regression, relational])
def test_losses_refuse_arrays_that_do_not_pair(loss) -> None:  # type: ignore[no-untyped-def]
    """A student answer without its teacher's is a mistake, never broadcast."""
    with pytest.raises(ValueError, match="two non-empty"):
        loss(np.ones((2, 3)), np.ones((1, 3)))


def test_a_temperature_of_zero_is_refused() -> None:
    """Dividing by it would make every answer certain."""
    with pytest.raises(ValueError, match="above 0"):
        soft_target(np.zeros((1, 2)), np.zeros((1, 2)), 0.0)
