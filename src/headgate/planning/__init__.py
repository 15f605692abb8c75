"""The simulator, the search and capacity: what to run for this traffic and these contracts.

Pure: every plan is made by the policies that will serve it, in virtual time.
"""

from headgate.planning.capacity import Capacity, max_rate, rate_per_s, scale_to_rate
from headgate.planning.search import (
    BATCHING_GRID,
    LOAD,
    WAITS,
    Candidate,
    PlanChoice,
    Search,
    Skipped,
    Trial,
    choose,
)
from headgate.planning.simulate import (
    Noise,
    SimulationResult,
    exponential_noise,
    lognormal_noise,
    simulate,
)

__all__ = [
    "BATCHING_GRID",
    "LOAD",
    "WAITS",
    "Candidate",
    "Capacity",
    "Noise",
    "PlanChoice",
    "Search",
    "SimulationResult",
    "Skipped",
    "Trial",
    "choose",
    "exponential_noise",
    "lognormal_noise",
    "max_rate",
    "rate_per_s",
    "scale_to_rate",
    "simulate",
]
