"""Smaller students: what they learn, from what, and a forecast before they are paid for.

Pure: losses, curricula, which layers a student takes, when a training saves and stops, cascades,
forecasts and advice. The effectful half, ``headgate.distillation.train`` and what it trains with,
and ``headgate.distillation.heads``, is imported by name.
"""

from headgate.distillation.cascade import (
    CONFIDENCE,
    Losses,
    Threshold,
    answers,
    disagreements,
    escalates,
    fewest_items,
    learn_threshold,
    lost_answers,
    lost_worth,
    margins,
    sureness,
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
from headgate.distillation.history import RECORDED, Finished
from headgate.distillation.losses import (
    contrast,
    embedding_regression,
    hidden_states,
    relational,
    soft_target,
)
from headgate.distillation.outcome import WAY, Way, forecast_metric, standard_errors
from headgate.distillation.piloted import Piloted
from headgate.distillation.pilots import PilotPlan, distinct_texts, plan_pilots, training_passes
from headgate.distillation.preview import Advice, StudentPreview, break_even_requests, preview
from headgate.distillation.recipe import Recipe, Weights, control
from headgate.distillation.sampled import METRICS, RetrievalSample, between
from headgate.distillation.students import (
    STUDENTS,
    check_tokenizer,
    feed_forward_of,
    layers_for,
    targets,
    validate_layers,
)

__all__ = [
    "CONFIDENCE",
    "HEADS",
    "METRICS",
    "RECORDED",
    "STUDENTS",
    "WAY",
    "Advice",
    "Anchor",
    "Finished",
    "Forecast",
    "Gain",
    "HeadRecipe",
    "Losses",
    "PilotPlan",
    "Piloted",
    "Recipe",
    "RetrievalSample",
    "StudentPreview",
    "Threshold",
    "Way",
    "Weights",
    "answers",
    "as_probabilities",
    "batches",
    "between",
    "break_even_requests",
    "check_classes",
    "check_tokenizer",
    "contrast",
    "control",
    "disagreements",
    "distinct",
    "distinct_texts",
    "embedding_regression",
    "escalates",
    "feed_forward_of",
    "fewest_items",
    "forecast",
    "forecast_metric",
    "gain_of",
    "hidden_states",
    "layers_for",
    "learn_threshold",
    "learning_rate_share",
    "lost_answers",
    "lost_worth",
    "margins",
    "pieces",
    "plan_pilots",
    "preview",
    "relational",
    "soft_target",
    "standard_errors",
    "subset",
    "sureness",
    "targets",
    "training_passes",
    "two_parts",
    "validate_layers",
]
