"""Open-loop load from a process of its own, with a verdict on the load generator itself.

Requests leave when they are scheduled, whatever the server does, and latency runs from the
scheduled time: a server that stops for a second cannot hide it (coordinated omission). A run
whose generator did not keep its own schedule is VOID and measures nothing.
"""

from headgate.engines.protocols import embeddings_body, infer_body, rerank_body
from headgate.loadtest.payload import poisson_times, read_requests
from headgate.loadtest.result import LoadResult, LoadVerdict
from headgate.loadtest.run import Segment, Target, run_load

__all__ = [
    "LoadResult",
    "LoadVerdict",
    "Segment",
    "Target",
    "embeddings_body",
    "infer_body",
    "poisson_times",
    "read_requests",
    "rerank_body",
    "run_load",
]
