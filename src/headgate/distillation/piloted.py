"""A student with its pilots behind it: what it will lose, and later what became of that. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.distillation.forecast import Anchor, Forecast, forecast
from headgate.distillation.history import Finished
from headgate.distillation.outcome import Way, forecast_metric, standard_errors
from headgate.distillation.pilots import PilotPlan, distinct_texts
from headgate.distillation.recipe import Recipe
from headgate.theory.hierarchy import Measured

__all__ = ["Piloted"]

_TELLING = 2.0
"""Times its luck, what a way must say to tell anything: less may be nothing, and a share of that is
anything."""


@dataclass(frozen=True, slots=True)
class Piloted:
    """A student, what its pilots found, and how many items its metrics are counted on."""

    recipe: Recipe
    plan: PilotPlan
    losses: NDArray[np.float64]
    """Of each validation text after the start and after each run, (1 + runs, texts)."""
    ways: Mapping[str, Way]
    """Metric -> what of it is lost on the way to the longest pilot."""
    items: int

    @classmethod
    def from_json(
        cls, recipe: Recipe, plan: PilotPlan, found: Mapping[str, Any], *, items: int
    ) -> Piloted:
        """``found`` as ``optimize.making.pilots`` records it."""
        ways = {
            metric: Way.of({float(share): each for share, each in lost.items()})
            for metric, lost in found["lost"].items()
        }
        return cls(recipe, plan, np.array(found["losses"]), ways, items)

    @property
    def anchors(self) -> Sequence[Anchor]:
        """The start and each run."""
        sizes = [(0, 0), *((distinct_texts(run), run.steps) for run in self.plan.runs)]
        return [
            Anchor(texts, steps, float(mean), float(error))
            for (texts, steps), mean, error in zip(
                sizes, self.losses.mean(axis=1), standard_errors(self.losses), strict=True
            )
        ]

    @property
    def more_texts(self) -> float:
        """Texts that it will have seen, beside those that its pilots' start was fitted on; one
        counts as often as it is seen."""
        return self.recipe.steps * self.recipe.batch_texts / self.plan.start.bridge_texts

    def loss_forecast(self, history: Sequence[Finished], rng: np.random.Generator) -> Forecast:
        """Of its loss on texts like those of the pilots' validation."""
        return forecast(
            self.anchors,
            examples=distinct_texts(self.recipe),
            steps=self.recipe.steps,
            falls=[each.fall for each in history],
            more_texts=self.more_texts,
            batch_ratio=self.recipe.batch_texts / self.plan.runs[-1].batch_texts,
            rng=rng,
        )

    def forecasts(
        self, history: Sequence[Finished], rng: np.random.Generator
    ) -> Mapping[str, Forecast]:
        """Metric -> what the student will lose of it, by what became of others."""
        loss = self.loss_forecast(history, rng)
        return {
            metric: forecast_metric(
                loss,
                pilot_loss=self.anchors[-1].loss,
                way=way,
                items=self.items,
                harms=[each.harm[metric] for each in history if metric in each.harm],
                rng=rng,
            )
            for metric, way in self.ways.items()
        }

    def finished(self, *, loss: float, lost: Mapping[str, float]) -> Finished:
        """What became of it: its loss, and what it lost of each metric on all items."""
        start, *_, pilot = self.anchors
        share = np.array([loss / pilot.loss])
        harm = {}
        for metric, way in self.ways.items():
            said, luck = float(way.lost(share)[0]), float(way.luck(share, self.items)[0])
            if abs(said) > _TELLING * luck:
                harm[metric] = Measured(lost[metric] / said, luck / abs(said))
        more = math.log(self.more_texts)
        return Finished(
            Measured(math.log(start.loss / loss) / more, start.standard_error / start.loss / more),
            harm,
        )
