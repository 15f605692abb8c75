"""The simulator, the search and capacity: what to run for this traffic and these contracts.

Pure: every plan is made by the policies that will serve it, in virtual time.
"""

from headgate.planning.candidates import (
    BASELINE,
    BUILDS,
    CANDIDATES,
    MENDED,
    TRIED_BY_DEFAULT,
    Candidate,
    most_judged,
    tried_by_default,
)
from headgate.planning.capacity import Capacity, keeps_promise, max_rate, rate_per_s, scale_to_rate
from headgate.planning.choice import (
    BATCHING_GRID,
    WAITS,
    PlanChoice,
    Skipped,
    choose,
    predict_costs,
)
from headgate.planning.joint import Arm, Asked, Cost, Entrant, Found, Joint, Level, Told
from headgate.planning.policies import LOAD, Policies, Trial
from headgate.planning.simulate import (
    Noise,
    SimulationResult,
    exponential_noise,
    lognormal_noise,
    simulate,
)

__all__ = [
    "BASELINE",
    "BATCHING_GRID",
    "BUILDS",
    "CANDIDATES",
    "LOAD",
    "MENDED",
    "TRIED_BY_DEFAULT",
    "WAITS",
    "Arm",
    "Asked",
    "Candidate",
    "Capacity",
    "Cost",
    "Entrant",
    "Found",
    "Joint",
    "Level",
    "Noise",
    "PlanChoice",
    "Policies",
    "SimulationResult",
    "Skipped",
    "Told",
    "Trial",
    "choose",
    "exponential_noise",
    "keeps_promise",
    "lognormal_noise",
    "max_rate",
    "most_judged",
    "predict_costs",
    "rate_per_s",
    "scale_to_rate",
    "simulate",
    "tried_by_default",
]
