"""Students of a predictor: what they learn, and whether they know how far off they are."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.distillation import HeadRecipe
from headgate.distillation.heads import ValueHead, train_value_head
from headgate.distillation.values import Doubt, Standard, doubt_of, squared_too
from headgate.errors import InputError

RNG = np.random.default_rng(0)
RECIPE = HeadRecipe(steps=600, dimensions=8)
NUMBERS = RNG.uniform(-1, 1, size=(1200, 3)) * [1, 10, 100]
SCALED = NUMBERS / [1, 10, 100]
# A line, and what no student learns where the first number is at one of its ends.
ENDS = np.abs(SCALED[:, 0]) > 0.6
VALUES = (1000 + 50 * SCALED @ [1.0, 2.0, -1.0] + RNG.normal(size=1200) * (2 + 30 * ENDS))[:, None]


def taught(
    values: NDArray[np.float64] = VALUES, *, hidden: int = 0, steps: int = 600, seed: int = 0
) -> ValueHead:
    recipe = replace(RECIPE, hidden=hidden, steps=steps)
    return train_value_head(
        list(NUMBERS), values, vocabulary=None, table=None, recipe=recipe, seed=seed
    )


def said(made: ValueHead) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Values (items, values), and the logarithm of how far off (items,)."""
    assert made.head.mean is not None
    assert made.head.scale is not None
    x = features = (NUMBERS - made.head.mean) / made.head.scale
    for i, (weight, bias) in enumerate(made.head.layers):
        x = (np.maximum(x, 0) if i else x) @ weight + bias
    values = x * made.standard.deviation + made.standard.mean
    return values, made.doubt.of(features)


def test_a_student_answers_in_its_teachers_units() -> None:
    pytest.importorskip("torch")
    values, _ = said(taught(hidden=32, steps=1000))
    assert np.abs(values - VALUES)[~ENDS].mean() < VALUES.std() / 10


@pytest.mark.parametrize("hidden", [0, 32])
def test_a_student_doubts_where_it_is_far_off(hidden: int) -> None:
    """At both ends: of the half that it is surer of it is less than half as far off."""
    pytest.importorskip("torch")
    values, far_off = said(taught(hidden=hidden, steps=1500))
    apart = np.abs(values - VALUES)[:, 0]
    sure = far_off <= np.median(far_off)
    assert apart[sure].mean() < apart[~sure].mean() / 2
    assert far_off[ENDS].mean() > far_off[~ENDS].mean() + 1


def test_several_values_are_learnt_each_on_its_scale() -> None:
    """One of them a thousand times as large, one always the same."""
    pytest.importorskip("torch")
    three = np.concatenate([VALUES, VALUES / 1000, np.full_like(VALUES, 0.1)], axis=1)
    values, far_off = said(taught(three, hidden=32, steps=1000))
    apart = np.abs(values - three)[~ENDS].mean(axis=0)
    assert (apart <= [VALUES.std() / 10, VALUES.std() / 10_000, 0.1]).all()
    assert far_off.shape == (len(NUMBERS),)


def test_a_student_of_texts_learns_its_tokens_and_its_doubt() -> None:
    pytest.importorskip("torch")
    texts = [
        np.concatenate([[1], RNG.integers(10, 40, RNG.integers(2, 9)), [2]]) for _ in range(400)
    ]
    values = np.array([[text[1:-1].mean()] for text in texts])
    made = train_value_head(texts, values, vocabulary=50, table=None, recipe=RECIPE, seed=0)
    assert made.head.table is not None
    assert made.head.losses[-1] < made.head.losses[0] / 5
    assert made.doubt.weight.shape == (16, 1)


def test_training_again_gives_the_same_bits() -> None:
    pytest.importorskip("torch")
    first, again, other = taught(steps=50), taught(steps=50), taught(steps=50, seed=1)
    assert first.head.losses == again.head.losses
    assert first.doubt.weight.tobytes() == again.doubt.weight.tobytes()
    assert first.doubt.weight.tobytes() != other.doubt.weight.tobytes()


