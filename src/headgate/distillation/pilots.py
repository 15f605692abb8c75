"""Which pilots a student gets before it is paid for, and what they cost beside its training.

All go on from one closed-form start, which is fitted on as many texts as a third of the budget pays
for: most of what a student of few layers learns is in it. Three data sizes and two step counts in
three pilots from there: the longest gets through its texts once, one more does so with half of
both, and one goes twice through a quarter. Each has its own whole schedule of learning rates: a
long run that is cut off stands at a high rate, and its loss is not the one that such a run would
have ended with. At the recipe's rate a few steps only undo the start, so they take a third of it.
Batches are a quarter of the recipe's, so that there are more steps for the same texts, but no
smaller than eight: of fewer a text takes half as long again.

Costs are counted in *layer passes*: one text once through one layer. A training step takes three of
them for each text and layer, two of them backwards (Kaplan et al., arXiv 2001.08361, section 2.1).
Of the closed-form start, each layer that is refitted takes a text through the teacher up to the
layer that it stands for, through the student up to itself, and five passes more; half as many again
where few texts of all lengths are padded to the longest of their group. What is no pass counts as
many as take as long, by processor seconds of students of MiniLM: what comes before the first layer
and after the last three quarters for each text that is answered, an update of a layer 16, solving
for one 350, loading an encoder and saving it 500, and the products on the way from the teacher to
the last pilot 400. Texts to validate on count twice: half of them are passages, which are longer
than most. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headgate.distillation.recipe import Recipe

__all__ = ["SHARE", "PilotPlan", "distinct_texts", "plan_pilots", "training_passes"]

SHARE = 0.085
"""Of the training's cost, all that the pilots may cost: a tenth, less room for what passes do not
say of other texts and machines."""
_RUNS = ((0.25, 0.5), (0.5, 0.5), (1.0, 1.0))
"""Texts and steps of each pilot, as shares of the longest one's."""
_PARTS = 4
_BATCH_SHARE = 4
_RATE_SHARE = 1 / 3
_LEAST_BATCH = 8
_LEAST_START_TEXTS = 32
_START_SHARE = 0.3
_EVALUATION_SHARE = 0.25
_VALIDATION_TEXTS = 64
_LEAST_STEPS = 8
"""Of the longest pilot. Warm-up and cosine make nothing of fewer."""
_STEP, _UPDATE = 3, 16
_REFIT, _SOLUTION, _PADDING = 5, 350, 1.5
_READING, _LOADING, _PRODUCTS, _VALIDATION = 0.75, 500, 400, 2


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
    start = _start(recipe.bridge_texts, kept, teacher_layers)
    steps = recipe.steps * _step(recipe.batch_texts, kept)
    return recipe.max_texts * _answer(teacher_layers) + start + steps


def _answer(layers: int) -> float:
    return layers + _READING


def plan_pilots(
    recipe: Recipe, *, teacher_layers: int, evaluation_texts: float, share: float = SHARE
) -> PilotPlan | None:
    """The pilots that ``share`` of the training of ``recipe`` pays for.

    ``evaluation_texts``: those of the evaluation split, in training texts of the same length. At
    most a quarter of the pilots' cost goes into them, by answering a part. The teacher's answers to
    them are known. None where too few steps are left to learn anything from.

    >>> made = plan_pilots(Recipe(), teacher_layers=6, evaluation_texts=3800)
    >>> [(run.max_texts, run.steps) for run in made.runs]
    [(40, 10), (80, 10), (160, 20)]
    """
    if recipe.static or not recipe.bridge_texts:
        return None  # a static start asks about every token; and what became of others had starts
    whole = training_passes(recipe, teacher_layers)
    budget, kept = share * whole, recipe.layers_kept
    least = _start(0, kept, teacher_layers)
    affordable = (_START_SHARE * budget - least) / (_start(1, kept, teacher_layers) - least)
    start_texts = min(max(_LEAST_START_TEXTS, int(affordable / _PADDING)), recipe.bridge_texts)
    fixed = _start(_PADDING * start_texts, kept, teacher_layers)
    # To validate the start and each run but the last, which answers these texts among all.
    fixed += _VALIDATION * _VALIDATION_TEXTS * _answer(kept) * len(_RUNS)
    fixed += _LOADING * len(_RUNS) + _PRODUCTS
    answers = evaluation_texts * _answer(kept)
    evaluated = min(1.0, _EVALUATION_SHARE * budget / answers)
    fixed += evaluated * answers
    batch = max(min(_LEAST_BATCH, recipe.batch_texts), recipe.batch_texts // _BATCH_SHARE)
    spans = sum(span for _, span in _RUNS)
    a_step = batch * _answer(teacher_layers) + spans * _step(batch, kept)
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
            peak_learning_rate=_RATE_SHARE * recipe.peak_learning_rate,
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
        answers_passes=steps * batch * _answer(teacher_layers),
        training_passes=whole,
    )


def _step(batch_texts: int, kept: int) -> float:
    return kept * (_STEP * batch_texts + _UPDATE)


def _start(texts: float, kept: int, teacher_layers: int) -> float:
    """Layer i of k stands for the teacher's (i + 1) / k of the way up."""
    passes = (kept + 1) * (teacher_layers + kept) / 2 + _REFIT * kept
    return texts * passes + _SOLUTION * kept + _LOADING
