"""Numbers in, numbers out: one function a formula, with symbols, units, range and reference.

Knows nothing of models, requests or files, and imports nothing of Headgate but its errors.
"""

from headgate.theory import (
    betting,
    cost,
    divergence,
    hits,
    intervals,
    quantile,
    queueing,
    ranking,
    risk,
    roofline,
    significance,
    strata,
)

__all__ = [
    "betting",
    "cost",
    "divergence",
    "hits",
    "intervals",
    "quantile",
    "queueing",
    "ranking",
    "risk",
    "roofline",
    "significance",
    "strata",
]