def test_the_doubt_is_learnt_from_items_that_the_student_did_not_learn_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A quarter of all, and none of them among those."""
    pytest.importorskip("torch")
    from headgate.distillation import heads

    looked_at: list[int] = []
    learnt: set[int] = set()
    features = heads._Numbers.features

    def noting(model: heads._Numbers, batch: NDArray[np.intp]) -> object:
        learnt.update(batch.tolist())
        return features(model, batch)

    def doubt(x: NDArray[np.floating], *values: NDArray[np.float64]) -> Doubt:
        looked_at.append(len(x))
        return doubt_of(x, *values)

    monkeypatch.setattr(heads._Numbers, "features", noting)
    monkeypatch.setattr(heads, "doubt_of", doubt)
    taught(steps=400)
    assert looked_at == [300]
    assert len(learnt) == 1200, "900 in training, and then the other 300"


def test_where_it_was_nearest_the_surest_that_was_seen_is_the_most() -> None:
    """Items at the edge happened to be nearest: squares would make those beyond surer still."""
    features = RNG.normal(size=(500, 2))
    apart = np.exp(-(features**2).sum(axis=1))[:, None]
    doubt = doubt_of(features, apart, np.zeros_like(apart))
    assert (doubt.weight[2:] >= 0).all()
    seen = squared_too(features) @ doubt.weight + doubt.bias
    assert seen.min() == pytest.approx(doubt.least[0], abs=1e-5)


def falling() -> Doubt:
    """Of two features from -1 to 3, and of one that was always 5; the further to the right in the
    first, the nearer was the student."""
    features = RNG.uniform(-1, 3, size=(500, 3))
    features[:2, :2], features[:, 2] = [[-1], [3]], 5
    apart = np.exp(-3 * features[:, :1])
    return doubt_of(features, apart, np.zeros_like(apart))


@pytest.mark.parametrize(
    "row", [[4.1, 0, 5], [1e6, 0, 5], [0, -2.1, 5], [3, 3, 5.1], [0, 0, np.nan]]
)
def test_beyond_all_that_was_seen_the_doubt_is_infinite(row: list[float]) -> None:
    """Further than a quarter of what a feature spanned, in whichever it is, however sure the line
    becomes there; of one that never changed, any other value is beyond."""
    doubt = falling()
    near = doubt.of(np.array([[2.9, 0, 5]]))
    assert (squared_too(np.array([[4.1, 0.0, 5.0]])) @ doubt.weight + doubt.bias) < near
    assert doubt.of(np.array([row, [0, 0, 5]])).tolist() == [
        np.inf,
        pytest.approx(float(doubt.of(np.array([[0, 0, 5]]))[0])),
    ]


def test_a_little_beyond_nobody_is_surer_than_the_surest() -> None:
    """As new items are, of which the largest is seldom smaller than any before."""
    doubt = falling()
    inside = doubt.of(np.array([[3.9, 0, 5], [3, 0, 5.0005], [-1.9, 3.9, 5]]))
    assert np.isfinite(inside).all()
    assert inside[0] == doubt.least[0]
    assert inside[2] > inside[1]


@pytest.mark.parametrize("features", [30, 50, 51, 400])
def test_a_doubt_is_what_least_squares_say_with_fewer_features_than_items_or_more(
    features: int,
) -> None:
    """100 items, and twice as many columns as features: the gradient vanishes where a column is
    used, and would make surer where it is not."""
    x = RNG.normal(size=(100, features))
    student = RNG.normal(size=(100, 1)) * np.exp(x[:, :1])
    weight = doubt_of(x, student, np.zeros_like(student)).weight[:, 0].astype(np.float64)
    both, wanted = squared_too(x), np.log(np.abs(student[:, 0]) + 1e-3)
    both, wanted = both - both.mean(axis=0), wanted - wanted.mean()
    gradient = both.T @ (wanted - both @ weight) - 10 * weight
    used = weight != 0
    assert np.abs(gradient[used]).max() < 1e-3
    assert used[:features].all()


def test_an_image_has_a_doubt_in_bounded_memory() -> None:
    """20,000 numbers an item: their products with each other would be 12 GB."""
    x = RNG.normal(size=(60, 20_000))
    tracemalloc.start()
    doubt_of(x, RNG.normal(size=(60, 1)), np.zeros((60, 1)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500e6


def test_a_dull_feature_and_a_perfect_student_break_nothing() -> None:
    features = np.concatenate([RNG.normal(size=(50, 1)), np.zeros((50, 1))], axis=1)
    doubt = doubt_of(features, np.zeros((50, 1)), np.zeros((50, 1)))
    assert np.isfinite(doubt.weight).all()
    assert doubt.bias[0] == pytest.approx(np.log(1e-3), abs=1e-5)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (np.zeros(4), "no row of values"),
        (np.zeros((4, 2, 2)), "no row of values"),
        (np.array([[np.nan], [1.0]]), "NaN or infinity"),
        (np.full((7, 2), 0.1), "all the same"),
    ],
)
def test_a_teacher_that_teaches_no_values_is_refused(
    outputs: NDArray[np.float64], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        Standard.of(outputs)
