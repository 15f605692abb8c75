"""Who goes together and when: the token-budget batcher, baselines, and a preview of the gain.

Pure: time comes in as ``now_s``, cost as a service-time model.
"""

from headgate.batching.baselines import AIMD, FixedWindow, Greedy
from headgate.batching.policy import BatchPolicy
from headgate.batching.preview import MIN_SPEED_UP, BatchingForecast, forecast, pays
from headgate.batching.token_budget import TokenBudgetBatcher, company_pays

__all__ = [
    "AIMD",
    "MIN_SPEED_UP",
    "BatchPolicy",
    "BatchingForecast",
    "FixedWindow",
    "Greedy",
    "TokenBudgetBatcher",
    "company_pays",
    "forecast",
    "pays",
]
