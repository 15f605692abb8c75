"""The live shell: real clocks, threads and callers around the pure data plane.

``LivePlane`` carries out what the data plane decides; ``Deployment`` is a release loaded, warm and
ready to be served by any protocol; ``Watch`` holds it to its promises. Knows nothing of HTTP.
"""

from headgate.runtime.answers import Answers, Rejected
from headgate.runtime.deploy import Deployment, Tensor
from headgate.runtime.live import LivePlane
from headgate.runtime.metrics import Metrics
from headgate.runtime.traces import Trace, TraceLog
from headgate.runtime.watch import Watch

__all__ = [
    "Answers",
    "Deployment",
    "LivePlane",
    "Metrics",
    "Rejected",
    "Tensor",
    "Trace",
    "TraceLog",
    "Watch",
]
