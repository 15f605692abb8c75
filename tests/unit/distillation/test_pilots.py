"""Which pilots a student gets, and that they stay within what they may cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.distillation import Recipe, distinct_texts, plan_pilots, training_passes

recipes = st.builds(
    Recipe,
    layers_kept=st.integers(1, 6),
    steps=st.integers(50, 3000),
    max_texts=st.integers(500, 24_000),
    batch_texts=st.sampled_from([1, 8, 32, 128]),
    bridge_texts=st.sampled_from([0, 20, 900]),
)


@given(recipes, st.floats(10, 100_000), st.floats(0.02, 0.3))
def test_pilots_cost_no_more_than_their_share(
    recipe: Recipe, evaluation_texts: float, share: float
) -> None:
    """Whatever the recipe: the start, the steps, validations, answers, and the teacher's too."""
    plan = plan_pilots(recipe, teacher_layers=6, evaluation_texts=evaluation_texts, share=share)
    if plan is None:
        return
    kept = recipe.layers_kept
    stepping = sum(3 * kept * r.steps * r.batch_texts for r in plan.runs)
    answering = 6 * plan.texts + kept * plan.evaluation_share * evaluation_texts
    assert stepping + answering <= plan.passes <= share * training_passes(recipe, 6) + 1e-6
    assert plan.share <= share + 1e-9
    assert 0 < plan.evaluation_share <= 1


def test_a_training_of_fewer_texts_a_step_is_no_cheaper_by_as_much() -> None:
    """Its updates are as many: of half the texts a step takes more than half as long, and pilots,
    whose batches are small, are charged for that."""
    whole, half, none = (
        training_passes(Recipe(batch_texts=n, steps=steps), 6)
        for n, steps in ((16, 860), (8, 860), (8, 1))
    )
    assert 1.05 < (half - none) / ((whole - none) / 2) < 1.5


def test_the_start_of_more_layers_takes_more_of_the_teacher_too() -> None:
    """Each layer that is refitted asks the teacher anew: five layers cost more than five times
    what one does."""

    def start(layers: int) -> float:
        recipe = Recipe(layers_kept=layers, steps=1, batch_texts=1)
        bare = Recipe(layers_kept=layers, steps=1, batch_texts=1, bridge_texts=0)
        return training_passes(recipe, 6) - training_passes(bare, 6)

    assert start(5) > 4.5 * start(1)


@given(recipes)
def test_every_pilot_is_smaller_than_the_training(recipe: Recipe) -> None:
    """In texts, steps and batches; the last has the most of each."""
    plan = plan_pilots(recipe, teacher_layers=6, evaluation_texts=3000)
    if plan is None:
        return
    for run in plan.runs:
        assert run.max_texts >= 1
        assert 1 <= run.steps <= plan.runs[-1].steps <= recipe.steps
        assert run.batch_texts <= recipe.batch_texts
    assert plan.runs[-1].max_texts == max(r.max_texts for r in plan.runs)


def test_pilots_are_of_three_data_sizes_and_two_step_counts() -> None:
    """Each under the recipe's own schedule, from a start that was made once."""
    recipe = Recipe()
    plan = plan_pilots(recipe, teacher_layers=6, evaluation_texts=3800)
    assert plan is not None
    seen = [distinct_texts(r) for r in plan.runs]
    assert len(set(seen)) == 3
    assert len({r.steps for r in plan.runs}) == 2
    assert seen[0] < plan.runs[0].steps * plan.runs[0].batch_texts  # what repeating does
    assert {r.bridge_texts for r in plan.runs} == {0}
    assert plan.start.bridge_texts > 0
    assert {(r.peak_learning_rate, r.warmup_share) for r in plan.runs} == {
        (recipe.peak_learning_rate / 3, recipe.warmup_share)
    }


@pytest.mark.parametrize(
    "recipe",
    [Recipe(steps=30, max_texts=500), Recipe(layers_kept=0), Recipe(bridge_texts=0)],
    ids=["too short a training", "a static student", "a start that is not fitted"],
)
def test_where_a_tenth_buys_nothing_there_are_no_pilots(recipe: Recipe) -> None:
    """Not knowing is said, and no budget is overdrawn."""
    assert plan_pilots(recipe, teacher_layers=6, evaluation_texts=3800) is None


def test_the_start_gives_a_narrow_student_its_shape() -> None:
    """Runs from it must not be narrowed again."""
    narrow = Recipe(layers_kept=4, feed_forward_kept=0.4, steps=3000, max_texts=24_000)
    plan = plan_pilots(narrow, teacher_layers=6, evaluation_texts=3800)
    assert plan is not None
    assert plan.start.feed_forward_kept == 0.4
    assert {r.feed_forward_kept for r in plan.runs} == {1.0}


def test_the_start_is_fitted_on_what_the_budget_pays_for() -> None:
    """On more texts where the training is longer, and never on more than the training's own."""

    def fitted_on(recipe: Recipe) -> int:
        plan = plan_pilots(recipe, teacher_layers=6, evaluation_texts=3800)
        assert plan is not None
        return plan.start.bridge_texts

    assert 32 <= fitted_on(Recipe()) < fitted_on(Recipe(steps=2000)) < 900
    assert fitted_on(Recipe(bridge_texts=40)) == 40


def test_a_larger_evaluation_split_is_answered_in_a_smaller_part() -> None:
    """Its cost is a quarter of the pilots' at most."""
    recipe = replace(Recipe(), layers_kept=5)
    parts = [
        plan.evaluation_share
        for n in (100, 4000, 40_000)
        if (plan := plan_pilots(recipe, teacher_layers=6, evaluation_texts=n)) is not None
    ]
    assert parts[0] == 1.0
    assert parts[1] > 5 * parts[2] > 0
