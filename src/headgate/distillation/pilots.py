"""Which pilots a student gets before it is paid for, and what they cost beside its training.

Three data sizes and three step counts in four pilots: the longest gets through its texts once, two
more do so with a half and with a quarter of both, and one goes twice through a quarter. Each has
its own whole schedule of learning rates: a long run that is cut off stands at a high rate, and its
loss is not the one that such a run would have ended with. All go on from one closed-form start.
Batches are a quarter of the recipe's, so that there are four times as many steps for the same
texts.

Costs are counted in *layer passes*: one text once through one layer. A training step takes three of
them for each text and layer, two of them backwards (Kaplan et al., arXiv 2001.08361, section 2.1).
Of the closed-form start, the passes through teacher and student of a text are ten a layer, twice
that where few texts of all lengths are padded to one; solving for a layer of 384 components takes
as long as 400 texts, and loading the teacher as long as 550. These were taken from measured times.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headgate.distillation.recipe import Recipe

__all__ = ["PilotPlan", "distinct_texts", "plan_pilots", "training_passes"]

SHARE = 0.1
"""Of the training's cost, all that the pilots may cost."""
_RUNS = ((0.25, 0.25), (0.25, 0.5), (0.5, 0.5), (1.0, 1.0))
"""Texts and steps of each pilot, as shares of the longest one's."""
_PARTS = 4
_BATCH_SHARE = 4
_START_TEXTS = 32
_VALIDATION_TEXTS = 64
_EVALUATION_SHARE = 1 / 6
_LEAST_STEPS = 8
"""Of the longest pilot. Warm-up and cosine make nothing of fewer."""
_STEP, _REFIT, _SOLUTION, _LOADING = 3, 10, 400, 550


@dataclass(frozen=True, slots=True)
class PilotPlan:
    """The pilots of one student."""

    start: Recipe
    """Makes the start, and no step from it."""
    runs: tuple[Recipe, ...]
    """From that start; the last has the most texts and the most steps."""
    validation_texts: int
    """Held-back texts on which each pilot's loss is measured."""
    evaluation_share: float
    """Of the evaluation split, what the last one answers; 0 to 1."""
    passes: float
    """Layer passes of all of it, the teacher's answers among them."""
    answers_passes: float
    """Of those, the teacher's answers."""
    training_passes: float
    """Of the training that is forecast."""

    @property
    def texts(self) -> int:
        """Texts that the teacher answers for the pilots to learn from."""
        return max(run.max_texts for run in self.runs)

    @property
    def share(self) -> float:
        """What the pilots cost, as a share of the training."""
        return self.passes / self.training_passes

    def training_s(self, pilots_s: float) -> float:
        """Device seconds of the training, where the pilots took ``pilots_s`` without the teacher's
        answers."""
        return pilots_s * self.training_passes / (self.passes - self.answers_passes)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> PilotPlan:
        """The plan that was written as plain JSON types."""
        start, *runs = (Recipe.from_json(r) for r in (body["start"], *body["runs"]))
        return cls(**{**body, "start": start, "runs": tuple(runs)})


def distinct_texts(recipe: Recipe) -> int:
    """Texts that a training on ``recipe`` gets to see at least once."""
    return min(recipe.max_texts, recipe.steps * recipe.batch_texts)


def training_passes(recipe: Recipe, teacher_layers: int) -> float:
    """Layer passes of a whole training: the teacher's answers, the start and the steps."""
    kept = recipe.layers_kept
    start = _start(recipe.bridge_texts, kept, teacher_layers, padding=1)
    steps = _STEP * kept * recipe.steps * recipe.batch_texts
    return recipe.max_texts * teacher_layers + start + steps


def plan_pilots(
    recipe: Recipe, *, teacher_layers: int, evaluation_texts: float, share: float = SHARE
) -> PilotPlan | None:
    """The pilots that ``share`` of the training of ``recipe`` pays for.

    ``evaluation_texts``: those of the evaluation split, in training texts of the same length. At
    most a sixth of the pilots' cost goes into them, by answering a part. The teacher's answers to
    them are known. None where too few steps are left to learn anything from.

    >>> made = plan_pilots(Recipe(), teacher_layers=6, evaluation_texts=3800)
    >>> [(run.max_texts, run.steps) for run in made.runs]
    [(112, 28), (112, 56), (224, 56), (448, 112)]
    """
    if recipe.static:  # its start alone asks the teacher about every token that there is
        return None
    whole = training_passes(recipe, teacher_layers)
    budget, kept = share * whole, recipe.layers_kept
    start_texts = min(_START_TEXTS, recipe.bridge_texts)
    fixed = _start(start_texts, kept, teacher_layers, padding=2)
    fixed += _VALIDATION_TEXTS * (1 + len(_RUNS)) * kept
    answers = evaluation_texts * kept
    evaluated = min(1.0, _EVALUATION_SHARE * budget / answers)
    fixed += evaluated * answers
    batch = max(1, recipe.batch_texts // _BATCH_SHARE)
    spans = sum(span for _, span in _RUNS)
    a_step = batch * (teacher_layers + _STEP * kept * spans)
    steps = min(int((budget - fixed) / a_step), recipe.steps)
    steps -= steps % _PARTS
    if steps < _LEAST_STEPS:
        return None
    runs = tuple(
        replace(
            recipe,
            max_texts=max(1, round(size * steps * batch)),
            steps=max(1, round(span * steps)),
            batch_texts=batch,
            bridge_texts=0,
            feed_forward_kept=1.0,  # of the start, which has the student's shape
        )
        for size, span in _RUNS
    )
    return PilotPlan(
        start=replace(recipe, steps=1, batch_texts=1, bridge_texts=start_texts),
        runs=runs,
        validation_texts=_VALIDATION_TEXTS,
        evaluation_share=evaluated,
        passes=fixed + steps * a_step,
        answers_passes=steps * batch * teacher_layers,
        training_passes=whole,
    )


def _start(texts: int, kept: int, teacher_layers: int, *, padding: float) -> float:
    if not texts:
        return 0.0
    return padding * texts * (teacher_layers + _REFIT * kept) + _SOLUTION * kept + _LOADING
