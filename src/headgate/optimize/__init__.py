"""The main job: from headgate.yaml to a decision, a report, and a release that can be served."""

from headgate.optimize.main import OptimizeResult, optimize
from headgate.optimize.progress import Progress, Silent

__all__ = ["OptimizeResult", "Progress", "Silent", "optimize"]
