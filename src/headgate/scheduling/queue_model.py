"""How long a newcomer would wait: a fluid model of what is ahead of it, O(1) per question.

What is ahead (see ``FairQueue.ahead_of``) is taken to run in batches as large as the budgets allow,
at the mean length, spread evenly over the instances. The same number admits, refuses and fills
Retry-After.
"""

from __future__ import annotations

import math

from headgate.objects import BatchingSpec
from headgate.workload import ServiceTimeModel

__all__ = ["predicted_wait_s"]


def predicted_wait_s(
    *,
    waiting: int,
    waiting_tokens: int,
    running_s: float,
    instances: int,
    spec: BatchingSpec,
    service: ServiceTimeModel,
) -> float:
    """Seconds until a request would start that has ``waiting`` others ahead of it.

    ``running_s``: what all instances together still have to do of their running batches, in
    seconds. ``(running_s + waiting / n * t(n, mean length)) / instances``, with n the batch size
    that the budgets allow.

    >>> from headgate.workload import ServiceCurve
    >>> predicted_wait_s(waiting=8, waiting_tokens=80, running_s=0.02, instances=2,
    ...                  spec=BatchingSpec(max_requests=4, max_padded_tokens=64),
    ...                  service=ServiceCurve(0.01, 0.0, 0.0, 0.0))
    0.02
    """
    if waiting == 0:
        return running_s / instances
    mean_tokens = max(1, math.ceil(waiting_tokens / waiting))
    size = max(1, min(waiting, spec.max_requests, spec.max_padded_tokens // mean_tokens))
    return (running_s + waiting / size * service.predict_s(size, mean_tokens)) / instances
