"""What the endpoint or the machine does not have that a candidate needs; nothing is measured."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.objects import Action, BatchInvariance
from headgate.optimize.job import Job
from headgate.optimize.making.cascades import lacks_for_cascade, sameness
from headgate.planning import Candidate
from headgate.quantization import ModelFacts, applies_to

__all__ = ["forbidden", "lacks"]


def lacks(job: Job, candidate: Candidate, facts: ModelFacts) -> Sequence[str]:
    """All reasons why ``candidate`` cannot be made here, or gains nothing."""
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
        if candidate.of_head:
            return [*(what for there, what in needs if not there), *_lacks_head(job, candidate)]
        if not job.source.encoder:  # nothing that could be installed or declared helps
            return ["a student takes layers of a transformers encoder (model: {path: DIR})"]
    found = [what for there, what in needs if not there]
    applies = applies_to(candidate.scheme, facts, job.profile.flags)
    if not applies:
        found.append(applies.reason)
    return found


def forbidden(job: Job, candidate: Candidate) -> str:
    """The contract that ``candidate`` breaks whatever would be measured; empty where none."""
    if not candidate.scheme.shared_scale or _may_depend(job):
        return ""
    return (
        "batch_invariance forbids it: one activation scale for the whole batch makes an answer "
        "depend on its neighbours, by construction"
    )


def _lacks_head(job: Job, candidate: Candidate) -> Sequence[str]:
    """The same of a classifier's or a predictor's small student, alone or before its teacher."""
    task, own = job.config.task, job.behaviour.metrics
    if task not in ("classify", "predict"):
        return [f"{candidate.student} is a student of a classifier or of a predictor"]
    if job.config.postprocess is not None:
        return ["what postprocess makes of the outputs is not what a student learns"]
    if not candidate.cascade:
        return _lacks_alone(job) if task == "predict" else []
    if job.inputs.own_requests is not None:
        return [
            "how often its student is unsure is told by the requests, which it learnt from here"
        ]
    lacking = lacks_for_cascade(job.contracts, task, own, len(job.inputs.calibrate))
    return [lacking] if lacking else []


def _lacks_alone(job: Job) -> Sequence[str]:
    """The same of a predictor's student that answers everything: what it could keep is promised,
    and nothing that it could not."""
    own = job.behaviour.metrics
    if not any(c.metric.removeprefix("worst_slice_") in own for c in job.contracts):
        return [
            "no contract says how far off a student may be: agreement of predictions is that they "
            "are the same, and no student's are; promise a metric of your own"
        ]
    return [
        f"{c.describe()}: no student's predictions are the model's own; where a metric of your own "
        "says what they are worth, leave it out"
        for c in job.contracts
        if sameness(c) > 0 and c.on_breach is not Action.WARN
    ]


def _may_depend(job: Job) -> bool:
    """Whether answers that depend on their neighbours could be promoted."""
    return all(
        BatchInvariance.DEPENDENT.value in c.allowed
        for c in job.contracts
        if c.metric == "batch_invariance" and c.on_breach is not Action.WARN
    )
