"""Smaller students: what they learn, from what, and a forecast before they are paid for.

Pure: losses, curricula, which layers a student takes, cascades, forecasts and advice. The
effectful half, ``headgate.distillation.train``, ``headgate.distillation.encoder`` and
``headgate.distillation.heads``, is imported by name.
"""

from headgate.distillation.cascade import (
    Threshold,
    disagreements,
    escalates,
    fewest_items,
    learn_threshold,
    lost_answers,
    margins,
)
from headgate.distillation.classifiers import HEADS, HeadRecipe, as_probabilities, check_classes
from headgate.distillation.curriculum import (
    batches,
    distinct,
    learning_rate_share,
    pieces,
    subset,
)
from headgate.distillation.forecast import Anchor, Forecast, forecast
from headgate.distillation.losses import embedding_regression, relational, soft_target
from headgate.distillation.preview import Advice, StudentPreview, break_even_requests, preview
from headgate.distillation.recipe import Recipe
from headgate.distillation.students import STUDENTS, layers_for, targets, validate_layers

__all__ = [
    "HEADS",
    "STUDENTS",
    "Advice",
    "Anchor",
    "Forecast",
    "HeadRecipe",
    "Recipe",
    "StudentPreview",
    "Threshold",
    "as_probabilities",
    "batches",
    "break_even_requests",
    "check_classes",
    "disagreements",
    "distinct",
    "embedding_regression",
    "escalates",
    "fewest_items",
    "forecast",
    "layers_for",
    "learn_threshold",
    "learning_rate_share",
    "lost_answers",
    "margins",
    "pieces",
    "preview",
    "relational",
    "soft_target",
    "subset",
    "targets",
    "validate_layers",
]
