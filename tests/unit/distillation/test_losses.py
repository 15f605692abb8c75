"""The losses against their definitions, and those of the training loop against them."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.distillation import (
    Weights,
    contrast,
    embedding_regression,
    hidden_states,
    losses,
    relational,
    soft_target,
)
from headgate.errors import ConfigError


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


def test_hidden_states_are_compared_in_the_teacher_s_own_size() -> None:
    """Ten times larger states of both lose as much."""
    rng = np.random.default_rng(3)
    s, t = rng.standard_normal((2, 7, 4))
    assert hidden_states(10 * s, 10 * t) == pytest.approx(hidden_states(s, t))
    assert hidden_states(t, t) == 0


def test_contrast_is_low_where_each_half_finds_its_own() -> None:
    """The right pairs lose less than shuffled ones, whichever side is called the first."""
    rng = np.random.default_rng(4)
    a = unit(rng)
    assert contrast(a, a, 0.05) < contrast(a, np.roll(a, 1, axis=0), 0.05)
    b = unit(rng)
    assert contrast(a, b, 0.05) == pytest.approx(contrast(b, a, 0.05))


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("embedding_regression", ()),
        ("relational", ()),
        ("soft_target", (2.0,)),
        ("hidden_states", ()),
        ("contrast", (0.05,)),
    ],
)
def test_the_training_loop_s_losses_are_these(name: str, more: tuple[float, ...]) -> None:
    """In torch, with gradients, the same number."""
    torch = pytest.importorskip("torch")
    from headgate.distillation.training import objective

    rng = np.random.default_rng(5)
    s, t = unit(rng), unit(rng)
    student = torch.from_numpy(s).requires_grad_()
    got = getattr(objective, name)(student, torch.from_numpy(t), *more)
    assert got.item() == pytest.approx(getattr(losses, name)(s, t, *more))
    got.backward()
    assert student.grad.abs().sum() > 0


def test_a_recipe_s_loss_is_the_weighted_sum() -> None:
    """The soft targets are the similarities to the others of the batch, without a text's own."""
    torch = pytest.importorskip("torch")
    from headgate.distillation.training.objective import of_outputs

    rng = np.random.default_rng(6)
    s, t = unit(rng, n=5), unit(rng, n=5)
    others = ~np.eye(5, dtype=bool)
    weights = Weights(regression=2.0, relational=3.0, soft_target=0.5, temperature=0.1)
    got = of_outputs(torch.from_numpy(s), torch.from_numpy(t), weights).item()
    logits = [(rows @ rows.T)[others].reshape(5, 4) for rows in (s, t)]
    expected = 2 * embedding_regression(s, t) + 3 * relational(s, t)
    assert got == pytest.approx(expected + 0.5 * soft_target(*logits, 0.1), rel=1e-5)


@pytest.mark.parametrize(
    "change", [{"regression": 0.0}, {"relational": -1.0}, {"temperature": 0.0}]
)
def test_weights_that_teach_nothing_are_refused(change: dict[str, float]) -> None:
    """All zero, negative, or at no temperature."""
    with pytest.raises(ConfigError):
        Weights(**change)
