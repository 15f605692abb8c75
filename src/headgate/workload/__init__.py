"""What is asked and how long it takes: requests, batches, arrivals, service times, engines.

Knows nothing of files, clocks or sockets; randomness comes in as a ``numpy`` generator.
"""

from headgate.workload.cascade import CascadeTimes
from headgate.workload.engine import Codec, Encoded, Engine, Pair, Segmented, Tensors
from headgate.workload.learned import LearnedService
from headgate.workload.request import Batch, Request
from headgate.workload.service import BatchTimeModel, CurvePoint, ServiceCurve, ServiceTimeModel

__all__ = [
    "Batch",
    "BatchTimeModel",
    "CascadeTimes",
    "Codec",
    "CurvePoint",
    "Encoded",
    "Engine",
    "LearnedService",
    "Pair",
    "Request",
    "Segmented",
    "ServiceCurve",
    "ServiceTimeModel",
    "Tensors",
]
