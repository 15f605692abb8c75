"""The simulator, the search and capacity: what to run for this traffic and these contracts.

Pure: every plan is made by the policies that will serve it, in virtual time.
"""

from headgate.planning.simulate import (
    Noise,
    SimulationResult,
    exponential_noise,
    lognormal_noise,
    simulate,
)

__all__ = ["Noise", "SimulationResult", "exponential_noise", "lognormal_noise", "simulate"]
