"""Who is let in, who comes next, where it runs, and how much capacity is needed.

Pure: time comes in as ``now_s``, cost as a service-time model.
"""

from headgate.scheduling.admission import Admission, Refusal
from headgate.scheduling.capacity import least_instances, square_root_staffing
from headgate.scheduling.fair_queue import FairQueue, due_s
from headgate.scheduling.lateness import Lateness
from headgate.scheduling.placement import InstancePlan, instance_plans, most_recently_freed
from headgate.scheduling.queue_model import predicted_wait_s
from headgate.scheduling.reservations import Reservations
from headgate.scheduling.watchdog import Watchdog

__all__ = [
    "Admission",
    "FairQueue",
    "InstancePlan",
    "Lateness",
    "Refusal",
    "Reservations",
    "Watchdog",
    "due_s",
    "instance_plans",
    "least_instances",
    "most_recently_freed",
    "predicted_wait_s",
    "square_root_staffing",
]
