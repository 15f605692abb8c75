"""Small students of classifiers: what they learn, and that they learn it again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.distillation import HEADS, HeadRecipe, as_probabilities, check_classes
from headgate.distillation.heads import Head, train_head
from headgate.errors import ConfigError, InputError

torch = pytest.importorskip("torch")

RECIPE = HeadRecipe(steps=300, dimensions=8)
RNG = np.random.default_rng(0)
NUMBERS = list(RNG.normal(size=(400, 6)) * [1, 10, 100, 1, 1, 0] + [0, 5, -50, 0, 0, 3])
CLASSES = (np.array(NUMBERS)[:, :3] / [1, 10, 100] - [0, 0.5, -0.5]).argmax(axis=1)
# A text is of the class whose tokens it has most of: 10 to 19, 20 to 29 or 30 to 39.
TEXTS = [
    np.concatenate([[1], RNG.integers(10 * (1 + k % 3), 10 * (2 + k % 3), RNG.integers(2, 9)), [2]])
    for k in range(400)
]
TOPICS = np.arange(400) % 3


def of_numbers(targets: NDArray[np.float64], recipe: HeadRecipe = RECIPE, seed: int = 0) -> Head:
    return train_head(NUMBERS, targets, vocabulary=None, table=None, recipe=recipe, seed=seed)


def of_texts(targets: NDArray[np.float64], table: NDArray[np.float32] | None = None) -> Head:
    return train_head(
        TEXTS, targets, vocabulary=50, table=table, recipe=replace(RECIPE, steps=900), seed=0
    )


def answered(head: Head, x: NDArray[np.floating]) -> NDArray[np.intp]:
    for i, (weight, bias) in enumerate(head.layers):
        x = (np.maximum(x, 0) if i else x) @ weight + bias
    return x.argmax(axis=1)


def means(table: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([table[text].mean(axis=0) for text in TEXTS])


@pytest.mark.parametrize("hidden", [0, 16])
def test_a_student_of_numbers_answers_as_its_teacher_whatever_their_scales(hidden: int) -> None:
    """One of the six is 3 throughout, and one a hundred times as large."""
    head = of_numbers(np.eye(3)[CLASSES], replace(RECIPE, hidden=hidden, steps=1000))
    assert head.mean is not None
    assert head.scale is not None
    x = (np.array(NUMBERS) - head.mean) / head.scale
    assert (answered(head, x) == CLASSES).mean() > 0.85
    assert head.losses[-1] < head.losses[0] / 3


def test_a_student_of_texts_learns_its_tokens() -> None:
    head = of_texts(np.eye(3)[TOPICS])
    assert head.table is not None
    assert head.table.shape == (50, 8)
    assert (answered(head, means(head.table)) == TOPICS).mean() > 0.99


def test_a_token_that_never_came_keeps_the_teachers_vector() -> None:
    """As it was before, but for the scale that all share."""
    table = RNG.normal(size=(50, 8)).astype(np.float32)
    head = of_texts(np.eye(3)[TOPICS], table)
    before = means(table)
    scaled = (table - before.mean(axis=0)) / before.std(axis=0)
    assert head.table is not None
    assert np.allclose(head.table[45], scaled[45], atol=1e-5)
    assert not np.allclose(head.table[25], scaled[25], atol=0.1)


def test_training_again_gives_the_same_bits_on_any_number_of_threads() -> None:
    """And another seed another student; nothing is left switched over."""
    targets, before = np.eye(3)[CLASSES], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = of_numbers(targets)
        torch.set_num_threads(1)
        again, other = of_numbers(targets), of_numbers(targets, seed=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert first.losses == again.losses
    assert first.layers[0][0].tobytes() == again.layers[0][0].tobytes()
    assert first.layers[0][0].tobytes() != other.layers[0][0].tobytes()


def test_soft_targets_teach_how_sure_to_be() -> None:
    """Of a teacher that is 70 % sure a student learns to be no surer; labels make it surer."""

    def surest(targets: NDArray[np.float64]) -> float:
        head = of_numbers(targets, replace(RECIPE, hidden=32, steps=1000))
        assert head.mean is not None
        assert head.scale is not None
        x = (np.array(NUMBERS) - head.mean) / head.scale
        (w1, b1), (w2, b2) = head.layers
        probabilities, _ = as_probabilities(np.maximum(x @ w1 + b1, 0) @ w2 + b2)
        return float(probabilities.max(axis=1).mean())

    hard = np.eye(3)[CLASSES]
    assert surest(0.55 * hard + 0.15) < 0.75
    assert surest(hard) > 0.9


def test_logits_and_probabilities_are_told_apart() -> None:
    """Rows that sum to 1 and are not negative; anything else is odds on a logarithmic scale."""
    logits = np.array([[1000.0, 999.0], [-1.0, 1.0]])
    found, already = as_probabilities(logits)
    assert not already
    assert found.sum(axis=1).tolist() == pytest.approx([1.0, 1.0])
    assert as_probabilities(found.astype(np.float32))[1]


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (np.zeros(4), "no scores of two classes"),
        (np.zeros((4, 1)), "no scores of two classes"),
        (np.array([[np.nan, 1.0]]), "NaN or infinity"),
    ],
)
def test_a_teacher_without_scores_teaches_nothing(outputs: NDArray[np.float64], said: str) -> None:
    with pytest.raises(InputError, match=said):
        as_probabilities(outputs)


@pytest.mark.parametrize("classes", [[], [4, 4, 4]])
def test_data_of_one_class_are_refused(classes: list[int]) -> None:
    with pytest.raises(InputError, match=r"of no class|class 4 alone") as refused:
        check_classes(np.array(classes, dtype=np.int64), "data.train")
    assert refused.value.reason == "one_class"


@pytest.mark.parametrize(
    "change", [{"hidden": -1}, {"steps": 0}, {"temperature": 0.0}, {"peak_learning_rate": -1.0}]
)
def test_a_recipe_that_cannot_be_followed_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        replace(HEADS["mlp"], **change)  # type: ignore[arg-type]  # one of its fields
