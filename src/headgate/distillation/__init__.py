"""Smaller students: what they learn, from what, and a forecast before they are paid for.

Pure: losses, curricula, which layers a student takes, forecasts and advice. The effectful half,
``headgate.distillation.train`` and ``headgate.distillation.encoder``, is imported by name.
"""

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
    "STUDENTS",
    "Advice",
    "Anchor",
    "Forecast",
    "Recipe",
    "StudentPreview",
    "batches",
    "break_even_requests",
    "distinct",
    "embedding_regression",
    "forecast",
    "layers_for",
    "learning_rate_share",
    "pieces",
    "preview",
    "relational",
    "soft_target",
    "subset",
    "targets",
    "validate_layers",
]
