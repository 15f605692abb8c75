"""What the endpoint or the machine does not have that a candidate needs; nothing is measured."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.objects import Action, BatchInvariance
from headgate.optimize.job import Job
from headgate.planning import Candidate
from headgate.quantization import ModelFacts, applies_to

__all__ = ["lacks"]


def lacks(job: Job, candidate: Candidate, facts: ModelFacts) -> Sequence[str]:
    """All reasons why ``candidate`` cannot be made here, gains nothing, or could not be served."""
    needs: list[tuple[bool, str]] = []
    if candidate.scheme.extra == "openvino":
        there = "openvino" in job.profile.libraries
        needs.append((there, "OpenVINO is not installed: pip install 'headgate[openvino]'"))
    if candidate.scheme.needs_calibration:
        needs.append((bool(job.inputs.calibrate), "data: calibrate is not declared"))
    if candidate.student is not None:
        needs += [
            (
                "torch" in job.profile.libraries,
                "torch is not installed: pip install 'headgate[train]'",
            ),
            (bool(job.inputs.train), "data: train is not declared"),
        ]
        if not job.source.encoder:  # nothing that could be installed or declared helps
            return ["a student takes layers of a transformers encoder (model: {path: DIR})"]
    found = [what for there, what in needs if not there]
    applies = applies_to(candidate.scheme, facts, job.profile.flags)
    if not applies:
        found.append(applies.reason)
    if candidate.scheme.shared_scale and not _may_depend(job):
        found.append(
            "batch_invariance forbids it: one activation scale for the whole batch makes an answer "
            "depend on its neighbours, by construction"
        )
    return found


def _may_depend(job: Job) -> bool:
    """Whether answers that depend on their neighbours could be promoted."""
    return all(
        BatchInvariance.DEPENDENT.value in c.allowed
        for c in job.contracts
        if c.metric == "batch_invariance" and c.on_breach is not Action.WARN
    )
