"""What tests need, ours and yours: a clock, an engine and a codec that can fail, requests."""

from headgate.testing.clock import ManualClock
from headgate.testing.engine import FakeCodec, FakeEngine
from headgate.testing.requests import lognormal_lengths, make_requests, poisson_requests

__all__ = [
    "FakeCodec",
    "FakeEngine",
    "ManualClock",
    "lognormal_lengths",
    "make_requests",
    "poisson_requests",
]
