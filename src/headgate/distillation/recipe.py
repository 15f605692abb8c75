"""How a student is made, as a value: part of a run's configuration, digested with it.

The defaults are those of ``docs/decisions/0003-student-recipe.md``, but for batch and rate, whose
evidence ``0040-students-and-their-control.md`` has, and that of ``students.STUDENTS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headgate.errors import ConfigError

__all__ = ["Recipe", "Weights", "control"]

_CONTROL_RATE = 0.1
"""Of the peak learning rate, for a control with layers: 3e-5, which is what encoders are trained at
by contrast (Gao, Yao and Chen, "SimCSE", 2021). A static one does better at the full rate."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What each of the ``losses`` counts. One of weight 0 is not computed."""

    regression: float = 1.0
    relational: float = 0.0
    soft_target: float = 0.0
    """On the similarities of a text to the others of its batch, as the logits."""
    hidden_states: float = 0.0
    """After each layer. The teacher runs beside the student, which doubles a step's time."""
    contrast: float = 0.0
    """Of the two parts of a text that was cut in two. Needs no teacher."""
    temperature: float = 0.05
    """Of the soft targets and of the contrast."""

    def __post_init__(self) -> None:
        given = (self.regression, self.relational, self.soft_target, self.hidden_states)
        if min(*given, self.contrast) < 0 or sum(given) + self.contrast == 0:
            raise ConfigError(
                "the weights of the losses must be at least 0, and one above", where="distillation"
            )
        if not self.temperature > 0:
            raise ConfigError(
                f"temperature must be above 0, got {self.temperature}", where="distillation"
            )

    @property
    def of_outputs(self) -> bool:
        """Whether the teacher's cached outputs are learnt from."""
        return self.regression + self.relational + self.soft_target > 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """Regression onto cached teacher outputs, from a closed-form start. No unit is hidden."""

    layers_kept: int = 3
    """Layers of the student; which of the teacher's, ``students.layers_for`` says. 0 is a static
    student: a vector for each token, and no layer that sees them in context."""
    feed_forward_kept: float = 1.0
    """Share of the units inside each layer's feed-forward half, the most active ones."""
    table_dimensions: int = 256
    """Of a static student's vectors, at most; its answers have the teacher's dimensions."""
    max_texts: int = 8000
    """Texts to learn from, at most: ``curriculum.subset`` takes them before the teacher answers."""
    steps: int = 860
    batch_texts: int = 16
    peak_learning_rate: float = 3e-4
    warmup_share: float = 0.1
    """Share of the steps in which the rate rises linearly; it then falls to 0 as a cosine."""
    weight_decay: float = 0.01
    gradient_norm_limit: float = 1.0
    bridge_texts: int = 900
    """Texts for the closed-form start; 0 leaves the teacher's layers as they are."""
    bridge_ridge: float = 0.03
    """Pull towards the teacher's own weights, as a share of the mean squared activation."""
    losses: Weights = field(default_factory=Weights)
    validate_every_steps: int = 200
    """How often the loss on held-back texts is taken, beside the one at the end."""
    patience: int = 5
    """Validations without a new best after which training stops; what was best is kept."""
    bf16: bool = True
    """Matrix products in bfloat16 (weights stay float32): for CPUs with avx512_bf16 or amx_bf16."""
    threads: int = 2

    def __post_init__(self) -> None:
        positive = (
            "feed_forward_kept",
            "table_dimensions",
            "max_texts",
            "steps",
            "batch_texts",
            "peak_learning_rate",
            "gradient_norm_limit",
            "bridge_ridge",
            "validate_every_steps",
            "patience",
            "threads",
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name} must be above 0, got {getattr(self, name)}", where="distillation"
                )
        for name in ("layers_kept", "weight_decay", "bridge_texts"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{name} must be at least 0, got {getattr(self, name)}", where="distillation"
                )
        for name, top in (("warmup_share", "below 1"), ("feed_forward_kept", "at most 1")):
            value = getattr(self, name)
            if not 0 <= value <= 1 or (value == 1 and name == "warmup_share"):
                raise ConfigError(f"{name} must be {top}, got {value}", where="distillation")
        narrowed = self.feed_forward_kept < 1
        if narrowed and not (self.layers_kept and self.bridge_texts):
            raise ConfigError(
                "a narrower feed-forward half is fitted in the closed-form start",
                where="distillation",
                fix="keep at least one layer, and give bridge_texts",
            )
        if self.static and self.losses.hidden_states:
            raise ConfigError(
                "a student without layers has no hidden states to compare", where="distillation"
            )

    @property
    def static(self) -> bool:
        """Whether the student has no layers."""
        return self.layers_kept == 0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Recipe:
        """The recipe that was written as plain JSON types.

        >>> from headgate.objects import jsonable
        >>> Recipe.from_json(jsonable(Recipe(steps=7))) == Recipe(steps=7)
        True
        """
        return cls(**{**body, "losses": Weights(**body["losses"])})


def control(recipe: Recipe) -> Recipe:
    """The same training without a teacher: what of the student's quality owes nothing to it.

    Start, texts, steps and tokens a step are the recipe's; in place of the teacher's answers each
    text is cut in two, and its parts must find each other among the batch: independent cropping of
    Izacard et al., "Unsupervised Dense Information Retrieval with Contrastive Learning" (2022).
    Nothing else needs only texts and trains for search. The start is fitted to the teacher, which
    is more than a control without one would have: the gain that is reported is on the small side.

    >>> control(Recipe()).losses.of_outputs
    False
    """
    weights = Weights(regression=0.0, contrast=1.0, temperature=recipe.losses.temperature)
    rate = recipe.peak_learning_rate * (1.0 if recipe.static else _CONTROL_RATE)
    return replace(recipe, losses=weights, peak_learning_rate=rate)
