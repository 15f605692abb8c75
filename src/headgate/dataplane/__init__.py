"""The request's way from arrival to answer, pure; alone imports all five optimizations."""

from headgate.dataplane.events import (
    Action,
    Answer,
    Arrived,
    Cancelled,
    Draining,
    Event,
    Failed,
    Finished,
    Looked,
    NotReplaced,
    Probe,
    Proved,
    Reject,
    Replace,
    Replaced,
    Run,
    Wake,
    Woke,
)
from headgate.dataplane.plane import DataPlane
from headgate.dataplane.stats import PlaneStats

__all__ = [
    "Action",
    "Answer",
    "Arrived",
    "Cancelled",
    "DataPlane",
    "Draining",
    "Event",
    "Failed",
    "Finished",
    "Looked",
    "NotReplaced",
    "PlaneStats",
    "Probe",
    "Proved",
    "Reject",
    "Replace",
    "Replaced",
    "Run",
    "Wake",
    "Woke",
]
