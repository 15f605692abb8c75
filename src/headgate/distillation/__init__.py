"""Smaller students: what they learn, from what, and a forecast before they are paid for.

Pure: losses, curricula, which layers a student takes, when a training saves and stops, cascades,
forecasts and advice. The effectful half, ``headgate.distillation.train`` with what it trains with,
and ``headgate.distillation.heads``, is imported by name.
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
    two_parts,
)
from headgate.distillation.forecast import Anchor, Forecast, forecast
from headgate.distillation.gain import Gain, gain_of
from headgate.distillation.losses import (
    contrast,
    embedding_regression,
    hidden_states,
    relational,
    soft_target,
)
from headgate.distillation.preview import Advice, StudentPreview, break_even_requests, preview
from headgate.distillation.recipe import Recipe, Weights, control
from headgate.distillation.students import (
    STUDENTS,
    check_tokenizer,
    feed_forward_of,
    layers_for,
    targets,
    validate_layers,
)

__all__ = [
    "HEADS",
    "STUDENTS",
    "Advice",
    "Anchor",
    "Forecast",
    "Gain",
    "HeadRecipe",
    "Recipe",
    "StudentPreview",
    "Threshold",
    "Weights",
    "as_probabilities",
    "batches",
    "break_even_requests",
    "check_classes",
    "check_tokenizer",
    "contrast",
    "control",
    "disagreements",
    "distinct",
    "embedding_regression",
    "escalates",
    "feed_forward_of",
    "fewest_items",
    "forecast",
    "gain_of",
    "hidden_states",
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
    "two_parts",
    "validate_layers",
]
